"""The ledger and the jobs behind it as stored. Entries are append-only: triggers in the database refuse the rest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from typing import Any

from sqlalchemy import Connection, Row, Select, and_, bindparam, func, or_, select

from portal.ledger import GENESIS, Entry, Kind, LedgerError, Link, link
from portal.pricing import Price
from portal.store import tables

entry, job, cancelled = tables.entry, tables.job, tables.cancelled


def append(db: Connection, new: Entry) -> bool:
    """Add an entry at the end of the chain; False, and nothing changed, if the same event is there already.

    Raises:
        LedgerError: another event has the same key.
    """
    old = db.execute(select(entry).where(entry.c.key == new.key)).one_or_none()
    if old is not None:
        if _entry(old).same_event(new):
            return False
        raise LedgerError(f"{new.key} is already recorded with other values")
    last = db.execute(
        select(entry.c.number, entry.c.hash).order_by(entry.c.number.desc()).limit(1)
    ).one_or_none()
    previous = last.hash if last else GENESIS
    db.execute(
        entry.insert().values(
            number=last.number + 1 if last else 1,
            key=new.key,
            grant=new.grant,
            kind=new.kind.value,
            amount=new.amount,
            list_cents=new.price.list_cents,
            subsidy_cents=new.price.subsidy_cents,
            at=new.at,
            booked=new.booked,
            person=new.person,
            note=new.note,
            previous=previous,
            hash=link(previous, new),
        )
    )
    return True


def chain(db: Connection) -> Iterator[Link]:
    """Every entry in the order it was written."""
    for row in db.execute(select(entry).order_by(entry.c.number)):
        yield Link(row.number, _entry(row), row.previous, row.hash)


def find(db: Connection, key: str) -> Entry | None:
    row = db.execute(select(entry).where(entry.c.key == key)).one_or_none()
    return _entry(row) if row else None


def balances(db: Connection) -> dict[str, int]:
    """Balance of every grant that has entries, in milli-GPU-seconds."""
    return {
        row[0]: int(row[1])
        for row in db.execute(select(entry.c.grant, func.sum(entry.c.amount)).group_by(entry.c.grant))
    }


@dataclass(frozen=True)
class Spending:
    """What a grant was given and what it has spent: milli-GPU-seconds and cents, all positive for use."""

    awarded: int = 0
    spent: int = 0
    list_cents: int = 0
    subsidy_cents: int = 0


USED = (Kind.OPENING.value, Kind.CHARGE.value, Kind.REFUND.value)


def spending(db: Connection) -> dict[str, Spending]:
    """Sums of every grant: spent is charges less refunds, in compute and in money."""
    columns = (entry.c.amount, entry.c.list_cents, entry.c.subsidy_cents)
    query = select(entry.c.grant, entry.c.kind, *(func.sum(column) for column in columns))
    sums: dict[str, Spending] = {}
    for code, kind, amount, listed, subsidy in db.execute(query.group_by(entry.c.grant, entry.c.kind)):
        old = sums.get(code, Spending())
        if kind in USED:
            new = Spending(
                old.awarded,
                old.spent - int(amount),
                old.list_cents - int(listed),
                old.subsidy_cents - int(subsidy),
            )
        elif kind in (Kind.AWARD.value, Kind.TOP_UP.value):
            new = Spending(old.awarded + int(amount), old.spent, old.list_cents, old.subsidy_cents)
        else:
            new = old
        sums[code] = new
    return sums


def person_spent(db: Connection, grant: str, person: str) -> int:
    """What one person has used of a grant, in milli-GPU-seconds."""
    mine = and_(entry.c.grant == grant, entry.c.person == person, entry.c.kind.in_(USED))
    return -int(db.scalar(select(func.sum(entry.c.amount)).where(mine)) or 0)


def daily(
    db: Connection, grants: Iterable[str], since: int, day_seconds: int = 86_400
) -> dict[str, dict[int, int]]:
    """Spent per grant and day since `since`, which is the first second of the first day."""
    found: dict[str, dict[int, int]] = {}
    for code, index, amount in db.execute(daily_query(grants, since, day_seconds)):
        found.setdefault(code, {})[since + int(index) * day_seconds] = -int(amount)
    return found


def daily_query(grants: Iterable[str], since: int, day_seconds: int) -> Select[Any]:
    """Grant, number of the day, sum of its entries."""
    day = (entry.c.at - since) // day_seconds
    daily_use = (Kind.CHARGE.value, Kind.REFUND.value)  # an opening is the use of years, not of its day
    where = and_(entry.c.grant.in_(list(grants)), entry.c.at >= since, entry.c.kind.in_(daily_use))
    return select(entry.c.grant, day, func.sum(entry.c.amount)).where(where).group_by(entry.c.grant, day)


def _entry(row: Row[tuple[object, ...]]) -> Entry:
    price = Price(row.list_cents, row.subsidy_cents)
    return Entry(
        row.key, row.grant, Kind(row.kind), row.amount, price, row.at, row.booked, row.person, row.note
    )


@dataclass(frozen=True)
class Job:
    """A job of a grant as last seen. gone: last instant it was seen alive, once it has left the queue."""

    cluster: str
    id: int
    submit: int
    name: str
    user: str
    account: str
    qos: str
    partition: str
    state: str
    reason: str = ""
    nodes: str = ""
    tres: str = ""
    billing: int = 0
    limit_seconds: int | None = None
    start: int | None = None
    end: int | None = None
    elapsed: int | None = None
    gone: int | None = None
    booked: int | None = None
    counter: int | None = None
    session: str | None = None
    grant: str | None = None
    person: str = ""


_columns = [job.c[one.name] for one in fields(Job)]
KEYS = ("cluster", "id", "submit")
# made once: a look at a busy cluster writes thousands of jobs
_insert = job.insert()
_update = job.update().where(*(job.c[name] == bindparam(f"the_{name}") for name in KEYS))


def put_job(db: Connection, new: Job) -> None:
    """Write a job's row, whether or not there is one."""
    values = {column.name: getattr(new, column.name) for column in job.c}
    keys = {f"the_{name}": values[name] for name in KEYS}
    if not db.execute(_update, values | keys).rowcount:
        db.execute(_insert, values)


def jobs_of(db: Connection, person: str, unowned_in: Iterable[str] = ()) -> list[Job]:
    """One person's jobs not booked yet, and those of these grants whose owner is not known."""
    return [_job(row) for row in db.execute(_whose(person, unowned_in).where(job.c.booked.is_(None)))]


def ended_of(db: Connection, person: str, most: int, unowned_in: Iterable[str] = ()) -> list[Job]:
    """The latest of them that are booked, newest first. Not those that never ran."""
    query = _whose(person, unowned_in).where(job.c.booked.is_not(None), job.c.elapsed > 0)
    return [_job(row) for row in db.execute(query.order_by(None).order_by(job.c.end.desc()).limit(most))]


def _whose(person: str, unowned_in: Iterable[str]) -> Select[Any]:
    unowned = and_(job.c.person == "", job.c.session.is_(None), job.c.grant.in_(list(unowned_in)))
    return select(*_columns).where(or_(job.c.person == person, unowned)).order_by(job.c.submit, job.c.id)


def cancel(db: Connection, cluster: str, id: int, submit: int, person: str, at: int) -> bool:
    """Write down that a person cancels a job; False, and nothing changed, if somebody has done so already."""
    if find_cancelled(db, cluster, id, submit) is not None:
        return False
    values = {"cluster": cluster, "job": id, "submit": submit, "person": person, "at": at}
    db.execute(cancelled.insert().values(values))
    return True


def find_cancelled(db: Connection, cluster: str, id: int, submit: int) -> int | None:
    """When a job was cancelled here; None if it was not."""
    mine = and_(cancelled.c.cluster == cluster, cancelled.c.job == id, cancelled.c.submit == submit)
    return db.scalar(select(cancelled.c.at).where(mine))


def unwanted(db: Connection, cluster: str) -> list[tuple[int, int, str, int]]:
    """Id, submit time, account and when it was cancelled, of each job cancelled here and not gone yet."""
    same = and_(
        job.c.cluster == cancelled.c.cluster, job.c.id == cancelled.c.job, job.c.submit == cancelled.c.submit
    )
    query = select(job.c.id, job.c.submit, job.c.account, cancelled.c.at).join(cancelled, same)
    alive = and_(job.c.cluster == cluster, job.c.gone.is_(None), job.c.booked.is_(None))
    return [(row[0], row[1], row[2], row[3]) for row in db.execute(query.where(alive))]


def open_jobs(
    db: Connection, cluster: str | None = None, grant: str | None = None, started: bool = False
) -> list[Job]:
    """Jobs not booked yet: alive, or gone and waiting for their record. started: only those that have begun."""
    query = select(*_columns).where(job.c.booked.is_(None)).order_by(job.c.submit, job.c.id)
    if cluster is not None:
        query = query.where(job.c.cluster == cluster)
    if grant is not None:
        query = query.where(job.c.grant == grant)
    if started:
        query = query.where(job.c.start.is_not(None))
    return [_job(row) for row in db.execute(query)]


def find_job(db: Connection, cluster: str, id: int, submit: int) -> Job | None:
    row = db.execute(select(*_columns).where(_is(cluster, id, submit))).one_or_none()
    return _job(row) if row else None


def jobs_of_session(db: Connection, session: str) -> list[Job]:
    return [
        _job(row)
        for row in db.execute(select(*_columns).where(job.c.session == session).order_by(job.c.submit))
    ]


def counted(db: Connection, cluster: str) -> dict[str, int]:
    """Milli-GPU-seconds booked from this cluster under each QOS since its counter began (accounting.md, C)."""
    now = tables.counter
    same = and_(job.c.cluster == now.c.cluster, job.c.qos == now.c.qos, job.c.counter == now.c.id)
    query = select(job.c.qos, func.sum(job.c.billing * job.c.elapsed)).join(now, same)
    where = and_(job.c.cluster == cluster, job.c.booked.is_not(None))
    return {row[0]: int(row[1] or 0) for row in db.execute(query.where(where).group_by(job.c.qos))}


def counters(db: Connection, cluster: str) -> dict[str, int]:
    query = select(tables.counter.c.qos, tables.counter.c.id).where(tables.counter.c.cluster == cluster)
    return {row.qos: row.id for row in db.execute(query)}


def set_counter(db: Connection, cluster: str, qos: str, id: int) -> None:
    mine = and_(tables.counter.c.cluster == cluster, tables.counter.c.qos == qos)
    if not db.execute(tables.counter.update().where(mine).values(id=id)).rowcount:
        db.execute(tables.counter.insert().values(cluster=cluster, qos=qos, id=id))


def put_aside(db: Connection, cluster: str, id: int, submit: int, why: str, record: str, at: int) -> None:
    """Keep a record that cannot be booked for an operator to see; once each."""
    aside = tables.aside
    known = and_(aside.c.cluster == cluster, aside.c.id == id, aside.c.submit == submit)
    if db.execute(select(aside.c.id).where(known)).one_or_none() is None:
        db.execute(
            aside.insert().values(cluster=cluster, id=id, submit=submit, why=why, record=record, at=at)
        )


def _is(cluster: str, id: int, submit: int):  # type: ignore[no-untyped-def]
    return and_(job.c.cluster == cluster, job.c.id == id, job.c.submit == submit)


def _job(row: Row[Any]) -> Job:
    values: Any = tuple(row)
    return Job(*values)
