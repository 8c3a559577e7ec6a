"""The audit as stored. Append-only: triggers in the database refuse the rest."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVarTuple

from sqlalchemy import Connection, Row, Select, delete, func, or_, select

from portal.audit import GENESIS, Event, Link, link
from portal.store import tables

audit = tables.audit
STREAMS_KEPT = 10
Ts = TypeVarTuple("Ts")


def append(db: Connection, new: Event) -> None:
    """Add an event at the end of the chain."""
    last = head(db)
    db.execute(
        audit.insert().values(
            number=last.number + 1 if last else 1,
            at=new.at,
            who=new.who,
            what=new.what,
            subject=new.subject,
            where=new.where,
            detail=new.detail,
            previous=last.hash if last else GENESIS,
            hash=link(last.hash if last else GENESIS, new),
        )
    )


def chain(db: Connection, after: int = 0, most: int | None = None) -> Iterator[Link]:
    """Every event in the order it was written; those after a number, at most so many."""
    query = select(audit).where(audit.c.number > after).order_by(audit.c.number)
    for row in db.execute(query.limit(most) if most else query):
        yield _link(row)


def head(db: Connection) -> Link | None:
    """The last event."""
    row = db.execute(select(audit).order_by(audit.c.number.desc()).limit(1)).one_or_none()
    return _link(row) if row else None


def at_number(db: Connection, number: int) -> Link | None:
    row = db.execute(select(audit).where(audit.c.number == number)).one_or_none()
    return _link(row) if row else None


@dataclass(frozen=True)
class Wanted:
    """Which events to show. what: a kind, or the beginning of kinds where it ends with a dot.

    who: opaque ids, processes or addresses, any of which did it, or had it done to them; None: everybody.
    since, until: seconds, the second not included.
    """

    what: str = ""
    who: tuple[str, ...] | None = None
    since: int | None = None
    until: int | None = None


def newest(db: Connection, wanted: Wanted, most: int, before: int | None = None) -> list[Link]:
    """Events that are wanted, the last written first; those written before a number."""
    query = _where(select(audit), wanted)
    if before is not None:
        query = query.where(audit.c.number < before)
    return [_link(row) for row in db.execute(query.order_by(audit.c.number.desc()).limit(most))]


def number_of(db: Connection, wanted: Wanted) -> int:
    """How many events are wanted."""
    return int(db.scalar(_where(select(func.count(audit.c.number)), wanted)) or 0)


def _where(query: Select[*Ts], wanted: Wanted) -> Select[*Ts]:
    if wanted.what.endswith("."):
        query = query.where(audit.c.what.startswith(wanted.what, autoescape=True))
    elif wanted.what:
        query = query.where(audit.c.what == wanted.what)
    if wanted.who is not None:
        columns = (audit.c.who, audit.c.subject, audit.c.where)
        query = query.where(or_(*(column.in_(wanted.who) for column in columns)))
    if wanted.since is not None:
        query = query.where(audit.c.at >= wanted.since)
    if wanted.until is not None:
        query = query.where(audit.c.at < wanted.until)
    return query


def happened(db: Connection, what: str, subject: str, since: int) -> bool:
    """Whether there was such an event since then."""
    query = select(audit.c.number).where(audit.c.at > since, audit.c.what == what, audit.c.subject == subject)
    return db.execute(query.limit(1)).first() is not None


def count(db: Connection, who: str, what: str, since: int) -> int:
    """How often somebody did something since an instant."""
    mine = (audit.c.who == who) & (audit.c.what == what) & (audit.c.at >= since)
    return int(db.scalar(select(func.count()).where(mine)) or 0)


def since(db: Connection, what: str, at: int) -> list[Event]:
    """The events of one kind since then, the first first."""
    query = select(audit).where(audit.c.at > at, audit.c.what == what).order_by(audit.c.number)
    return [_link(row).event for row in db.execute(query)]


def last_of_each(db: Connection, what: str) -> dict[str, Event]:
    """The last event of one kind about each subject."""
    numbers = select(func.max(audit.c.number)).where(audit.c.what == what).group_by(audit.c.subject)
    rows = db.execute(select(audit).where(audit.c.number.in_(numbers)))
    return {row.subject: _link(row).event for row in rows}


def _link(row: Row[tuple[object, ...]]) -> Link:
    event = Event(row.at, row.who, row.what, row.subject, row.where, row.detail)
    return Link(row.number, event, row.previous, row.hash)


def called(db: Connection, part: str, most: int = 50) -> list[str]:
    """Opaque ids of the people whose name holds this."""
    name = tables.person_name.c
    query = select(name.person).where(func.lower(name.name).contains(part.lower(), autoescape=True))
    return list(db.scalars(query.order_by(name.person).limit(most)))


def names(db: Connection, ids: set[str]) -> dict[str, str]:
    """Names, as far as they are not erased."""
    name = tables.person_name.c
    wanted = [id for id in ids if re.fullmatch(r"p[a-z2-7]{12}", id)]
    return {
        row.person: row.name
        for row in db.execute(select(name.person, name.name).where(name.person.in_(wanted)))
    }


# how far another process's events were heard, so that what is told twice is written once


def heard(db: Connection, stream: str) -> int:
    """Number of the last event of this stream that was taken; 0 for none."""
    return db.scalar(select(tables.stream.c.last).where(tables.stream.c.id == stream)) or 0


def hear(db: Connection, stream: str, last: int, now: int) -> None:
    """Note how far a stream was taken; only the newest streams are kept, since a process begins one rarely."""
    table = tables.stream
    if not db.execute(table.update().where(table.c.id == stream).values(last=last, at=now)).rowcount:
        db.execute(table.insert().values(id=stream, last=last, at=now))
        kept = select(table.c.id).order_by(table.c.at.desc(), table.c.last.desc()).limit(STREAMS_KEPT)
        db.execute(delete(table).where(table.c.id.not_in(list(db.scalars(kept)))))


# where people were seen before


def seen_before(db: Connection, person: str) -> set[str]:
    """The marks under which a person was seen."""
    return set(db.scalars(select(tables.sighting.c.mark).where(tables.sighting.c.person == person)))


def see(db: Connection, person: str, marks: list[str], now: int, days: int, most: int) -> None:
    """Note the marks of a sign-in; forget those older than `days` and all but the `most` last of each sort."""
    table = tables.sighting
    for mark in marks:
        again = table.update().where(table.c.person == person, table.c.mark == mark).values(last=now)
        if not db.execute(again).rowcount:
            db.execute(table.insert().values(person=person, mark=mark, first=now, last=now))
        sort = table.c.mark.startswith(mark.partition(":")[0] + ":")
        kept = select(table.c.mark).where(table.c.person == person, sort).order_by(table.c.last.desc())
        rest = list(db.scalars(kept))[most:]
        db.execute(delete(table).where(table.c.person == person, table.c.mark.in_(rest)))
    db.execute(delete(table).where(table.c.last < now - days * 86_400))
