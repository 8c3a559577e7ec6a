"""People by opaque id, their erasable names, what they chose last, and the capabilities lent in their name."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from sqlalchemy import Connection, delete, select

from portal.store import tables


@dataclass(frozen=True)
class Person:
    """A person the identity provider has named. unix_user: the account that the person's jobs run under."""

    id: str
    issuer: str
    subject: str
    unix_user: str
    name: str
    email: str
    roles: frozenset[str]


@dataclass(frozen=True)
class Choice:
    """What a person chose for the last session, to be offered first."""

    grant: str
    size: str
    minutes: int


def record(db: Connection, seen: Person, now: int) -> None:
    """Write down who signed in; the same person again replaces all but issuer and subject."""
    values = {"unix_user": seen.unix_user, "roles": " ".join(sorted(seen.roles)), "seen": now}
    found = db.execute(tables.person.update().where(tables.person.c.id == seen.id).values(values)).rowcount
    if not found:
        keys = {"id": seen.id, "issuer": seen.issuer, "subject": seen.subject}
        db.execute(tables.person.insert().values(**keys, **values))
    db.execute(delete(tables.person_name).where(tables.person_name.c.person == seen.id))
    db.execute(tables.person_name.insert().values(person=seen.id, name=seen.name, email=seen.email))


def person(db: Connection, id: str) -> Person | None:
    query = select(tables.person, tables.person_name.c.name, tables.person_name.c.email)
    row = db.execute(query.outerjoin(tables.person_name).where(tables.person.c.id == id)).one_or_none()
    if row is None:
        return None
    roles = frozenset(row.roles.split())
    return Person(row.id, row.issuer, row.subject, row.unix_user, row.name or "", row.email or "", roles)


def by_unix_user(db: Connection, unix_user: str) -> str:
    """Opaque id of the one person who owns a Unix account; empty if nobody or several do."""
    ids = db.scalars(select(tables.person.c.id).where(tables.person.c.unix_user == unix_user)).all()
    return ids[0] if len(ids) == 1 else ""


def unix_users(db: Connection) -> dict[str, str]:
    """Unix account of every person, by opaque id."""
    return {
        row.id: row.unix_user for row in db.execute(select(tables.person.c.id, tables.person.c.unix_user))
    }


def last_choice(db: Connection, id: str) -> Choice | None:
    row = db.execute(select(tables.choice).where(tables.choice.c.person == id)).one_or_none()
    return Choice(row.grant, row.size, row.minutes) if row else None


def remember_choice(db: Connection, id: str, chosen: Choice) -> None:
    db.execute(delete(tables.choice).where(tables.choice.c.person == id))
    db.execute(
        tables.choice.insert().values(person=id, grant=chosen.grant, size=chosen.size, minutes=chosen.minutes)
    )


def token_hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def lend(db: Connection, token: str, id: str, expires: int) -> None:
    """Record a capability: whoever holds the token may read what this person may read."""
    db.execute(tables.capability.insert().values(hash=token_hash(token), person=id, expires=expires))


def borrower(db: Connection, token: str, now: int) -> str | None:
    """Whose capability this token is, while it is good."""
    query = select(tables.capability.c.person).where(
        tables.capability.c.hash == token_hash(token), tables.capability.c.expires > now
    )
    return db.scalar(query)


def take_back(db: Connection, token: str, now: int) -> None:
    """End a capability, and drop those that have run out."""
    over = (tables.capability.c.hash == token_hash(token)) | (tables.capability.c.expires <= now)
    db.execute(delete(tables.capability).where(over))


def accepted(db: Connection, id: str) -> set[tuple[str, str]]:
    """The documents that a person has accepted, each with its version."""
    query = select(tables.consent.c.document, tables.consent.c.version).where(tables.consent.c.person == id)
    return {(row.document, row.version) for row in db.execute(query)}


def accept(db: Connection, id: str, document: str, version: str, now: int) -> bool:
    """Record that a person accepted a version of a document; False if that is recorded already."""
    keys = {"person": id, "document": document, "version": version}
    known = (tables.consent.c[name] == value for name, value in keys.items())
    if db.execute(select(tables.consent.c.at).where(*known)).one_or_none():
        return False
    db.execute(tables.consent.insert().values(**keys, at=now))
    return True
