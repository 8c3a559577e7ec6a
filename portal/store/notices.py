"""Notices as stored, the letters of them that wait to be sent, and what each person wishes to be told.

A notice with an address instead of a person is a letter alone: no page shows it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

from sqlalchemy import Connection, Row, delete, func, select

from portal.ledger import Kind
from portal.store import tables

notice, preference, entry = tables.notice, tables.preference, tables.entry

Values = dict[str, str | int]


@dataclass(frozen=True)
class Notice:
    """One thing somebody was told.

    key: stable name of the event, so that it is told once. values: ids, amounts and times, put into words when shown.
    mail_due: when the letter is tried next; None: no letter, or no longer. mail_done: when a server took it.
    mail_fault: why the last try failed.
    """

    key: str
    person: str
    kind: str
    values: Values
    at: int
    address: str = ""
    reply_to: str = ""
    number: int = 0
    read: int | None = None
    mail_due: int | None = None
    mail_done: int | None = None
    mail_tries: int = 0
    mail_fault: str = ""


@dataclass(frozen=True)
class Preference:
    """What a person wishes. language: as chosen for letters, or empty. heard: the language last read in the portal.

    quiet_from, quiet_until: hours of the day; None: the site's; equal: no quiet hours. choices: words such as
    `mail+session-ended` or `browser-session-ready`, only where they differ from what is usual.
    """

    person: str
    language: str = ""
    heard: str = ""
    quiet_from: int | None = None
    quiet_until: int | None = None
    choices: frozenset[str] = frozenset()


def add(db: Connection, new: Notice) -> bool:
    """Write down a notice; False, and nothing changed, if the same event was told before."""
    if db.scalar(select(notice.c.number).where(notice.c.key == new.key)) is not None:
        return False
    db.execute(
        notice.insert().values(
            key=new.key,
            person=new.person,
            address=new.address,
            reply_to=new.reply_to,
            kind=new.kind,
            values=json.dumps(new.values, ensure_ascii=False),
            at=new.at,
            mail_due=new.mail_due,
            mail_tries=0,
            mail_fault="",
        )
    )
    return True


def of_person(db: Connection, person: str, before: int | None = None, most: int = 50) -> list[Notice]:
    """A person's notices, newest first. before: only those with a smaller number."""
    query = select(notice).where(notice.c.person == person)
    if before is not None:
        query = query.where(notice.c.number < before)
    return [_notice(row) for row in db.execute(query.order_by(notice.c.number.desc()).limit(most))]


def unread(db: Connection, person: str, after: int = 0, most: int = 50) -> list[Notice]:
    """A person's unread notices, newest first. after: only those with a larger number."""
    query = select(notice).where(notice.c.person == person, notice.c.read.is_(None), notice.c.number > after)
    return [_notice(row) for row in db.execute(query.order_by(notice.c.number.desc()).limit(most))]


def count_unread(db: Connection, person: str, most: int = 100) -> int:
    """How many notices are unread, counted up to `most`."""
    some = select(notice.c.number).where(notice.c.person == person, notice.c.read.is_(None)).limit(most)
    return int(db.scalar(select(func.count()).select_from(some.subquery())) or 0)


def newest(db: Connection, person: str) -> int:
    """Number of a person's newest notice; 0 if there is none."""
    return int(db.scalar(select(func.max(notice.c.number)).where(notice.c.person == person)) or 0)


def mark_read(db: Connection, person: str, until: int, now: int, only: int | None = None) -> None:
    """Mark a person's notices up to a number as read, or one only."""
    mine = (notice.c.person == person) & notice.c.read.is_(None)
    which = notice.c.number <= until if only is None else notice.c.number == only
    db.execute(notice.update().where(mine, which).values(read=now))


def due(db: Connection, now: int, most: int) -> list[Notice]:
    """Letters to try now, those due longest first."""
    query = select(notice).where(notice.c.mail_due <= now).order_by(notice.c.mail_due, notice.c.number)
    return [_notice(row) for row in db.execute(query.limit(most))]


def waiting(db: Connection) -> int:
    """How many letters wait to be sent."""
    return int(db.scalar(select(func.count()).where(notice.c.mail_due.is_not(None))) or 0)


def failed(db: Connection) -> int:
    """How many letters were given up."""
    given_up = notice.c.mail_due.is_(None) & notice.c.mail_done.is_(None) & (notice.c.mail_fault != "")
    return int(db.scalar(select(func.count()).where(given_up)) or 0)


def change(db: Connection, number: int, **values: int | str | None) -> None:
    """Change fields of one notice by name; `values` of a notice are JSON here."""
    db.execute(notice.update().where(notice.c.number == number).values(**values))


def drop_waiting(db: Connection, fault: str) -> None:
    """Give up every letter that waits."""
    db.execute(notice.update().where(notice.c.mail_due.is_not(None)).values(mail_due=None, mail_fault=fault))


def forget(db: Connection, before: int) -> int:
    """Delete what was told before that time, letters that still wait included; how many."""
    return db.execute(delete(notice).where(notice.c.at < before)).rowcount


def wishes(db: Connection, person: str) -> Preference:
    row = db.execute(select(preference).where(preference.c.person == person)).one_or_none()
    if row is None:
        return Preference(person)
    return Preference(
        row.person,
        row.language,
        row.heard,
        row.quiet_from,
        row.quiet_until,
        frozenset(row.choices.split()),
    )


def wish(db: Connection, new: Preference) -> None:
    """Keep what a person wishes, in place of what was kept."""
    db.execute(delete(preference).where(preference.c.person == new.person))
    db.execute(
        preference.insert().values(
            person=new.person,
            language=new.language,
            heard=new.heard,
            quiet_from=new.quiet_from,
            quiet_until=new.quiet_until,
            choices=" ".join(sorted(new.choices)),
        )
    )


def hear(db: Connection, person: str, language: str) -> None:
    """Remember the language that a person reads the portal in."""
    wish(db, replace(wishes(db, person), heard=language))


def charged_since(db: Connection, number: int) -> tuple[int, set[str]]:
    """The ledger's last number, and the grants whose balance changed after that number."""
    last = int(db.scalar(select(func.max(entry.c.number))) or 0)
    codes = db.scalars(select(entry.c.grant).where(entry.c.number > number).distinct()).all()
    return last, set(codes)


def use_of(db: Connection, grant: str) -> tuple[int, int, int]:
    """What a grant was given, what it has used, and its balance, in milli-GPU-seconds."""
    sums = {
        row[0]: int(row[1])
        for row in db.execute(
            select(entry.c.kind, func.sum(entry.c.amount))
            .where(entry.c.grant == grant)
            .group_by(entry.c.kind)
        )
    }
    given = sum(sums.get(kind.value, 0) for kind in (Kind.AWARD, Kind.TOP_UP))
    used = -sum(sums.get(kind.value, 0) for kind in (Kind.OPENING, Kind.CHARGE, Kind.REFUND))
    return given, used, sum(sums.values())


def _notice(row: Row[tuple[object, ...]]) -> Notice:
    fields = dict(row._mapping)
    return Notice(**{**fields, "values": json.loads(str(fields["values"]))})
