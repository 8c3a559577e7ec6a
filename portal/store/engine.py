"""Opens the database: engine, the writer's lock, migrations.

One process writes. It holds a lock that dies with it: `flock` on a file beside a SQLite database, an advisory lock of
PostgreSQL on the very connection that every write goes over, so that a write without the lock cannot be. `portal
migrate` takes the same lock.

In PostgreSQL each has a schema of its own, `portal` and `hub`, chosen by the search path in the address.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.resources import files
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, event, inspect, make_url, text
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, OperationalError, ProgrammingError, SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry
from sqlalchemy.schema import CreateSchema

log = logging.getLogger("portal.store")

WRITER = 0x4149_5343  # any constant: the advisory lock's number
SCHEMAS = ("portal", "hub")
REFUSED = ("password", "authentication", "pg_hba.conf", "does not exist")
"""Words of a server that answers and will not let us in: waiting does not help."""
HANDOVER = 3
"""Seconds that PostgreSQL has to notice the death of a writer before us."""


class StoreError(Exception):
    """The database cannot be used. The message says what to do."""


def connect(url: str) -> Engine:
    """Open the database of that SQLAlchemy address; times out on a lock after 10 s. Makes no file before it is used.

    Raises:
        StoreError: the address is none.
    """
    try:
        if make_url(url).get_backend_name() != "sqlite":
            return create_engine(url, pool_pre_ping=True, hide_parameters=True)
    except (ArgumentError, ValueError):
        raise StoreError("database.url is not an address of a database") from None
    engine = create_engine(url, connect_args={"timeout": 10}, hide_parameters=True)

    @event.listens_for(engine, "do_connect")
    def _private(*_: object) -> None:
        _keep_private(engine.url.database)

    @event.listens_for(engine, "connect")
    def _pragmas(connection: DBAPIConnection, record: ConnectionPoolEntry) -> None:
        connection.isolation_level = None  # SQLAlchemy's events say BEGIN, not the driver
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        immediate = connection.get_execution_options().get("writes")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")

    return engine


def _keep_private(database: str | None) -> None:
    """Make the file before SQLite does, whose files everybody may read: it holds names and addresses of people."""
    if database and database != ":memory:":
        with contextlib.suppress(OSError):  # SQLite says better what is wrong with it
            Path(database).touch(mode=0o600)


class Writer:
    """The right to write, one transaction at a time. connection: the one that holds PostgreSQL's lock, where there is one."""

    def __init__(self, engine: Engine, connection: Connection | None = None) -> None:
        self._engine = engine
        self._connection = connection
        self._alone = threading.Lock()

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """A transaction that writes.

        Raises:
            StoreError: the lock is lost.
        """
        with self._alone:
            self.check()
            if self._connection is not None:
                with self._connection.begin():
                    yield self._connection
                return
            with self._engine.connect() as connection:
                connection = connection.execution_options(writes=True)
                with connection.begin():
                    yield connection

    def held(self) -> bool:
        """Ask the database whether the lock is still ours; once lost, it stays lost."""
        if self._connection is not None:
            with contextlib.suppress(SQLAlchemyError, StoreError), self.begin() as connection:
                connection.execute(text("select 1"))
        return not self._lost

    def check(self) -> None:
        """Raise StoreError if the lock is known to be lost. SQLAlchemy would connect anew, without the lock."""
        if self._lost:
            raise StoreError(f"{place(self._engine)} went away, and the writer's lock with it: start again")

    @property
    def _lost(self) -> bool:
        return self._connection is not None and (self._connection.invalidated or self._connection.closed)


@contextmanager
def writer(engine: Engine, patience: float = 0) -> Iterator[Writer]:
    """Hold the one writer's lock. patience: seconds to wait for a server that does not answer yet.

    Raises:
        StoreError: another process holds it, or the database cannot be reached.
    """
    if engine.dialect.name == "sqlite":
        with Path(f"{engine.url.database}.lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise _taken(engine) from None
            yield Writer(engine)
        return
    with contextlib.closing(_reached(engine, patience)) as connection:
        connection.detach()  # back in the pool it would go on holding the lock
        deadline = time.monotonic() + HANDOVER
        while not _try_lock(connection):
            if time.monotonic() > deadline:
                raise _taken(engine)
            time.sleep(0.1)
        yield Writer(engine, connection)


def _taken(engine: Engine) -> StoreError:
    return StoreError(f"another portal service or migration is writing {place(engine)}: stop it first")


def _reached(engine: Engine, patience: float) -> Connection:
    deadline, told = time.monotonic() + patience, False
    while True:
        try:
            return engine.connect()
        except OperationalError as error:
            if time.monotonic() >= deadline or any(word in str(error.orig) for word in REFUSED):
                raise _unreachable(engine, error) from None
            if not told:
                log.warning("%s; trying again for %.0f s", _unreachable(engine, error), patience)
                told = True
        time.sleep(0.5)


def _try_lock(connection: Connection) -> bool:
    with connection.begin():
        return bool(connection.scalar(text("select pg_try_advisory_lock(:number)"), {"number": WRITER}))


def _unreachable(engine: Engine, error: SQLAlchemyError) -> StoreError:
    said = str(getattr(error, "orig", None) or error).strip().splitlines()
    reason = said[0] if said else type(error).__name__
    passfile = engine.url.query.get("passfile")
    fix = (
        f"; its password is kept in {passfile} (docs/database.md)"
        if passfile and "password" in reason
        else ""
    )
    return StoreError(f"{place(engine)} cannot be opened: {reason}{fix}")


def place(engine: Engine) -> str:
    """Which database, in words."""
    url = engine.url
    if engine.dialect.name == "sqlite":
        return f"SQLite file {url.database}"
    host = url.host or url.query.get("host") or "the local socket"
    return f"PostgreSQL database {url.database} at {host}{f':{url.port}' if url.port else ''}"


def migrate(engine: Engine) -> None:
    """Bring the tables to this version's shape. The caller holds the writer's lock. Safe to repeat.

    Raises:
        StoreError: the schemas are missing and may not be made.
    """
    config = _alembic()
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            _make_schemas(connection)
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        connection.commit()


def _make_schemas(connection: Connection) -> None:
    missing = [name for name in SCHEMAS if name not in inspect(connection).get_schema_names()]
    try:
        for name in missing:
            connection.execute(CreateSchema(name))
    except ProgrammingError:
        user = connection.engine.url.username or "the portal's role"
        commands = " ".join(f'CREATE SCHEMA {name} AUTHORIZATION "{user}";' for name in missing)
        raise StoreError(
            f"{place(connection.engine)} lacks schemas that {user} may not make; let its owner run: {commands}"
        ) from None


def _alembic() -> Config:
    config = Config()
    config.set_main_option("script_location", str(files("portal.store") / "migrations"))
    return config


@cache
def _newest() -> str:
    return ScriptDirectory.from_config(_alembic()).get_current_head() or ""


def check_migrated(engine: Engine) -> str:
    """The version of the portal's tables.

    Raises:
        StoreError: it is not the one of this portal: `portal migrate` has not run.
    """
    version = _version(engine)
    if not version:
        raise StoreError(f"{place(engine)} has no tables yet: run `portal migrate`")
    if version != _newest():
        raise StoreError(
            f"{place(engine)} has tables of version {version}, this portal needs {_newest()}: run `portal migrate`"
        )
    return version


def _version(engine: Engine) -> str:
    if engine.dialect.name == "sqlite" and not Path(engine.url.database or "").exists():
        return ""  # to look would make the file
    try:
        if not inspect(engine).has_table("alembic_version"):
            return ""
        with engine.connect() as connection:
            return str(connection.scalar(text("select version_num from alembic_version")) or "")
    except SQLAlchemyError as error:
        raise _unreachable(engine, error) from None


def describe(portal_url: str, hub_url: str) -> str:
    """One line on the database: kind, place, and the versions of the portal's and the hub's tables. Makes no file.

    Raises:
        StoreError: it cannot be opened, or nobody migrated it.
    """
    with _looked_at(portal_url) as engine:
        version, where = check_migrated(engine), place(engine)
        if engine.dialect.name == "postgresql":
            with engine.connect() as connection:
                where += f", server {str(connection.scalar(text('show server_version'))).split()[0]}"
    with _looked_at(hub_url) as engine:
        hubs = _version(engine)
        if engine.dialect.name == "sqlite":
            where += f" and {place(engine)}"
    return f"{where}: tables of the portal of version {version}, of the hub {hubs or 'not made yet'}"


@contextmanager
def _looked_at(url: str) -> Iterator[Engine]:
    engine = connect(url)
    try:
        yield engine
    finally:
        engine.dispose()
