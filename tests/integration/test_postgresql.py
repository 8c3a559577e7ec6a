"""PostgreSQL for portal and hub: what a server alone can show. The store's own tests run on it in tests/unit."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import CHOSEN, Databases, PortBlocks, Stack, make_home, rows
from playwright.sync_api import Browser
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError, OperationalError
from test_whole import Person, charges, recorded
from waiting import until

from portal.demo import supervision
from portal.settings import Database, Settings, SettingsError
from portal.store import Store, StoreError, connect, migrate, writer

PASSWORD = "correct:horse\\battery"
IN_PASSFILE = PASSWORD.replace("\\", "\\\\").replace(":", "\\:")
HOLD = """
import sys, time
from portal.store import connect, writer
with writer(connect(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def settings(tmp_path: Path, databases: Databases) -> Iterator[Settings]:
    (tmp_path / "secrets").mkdir()
    with databases.new() as setting:
        yield Settings(home=tmp_path, database=setting)


@pytest.fixture
def engine(settings: Settings) -> Iterator[Engine]:
    engine = connect(settings.database_url)
    yield engine
    engine.dispose()


def hub_tables(settings: Settings) -> None:
    """Make them as the hub does at its start."""
    from jupyterhub import orm
    from traitlets.config import Config

    from portal.hub import configure

    for name in ("proxy", "hub", "portal-hub", "dash-hub", "proxy-check"):
        (settings.secrets / f"{name}.token").write_text("token")
    for name in ("oidc-client.secret", "crypt_key", "cookie_secret"):
        (settings.secrets / name).write_text("0" * 64)
    c = Config()
    configure(c, settings)
    session = orm.new_session_factory(c.JupyterHub.db_url, **c.JupyterHub.db_kwargs)()
    session.add(orm.User(name="somebody"))
    session.commit()
    session.close()
    session.get_bind().dispose()


# the writer's lock


def test_the_lock_dies_with_its_process(settings: Settings, engine: Engine) -> None:
    """After kill -9 the next writer waits for nobody."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, settings.database_url], stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout and holder.stdout.readline() == "held\n"
        with pytest.raises(StoreError, match="another portal service"), writer(engine):
            pass
        holder.kill()
        with writer(engine) as lock:
            assert lock.held()
    finally:
        holder.kill()
        holder.communicate()


def test_nothing_is_written_once_the_lock_is_lost(databases: Databases, engine: Engine) -> None:
    """A server that restarts forgets its locks: another writer may be at work already."""
    with writer(engine) as lock:
        store = Store(engine, lock)
        with store.write() as db:
            db.execute(text("insert into choice values ('p1', 'G', 'gpu1', 30)"))
        databases.run(
            "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'aisc-portal'"
        )
        with pytest.raises((OperationalError, StoreError)), store.write() as db:
            db.execute(text("delete from choice"))
        assert not lock.held()
        with pytest.raises(StoreError, match="the writer's lock with it"), store.write():
            pass
        with store.read() as db:
            assert db.scalar(text("select count(*) from choice")) == 1
        with writer(engine) as another:
            assert another.held()


def test_the_lock_is_no_open_transaction(databases: Databases, engine: Engine) -> None:
    """One that stands open for weeks keeps the server from cleaning up."""
    with writer(engine) as lock:
        with Store(engine, lock).write() as db:
            db.execute(text("delete from choice"))
        states = databases.run(
            f"select state from pg_stat_activity where datname = '{engine.url.database}' and state <> 'active'"
        )
    assert {state for (state,) in states} == {"idle"}


def test_a_read_cannot_write(engine: Engine) -> None:
    """The server itself refuses."""
    with pytest.raises(DBAPIError, match="read-only transaction"), Store(engine).read() as db:
        db.execute(text("delete from choice"))


# schemas and rights


def test_portal_and_hub_do_not_see_each_others_tables(settings: Settings) -> None:
    """One database, two schemas; nothing in `public`."""
    hub_tables(settings)
    for schema, url in (("portal", settings.database_url), ("hub", settings.hub_database_url)):
        query = "select distinct schemaname::text from pg_tables where pg_table_is_visible(format('%I.%I', schemaname, tablename)::regclass)"
        seen = {name for (name,) in rows(url, query)} - {"pg_catalog"}
        assert seen == {schema}
    assert rows(settings.hub_database_url, "select name from users") == [("somebody",)]
    with pytest.raises(DBAPIError, match="does not exist"):
        rows(settings.database_url, "select name from users")


def test_a_portal_that_owns_nothing_cannot_turn_off_the_triggers(
    databases: Databases, settings: Settings, engine: Engine
) -> None:
    """As docs/database.md has it: another role owns the tables, the portal's reads and writes."""
    databases.run("create role clerk login")  # lives as long as the server
    ident = databases.server.data / "pg_ident.conf"
    ident.write_text(
        ident.read_text() + "".join(f"here {who} clerk\n" for who in ("root", databases.server.user))
    )
    databases.run("select pg_reload_conf()")
    with engine.begin() as owner:
        for statement in (
            "grant usage on schema portal to clerk",
            "grant select, insert, update, delete on all tables in schema portal to clerk",
            "grant usage on all sequences in schema portal to clerk",
        ):
            owner.execute(text(statement))
    clerk = Database(url=settings.database.url.replace("://portal@", "://clerk@"))
    lesser = connect(settings.model_copy(update={"database": clerk}).database_url)
    with writer(lesser) as lock:
        store = Store(lesser, lock)
        with store.write() as db:
            db.execute(text("insert into choice values ('p1', 'G', 'gpu1', 30)"))
        for statement in ("alter table entry disable trigger all", "truncate audit", "drop table entry"):
            with pytest.raises(DBAPIError, match=r"must be owner|permission denied"), store.write() as db:
                db.execute(text(statement))
    lesser.dispose()


def test_schemas_that_may_not_be_made_are_named_with_the_remedy(databases: Databases, tmp_path: Path) -> None:
    """The owner of the database reads which commands to run; after them `portal migrate` goes through."""
    with databases.new(empty=True) as setting:
        name = setting.url.partition("@/")[2].partition("?")[0]
        databases.run(f'alter database {name} owner to "{databases.server.user}"')
        engine = connect(Settings(home=tmp_path, database=setting).database_url)
        with pytest.raises(StoreError, match='CREATE SCHEMA hub AUTHORIZATION "portal"') as refused:
            migrate(engine)
        remedy = str(refused.value).partition("run: ")[2]
        own = connect(databases.server.url(name, role=databases.server.user))
        with own.begin() as owner:
            owner.execute(text(remedy))
        own.dispose()
        migrate(engine)
        Store(engine)
        engine.dispose()


# the password


@pytest.fixture
def guarded(databases: Databases, tmp_path: Path) -> Iterator[Settings]:
    """A database whose role must show a password."""
    rules = databases.server.data / "pg_hba.conf"
    usual = rules.read_text()
    rules.write_text(f"local all guarded scram-sha-256\n{usual}")
    quoted = PASSWORD.replace("'", "''")
    databases.run(f"create role guarded login password '{quoted}'")
    (tmp_path / "secrets").mkdir()
    with databases.new() as setting:
        databases.run("select pg_reload_conf()")
        databases.run("grant portal to guarded")
        yield Settings(home=tmp_path, database=Database(url=setting.url.replace("://portal@", "://guarded@")))
    rules.write_text(usual)
    databases.run("select pg_reload_conf()")
    databases.run("drop role guarded")


def test_the_password_is_in_one_file_that_both_read(guarded: Settings) -> None:
    """Neither address holds it, nor does what the hub logs."""
    passfile = guarded.secrets / "database.pgpass"
    passfile.write_text(f"*:*:*:*:{IN_PASSFILE}\n")
    passfile.chmod(0o600)
    for url in (guarded.database_url, guarded.hub_database_url):
        assert rows(url, "select current_user::text") == [("guarded",)]
        assert PASSWORD not in url


@pytest.mark.parametrize("written", ["", "*:*:*:*:wrong-password\n"])
def test_a_wrong_password_is_told_without_it(guarded: Settings, written: str) -> None:
    """By every command of ours."""
    passfile = guarded.secrets / "database.pgpass"
    passfile.write_text(written)
    passfile.chmod(0o600)
    file = guarded.home / "portal.toml"
    file.write_text(f'home = "{guarded.home}"\n[database]\nurl = "{guarded.database.url}"\n')
    environ = {"PATH": os.environ["PATH"], "PORTAL_SETTINGS": str(file), "PYTHONUTF8": "1"}
    for words in (("migrate",), ("serve",), ("ledger", "verify")):
        done = subprocess.run(
            [f"{sys.prefix}/bin/portal", *words], env=environ, capture_output=True, text=True, check=False
        )
        told = done.stdout + done.stderr
        assert done.returncode != 0
        assert "cannot be opened" in told and str(passfile) in told, told
        assert "wrong-password" not in told
        assert "Traceback" not in told


def test_a_password_that_others_can_read_is_refused(guarded: Settings) -> None:
    """libpq would leave the file out without saying so loudly."""
    passfile = guarded.secrets / "database.pgpass"
    passfile.write_text("*:*:*:*:x\n")
    passfile.chmod(0o640)
    with pytest.raises(SettingsError, match="readable by others: chmod 600"):
        _ = guarded.hub_database_url


# the whole


@pytest.fixture(scope="module")
def centre(
    request: pytest.FixtureRequest, ports: PortBlocks, runtime: Path, pytestconfig: pytest.Config
) -> Iterator[Stack]:
    """The whole product with portal and hub on PostgreSQL."""
    if CHOSEN == "postgresql":
        yield request.getfixturevalue("stack")
        return
    home = make_home(pytestconfig)
    own = Stack(home, ports.reserve(), runtime, "postgresql")
    try:
        own.start()
        yield own
    finally:
        own.stop()
        shutil.rmtree(home)


def test_a_session_lives_through_a_restart_of_the_server_and_is_charged_once(
    centre: Stack, browser: Browser
) -> None:
    """Start by REST, job, restart of PostgreSQL, stop, exactly one charge; portal and hub work again by themselves."""
    researcher = Person(centre, browser, "researcher")
    before = set(charges(centre))
    with researcher.session():
        assert researcher.notebook_answers()
        serving = next(one.pid for one in supervision.states(centre.home) if one.name == "portal")
        supervision.Supervisor(centre.home).restart("postgresql")
        assert researcher.notebook_answers()
        until(
            lambda: (
                next(one.pid for one in supervision.states(centre.home) if one.name == "portal")
                not in (0, serving)
            ),
            30,
            "the portal goes on without its lock",
        )
        until(researcher.ready, 60, "the hub does not find its database again")
    until(lambda: len(set(charges(centre)) - before) == 1, 60, "the session is not charged")
    assert charges(centre) == recorded(centre)
    schemas = rows(centre.settings.database_url, "select distinct schemaname::text from pg_tables")
    assert {"portal", "hub"} <= {name for (name,) in schemas}
    assert not list(centre.home.glob("*.db"))


def test_the_doctor_names_kind_place_and_versions(centre: Stack) -> None:
    """One line for the database of portal and hub."""
    report = centre.cluster.run(
        "env", f"PORTAL_SETTINGS={centre.home}/portal.toml", f"{centre.runtime}/bin/portal", "doctor"
    )
    line = next(line for line in report.splitlines() if " database:" in line)
    assert line.startswith("ok")
    assert f"PostgreSQL database portal at {centre.home}/postgresql/run, server " in line
    assert "tables of the portal of version 00" in line
    assert "not made yet" not in line
