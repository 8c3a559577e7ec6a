"""The audit: who did what, when, from where. One append-only stream, hash-chained like the ledger.

Pure: no clock, no database. `portal.store.audit` keeps the events. Persons appear by opaque id only, so that erasing a
name leaves every hash whole. Beside it: `kinds` what events there are, `origin` where a request came from, `folding` what
keeps a flood from filling the disk and counts what makes an alarm.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from portal.locale import N_

GENESIS = "0" * 64
"""What the first event names as its predecessor."""


@dataclass(frozen=True)
class Event:
    """One line of the audit.

    at: seconds since 1970, UTC. who: opaque id of a person, or `process:<name>`, or empty where nobody had signed in.
    what: a dotted word such as `session.stopped`. subject: what it was done to, such as a session's or a grant's id. where: network address that it
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


@dataclass(frozen=True)
class Fault:
    """One break of the chain. sentence: one of FAULTS, with {line} in it."""

    line: int
    sentence: str

    def __str__(self) -> str:
        return self.sentence.format(line=self.line)


CHANGED = N_("line {line} was changed after it was written")
MISSING = N_("line {line} is missing")
ASTRAY = N_("line {line} does not follow the line before it")
NOT_SHIPPED = N_("line {line} is not the one that was copied to the other place")
CUT_SHORT = N_("line {line} is missing, though it was copied to the other place")


class Checker:
    """Follows a chain line by line. number: the last line taken. fault: the first break, if there was one."""

    def __init__(self) -> None:
        self.number = 0
        self.fault: Fault | None = None
        self._expected = GENESIS

    def take(self, item: Link) -> list[Fault]:
        """What is wrong with this line."""
        found = []
        if item.number != self.number + 1:
            found.append(Fault(self.number + 1, MISSING))
        elif item.previous != self._expected:
            found.append(Fault(item.number, ASTRAY))
        if link(item.previous, item.event) != item.hash:
            found.append(Fault(item.number, CHANGED))
        self.number, self._expected = item.number, item.hash
        self.fault = self.fault or next(iter(found), None)
        return found


def faults(chain: Iterable[Link]) -> Iterator[str]:
    """Name every break of the chain: a changed line, a missing number, a line out of place."""
    checker = Checker()
    for item in chain:
        yield from map(str, checker.take(item))


def line(item: Link) -> str:
    """A stored event as one line of JSON: what is shipped, and what anybody can check the chain with."""
    facts = {"number": item.number, **vars(item.event), "previous": item.previous, "hash": item.hash}
    return json.dumps(facts, ensure_ascii=True, separators=(",", ":"))


def read_line(text: str) -> Link | None:
    """The event that `line` wrote; None if the text is anything else."""
    try:
        facts = json.loads(text)
        number, previous, hash = int(facts.pop("number")), facts.pop("previous"), facts.pop("hash")
        return Link(number, Event(**facts), previous, hash)
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
