"""The audit as stored. Append-only: triggers in the database refuse the rest."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Connection, func, select

from portal.audit import GENESIS, Event, Link, link
from portal.store import tables

audit = tables.audit


def append(db: Connection, new: Event) -> None:
    """Add an event at the end of the chain."""
    last = db.execute(
        select(audit.c.number, audit.c.hash).order_by(audit.c.number.desc()).limit(1)
    ).one_or_none()
    previous = last.hash if last else GENESIS
    db.execute(
        audit.insert().values(
            number=last.number + 1 if last else 1,
            at=new.at,
            who=new.who,
            what=new.what,
            subject=new.subject,
            where=new.where,
            detail=new.detail,
            previous=previous,
            hash=link(previous, new),
        )
    )


def chain(db: Connection) -> Iterator[Link]:
    """Every event in the order it was written."""
    for row in db.execute(select(audit).order_by(audit.c.number)):
        event = Event(row.at, row.who, row.what, row.subject, row.where, row.detail)
        yield Link(row.number, event, row.previous, row.hash)


def count(db: Connection, who: str, what: str, since: int) -> int:
    """How often somebody did something since an instant."""
    mine = (audit.c.who == who) & (audit.c.what == what) & (audit.c.at >= since)
    return int(db.scalar(select(func.count()).where(mine)) or 0)
