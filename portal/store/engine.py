"""Opens the database: engine, the writer's lock, migrations.

One process writes. It holds a lock that dies with it: `flock` on a file beside a SQLite database, an advisory lock on a
connection of its own in PostgreSQL. `portal migrate` takes the same lock.
"""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, create_engine, event, inspect, make_url, text
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry

WRITER = 0x4149_5343  # any constant: the advisory lock's number


class StoreError(Exception):
    """The database cannot be used. The message says what to do."""


def connect(url: str) -> Engine:
    """Open the database of that SQLAlchemy address; times out on a lock after 10 s."""
    if make_url(url).get_backend_name() != "sqlite":
        return create_engine(url, pool_pre_ping=True)
    engine = create_engine(url, connect_args={"timeout": 10})
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


@contextmanager
def writer(engine: Engine) -> Iterator[None]:
    """Hold the one writer's lock.

    Raises:
        StoreError: another process holds it.
    """
    taken = StoreError(
        f"another portal service or migration is writing {engine.url.render_as_string()}: stop it first"
    )
    if engine.dialect.name == "sqlite":
        with Path(f"{engine.url.database}.lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise taken from None
            yield
        return
    with engine.connect() as connection:
        if not connection.scalar(text("select pg_try_advisory_lock(:n)"), {"n": WRITER}):
            raise taken
        yield


def migrate(engine: Engine) -> None:
    """Bring the tables to this version's shape. The caller holds the writer's lock. Safe to repeat."""
    config = Config()
    config.set_main_option("script_location", str(files("portal.store") / "migrations"))
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        connection.commit()


def check_migrated(engine: Engine) -> None:
    """Raise StoreError unless `portal migrate` has run."""
    if not inspect(engine).has_table("alembic_version"):
        raise StoreError(f"{engine.url.render_as_string()} has no tables yet: run `portal migrate`")


def describe(engine: Engine) -> str:
    """One line on the database: where it is and which version its tables have.

    Raises:
        StoreError: it cannot be opened, or nobody migrated it.
    """
    where = engine.url.render_as_string()
    try:
        check_migrated(engine)
        with engine.connect() as connection:
            version = connection.scalar(text("select version_num from alembic_version"))
    except SQLAlchemyError as error:
        raise StoreError(f"{where} cannot be opened: {str(error).splitlines()[0]}") from None
    return f"{where}, tables of version {version}"
