"""The audit: who did what, when, from where. One append-only stream, hash-chained like the ledger.

Pure: no clock, no database. `portal.store.audit` keeps the events. Persons appear by opaque id only, so that erasing a
name leaves every hash whole.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

GENESIS = "0" * 64
"""What the first event names as its predecessor."""


@dataclass(frozen=True)
class Event:
    """One line of the audit.

    at: seconds since 1970, UTC. who: opaque id of a person, or `process:<name>`. what: a dotted word such as
    `session.stop`. subject: what it was done to, such as a session's or a grant's id. where: network address that it
    came from, or empty. detail: canonical JSON (`event`), never a name, a secret or free text of a person.
    """

    at: int
    who: str
    what: str
    subject: str = ""
    where: str = ""
    detail: str = "{}"


def event(
    at: int, who: str, what: str, subject: str = "", where: str = "", **detail: str | int | bool
) -> Event:
    """An event with its detail as canonical JSON."""
    return Event(
        at,
        who,
        what,
        subject,
        where,
        json.dumps(detail, sort_keys=True, ensure_ascii=True, separators=(",", ":")),
    )


def link(previous: str, new: Event) -> str:
    """Hash of an event that follows the one hashed `previous`: SHA-256 over canonical JSON, in hex."""
    facts = [previous, new.at, new.who, new.what, new.subject, new.where, new.detail]
    return hashlib.sha256(json.dumps(facts, ensure_ascii=True, separators=(",", ":")).encode()).hexdigest()


@dataclass(frozen=True)
class Link:
    """An event as stored: its place in the order, its hash and that of the one before."""

    number: int
    event: Event
    previous: str
    hash: str


def faults(chain: Iterable[Link]) -> Iterator[str]:
    """Name every break of the chain: a changed line, a missing number, a line out of place."""
    expected, number = GENESIS, 1
    for item in chain:
        if item.number != number:
            yield f"line {number} is missing: after it comes line {item.number} ({item.event.what})"
        elif item.previous != expected:
            yield f"line {item.number} ({item.event.what}) does not follow line {item.number - 1}"
        if link(item.previous, item.event) != item.hash:
            yield f"line {item.number} ({item.event.what}) was changed after it was written"
        expected, number = item.hash, item.number + 1
