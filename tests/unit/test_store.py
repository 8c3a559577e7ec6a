"""The store: migrations, the writer's lock, the append-only ledger."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError

from portal.audit import event
from portal.grants import Category, Grant, Organisation
from portal.ledger import Entry, Kind, LedgerError, faults
from portal.pricing import Price
from portal.settings import Database, Settings
from portal.store import Store, StoreError, audit, books, connect, migrate, programme, writer
from portal.store.tables import metadata

GRANT = Grant("G-1", "Proteins", "uni", "life", "research", 0, 2_000_000, "C-12", 3000, 7000)
AWARD = Entry("award:1", "G-1", Kind.AWARD, 3_600_000, Price(3000, 2100), at=10, booked=11)


@pytest.fixture
def engine(tmp_path: Path, database: Database) -> Iterator[Engine]:
    engine = connect(Settings(home=tmp_path, database=database).database_url)
    migrate(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def store(engine: Engine) -> Store:
    store = Store(engine)
    with store.write() as db:
        programme.add_organisation(db, Organisation("uni", "University", "大學", Category.INSTITUTION))
        programme.add_grant(db, GRANT)
    return store


def test_migrating_twice_changes_nothing(engine: Engine) -> None:
    """`portal migrate` runs before every start."""
    migrate(engine)


def test_the_migrations_make_exactly_the_tables_in_the_code(engine: Engine) -> None:
    """Nobody forgets a migration."""
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_a_database_without_tables_says_what_to_run(tmp_path: Path) -> None:
    """Not a traceback about a missing table."""
    engine = connect(f"sqlite:///{tmp_path}/empty.db")
    with pytest.raises(StoreError, match="run `portal migrate`"):
        Store(engine)
    engine.dispose()


def test_the_database_is_for_its_owner_alone(tmp_path: Path) -> None:
    """It holds names and addresses of people; the files beside it as well."""
    engine = connect(f"sqlite:///{tmp_path}/portal.db")
    with engine.connect():
        migrate(engine)
        modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.glob("portal.db*")}
    engine.dispose()
    assert modes.pop("portal.db") == 0o600
    assert set(modes.values()) <= {0o600}


def test_what_was_spent_is_summed_by_day(store: Store) -> None:
    """Whole days, on every database: a fraction of a day would make each charge a day of its own."""
    with store.write() as db:
        for number, at in enumerate((0, 1, 86_399, 86_400)):
            charge = Entry(f"charge:{number}", "G-1", Kind.CHARGE, -(10**number), Price(0, 0), at, at)
            books.append(db, charge)
        books.append(db, Entry("refund:1", "G-1", Kind.REFUND, 5000, Price(0, 0), 90_000, 90_000))
        assert books.daily(db, ["G-1"], 0) == {"G-1": {0: 111, 86_400: -4000}}
        assert books.daily(db, ["G-1"], 86_399) == {"G-1": {86_399: -3900}}
    for dialect in (sqlite.dialect(), postgresql.dialect()):  # type: ignore[no-untyped-call]
        assert "NUMERIC" not in str(books.daily_query(["G-1"], 0, 86_400).compile(dialect=dialect))


def test_a_second_writer_is_stopped(engine: Engine) -> None:
    """One plain line, at once."""
    with writer(engine), pytest.raises(StoreError, match="another portal service"), writer(engine):
        pass


def test_what_is_appended_comes_back_as_a_whole_chain(store: Store) -> None:
    """The database keeps every field that is hashed."""
    second = Entry("charge:aisc:7:1", "G-1", Kind.CHARGE, -1_000, Price(-1, -1), 20, 21, "p1", "a note")
    with store.write() as db:
        assert books.append(db, AWARD)
        assert books.append(db, second)
    with store.read() as db:
        links = list(books.chain(db))
        assert [item.entry for item in links] == [AWARD, second]
        assert list(faults(links)) == []
        assert books.balances(db) == {"G-1": 3_599_000}


def test_the_same_event_is_written_once(store: Store) -> None:
    """A retry is harmless, another event under the key is refused."""
    from dataclasses import replace

    with store.write() as db:
        assert books.append(db, AWARD)
        assert not books.append(db, replace(AWARD, booked=99))
        with pytest.raises(LedgerError, match="award:1 is already recorded"):
            books.append(db, replace(AWARD, amount=5))


REMOVALS = {
    "sqlite": ("insert or replace into {table} select * from {table}",),
    "postgresql": ("truncate {table}", 'truncate {table}, "grant" cascade'),
}


@pytest.mark.parametrize("table", ["entry", "audit"])
def test_the_database_itself_refuses_to_change_ledger_and_audit(
    store: Store, engine: Engine, table: str
) -> None:
    """Append-only is not just a habit."""
    with store.write() as db:
        books.append(db, AWARD)
        audit.append(db, event(10, "p1", "session.stop"))
    changes = (f"update {table} set at = 1", f"delete from {table}")
    for statement in (*changes, *(one.format(table=table) for one in REMOVALS[engine.dialect.name])):
        with pytest.raises(IntegrityError, match="append-only"), engine.begin() as connection:
            connection.execute(text(statement))
    with store.read() as db:
        assert len(list(books.chain(db))) == len(list(audit.chain(db))) == 1


def test_a_failed_write_leaves_nothing(store: Store) -> None:
    """All of a transaction or none."""
    with pytest.raises(RuntimeError), store.write() as db:
        books.append(db, AWARD)
        raise RuntimeError
    with store.read() as db:
        assert list(books.chain(db)) == []


def test_a_read_is_one_consistent_view(store: Store) -> None:
    """What is written meanwhile is seen by the next read."""
    with store.read() as db:
        assert list(books.chain(db)) == []
        with store.write() as other:
            books.append(other, AWARD)
        assert list(books.chain(db)) == []
    with store.read() as db:
        assert len(list(books.chain(db))) == 1


def test_writers_wait_for_each_other(store: Store) -> None:
    """Each reads what the one before has written: a chain without forks."""

    def write(number: int) -> None:
        with store.write() as db:
            books.append(db, Entry(f"award:{number}", "G-1", Kind.AWARD, 1, Price(0, 0), at=10, booked=11))

    with ThreadPoolExecutor(8) as several:
        list(several.map(write, range(24)))
    with store.read() as db:
        links = list(books.chain(db))
    assert len(links) == 24
    assert list(faults(links)) == []


def test_tables_of_another_version_are_refused(engine: Engine) -> None:
    """A portal newer than its tables says what to run."""
    with engine.begin() as connection:
        connection.execute(text("update alembic_version set version_num = '0001'"))
    with pytest.raises(StoreError, match=r"tables of version 0001, .* run `portal migrate`"):
        Store(engine)


def test_numbers_beyond_32_bits_come_back_as_whole_numbers(store: Store) -> None:
    """Milli-GPU-seconds of a large grant; sums are no decimals."""
    large = 10**15
    award = Entry("award:1", "G-1", Kind.AWARD, large, Price(10**12, 10**11), at=10, booked=11)
    with store.write() as db:
        books.append(db, award)
        books.append(db, Entry("charge:1", "G-1", Kind.CHARGE, -1, Price(-1, 0), 20, 20, "p1"))
    with store.read() as db:
        found = books.spending(db)["G-1"]
        values = (books.balances(db)["G-1"], found.awarded, found.spent, found.list_cents)
        assert (*values, books.person_spent(db, "G-1", "p1")) == (large - 1, large, 1, 1, 1)
        assert all(type(value) is int for value in values)
