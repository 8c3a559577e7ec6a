"""The store: migrations, the writer's lock, the append-only ledger."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError

from portal.grants import Category, Grant, Organisation
from portal.ledger import Entry, Kind, LedgerError, faults
from portal.pricing import Price
from portal.store import Store, StoreError, books, connect, migrate, programme, writer
from portal.store.tables import metadata

GRANT = Grant("G-1", "Proteins", "uni", "life", "research", 0, 2_000_000, "C-12", 3000, 7000)
AWARD = Entry("award:1", "G-1", Kind.AWARD, 3_600_000, Price(3000, 2100), at=10, booked=11)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = connect(f"sqlite:///{tmp_path}/portal.db")
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


def test_the_database_is_for_its_owner_alone(engine: Engine, tmp_path: Path) -> None:
    """It holds names and addresses of people; the files beside it as well."""
    with engine.connect():
        modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.glob("portal.db*")}
    assert modes.pop("portal.db") == 0o600
    assert set(modes.values()) <= {0o600}


def test_what_was_spent_is_summed_by_day(store: Store) -> None:
    """Whole days, on every database: a fraction of a day would make each charge a day of its own."""
    with store.write() as db:
        for number, at in enumerate((0, 1, 86_399, 86_400)):
            charge = Entry(f"charge:{number}", "G-1", Kind.CHARGE, -(10**number), Price(0, 0), at, at)
            books.append(db, charge)
        assert books.daily(db, ["G-1"], 0) == {"G-1": {0: 111, 86_400: 1000}}
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


@pytest.mark.parametrize("statement", ["update entry set amount = 1", "delete from entry"])
def test_the_database_itself_refuses_to_change_the_ledger(
    store: Store, engine: Engine, statement: str
) -> None:
    """Append-only is not just a habit."""
    with store.write() as db:
        books.append(db, AWARD)
    with engine.begin() as connection, pytest.raises(IntegrityError, match="append-only"):
        connection.execute(text(statement))


def test_a_failed_write_leaves_nothing(store: Store) -> None:
    """All of a transaction or none."""
    with pytest.raises(RuntimeError), store.write() as db:
        books.append(db, AWARD)
        raise RuntimeError
    with store.read() as db:
        assert list(books.chain(db)) == []
