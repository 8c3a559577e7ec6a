"""The grant ledger: what each grant was given and what it has spent.

Pure: no clock, no database, no Slurm. `portal.store` keeps the entries, `portal.slurm.usage` reads the finished jobs.

Unit: milli-GPU-seconds, as `int`, signed: what the line does to the balance.
History: an entry is never changed or removed; a new entry puts a mistake right. One global chain of hashes runs through
all entries in their order, so an edited, removed or moved line is found and named.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum

from portal.pricing import Price

GENESIS = "0" * 64
"""What the first entry names as its predecessor."""


class LedgerError(Exception):
    """The ledger refuses an entry. The message is fit to show to the user."""


class Kind(Enum):
    OPENING = "opening"  # use before adoption, with its evidence
    AWARD = "award"  # released by the committee's decision
    TOP_UP = "top-up"  # added by a later decision
    CHARGE = "charge"  # what one job, or a workshop's window, used
    REFUND = "refund"  # part of a charge given back
    EXPIRY = "expiry"  # what was left at the end
    ADJUSTMENT = "adjustment"  # puts another line right, in either direction


GIVES = {Kind.AWARD, Kind.TOP_UP, Kind.REFUND}
TAKES = {Kind.OPENING, Kind.CHARGE, Kind.EXPIRY}


@dataclass(frozen=True)
class Entry:
    """One line of the ledger.

    key: stable name of the event, such as `charge:aisc:41872:1795243994`; unique.
    amount: milli-GPU-seconds, with the sign of its effect on the balance.
    at: when it happened; booked: when it was written. Seconds since 1970, UTC.
    person: opaque id, or empty. note: evidence or reference, never a name.
    """

    key: str
    grant: str
    kind: Kind
    amount: int
    price: Price
    at: int
    booked: int
    person: str = ""
    note: str = ""

    def __post_init__(self) -> None:
        wrong = (self.kind in GIVES and self.amount < 0) or (self.kind in TAKES and self.amount > 0)
        if wrong:
            raise ValueError(f"{self.key}: a {self.kind.value} cannot change the balance by {self.amount}")

    def same_event(self, other: Entry) -> bool:
        """Whether both tell the same event: everything but when it was written."""
        return _facts(self)[:-1] == _facts(other)[:-1]


def _facts(entry: Entry) -> list[object]:
    money = [entry.price.list_cents, entry.price.subsidy_cents, entry.price.own_cents]
    return [
        entry.key,
        entry.grant,
        entry.kind.value,
        entry.amount,
        *money,
        entry.at,
        entry.person,
        entry.note,
        entry.booked,
    ]


def charge_key(cluster: str, job: int, submit: int) -> str:
    """The one key of a job's charge: a requeue has the same id and a new submit time (accounting.md, rule 2)."""
    return f"charge:{cluster}:{job}:{submit}"


def link(previous: str, entry: Entry) -> str:
    """Hash of an entry that follows the entry hashed `previous`: SHA-256 over canonical JSON, in hex."""
    text = json.dumps([previous, *_facts(entry)], ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def balance(entries: Iterable[Entry]) -> int:
    """Milli-GPU-seconds left; negative if jobs overran their grant."""
    return sum(entry.amount for entry in entries)


@dataclass(frozen=True)
class Link:
    """An entry as stored: its place in the order, its hash and that of the one before."""

    number: int
    entry: Entry
    previous: str
    hash: str


def faults(chain: Iterable[Link]) -> Iterator[str]:
    """Name every break of the chain: a changed line, a missing number, a line out of place."""
    expected, number = GENESIS, 1
    for item in chain:
        if item.number != number:
            yield f"line {number} is missing: after it comes line {item.number} ({item.entry.key})"
        elif item.previous != expected:
            yield f"line {item.number} ({item.entry.key}) does not follow line {item.number - 1}"
        if link(item.previous, item.entry) != item.hash:
            yield f"line {item.number} ({item.entry.key}) was changed after it was written"
        expected, number = item.hash, item.number + 1
