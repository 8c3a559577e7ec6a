"""Grants: what the committee decided, who may use it, and what state it is in now.

Pure. A grant is recorded, never approved here: the portal keeps the decision of the committee. Time is an argument.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

MINUTE = 60


class Category(Enum):
    """The five kinds of eligible organisation of the sample programme's scheme."""

    INSTITUTION = "institution"
    RESEARCH_CENTRE = "rd-institution"
    ENTERPRISE = "enterprise"
    STARTUP = "startup"
    GOVERNMENT = "government"


class Decided(Enum):
    """What is stored: the last decision on the grant."""

    DRAFT = "draft"
    APPROVED = "approved"
    SUSPENDED = "suspended"
    CLOSED = "closed"


class State(Enum):
    """What a grant is now, derived from the decision, the clock and the balance."""

    DRAFT = "draft"
    NOT_STARTED = "not-started"
    ACTIVE = "active"
    EXHAUSTED = "exhausted"
    SUSPENDED = "suspended"
    EXPIRED = "expired"
    CLOSED = "closed"


class Role(Enum):
    PI = "pi"
    MANAGER = "manager"
    MEMBER = "member"


@dataclass(frozen=True)
class Organisation:
    id: str
    name: str
    name_zh: str
    category: Category


@dataclass(frozen=True)
class Grant:
    """Terms of one grant.

    starts, ends: seconds since 1970; ends is 24:00 of the last day, no longer inside.
    list_price: cents for a GPU-hour. share: subsidised part in basis points (7,000 is 70 %).
    """

    code: str
    title: str
    organisation: str
    field: str
    purpose: str
    starts: int
    ends: int
    decision: str
    list_price: int
    share: int
    decided: Decided = Decided.APPROVED
    conditions: str = ""
    title_zh: str = ""

    @property
    def account(self) -> str:
        return account_name(self.code)

    def titled(self, chinese: bool) -> str:
        """The title for a reader of that language; the other one where there is but one."""
        return (self.title_zh or self.title) if chinese else (self.title or self.title_zh)


@dataclass(frozen=True)
class Membership:
    """A person's place in a grant. cap: most milli-GPU-seconds the person may use of it; None: no cap of its own."""

    grant: str
    person: str
    role: Role
    starts: int
    ends: int | None = None
    cap: int | None = None

    def holds(self, now: int) -> bool:
        return self.starts <= now and (self.ends is None or now < self.ends)


def account_name(code: str) -> str:
    """Name of a grant's account and QOS in Slurm: `g` and the code's letters and digits, lower case."""
    return "g" + "".join(letter for letter in code.lower() if letter.isascii() and letter.isalnum())


def state(grant: Grant, balance: int, now: int, cheapest: int) -> State:
    """What the grant is at `now`.

    cheapest: billing in milli-GPUs of the cheapest size offered; below one minute of it a grant is exhausted.
    """
    stored = {
        Decided.DRAFT: State.DRAFT,
        Decided.SUSPENDED: State.SUSPENDED,
        Decided.CLOSED: State.CLOSED,
    }
    if grant.decided in stored:
        return stored[grant.decided]
    if now >= grant.ends:
        return State.EXPIRED
    if now < grant.starts:
        return State.NOT_STARTED
    return State.EXHAUSTED if balance < cheapest * MINUTE else State.ACTIVE


@dataclass(frozen=True)
class Claim:
    """Something that may still cost: a session not ended, a running job, or one that ended and is not booked.

    amount: milli-GPU-seconds, at its maximum. person: who it counts against, or empty.
    """

    grant: str
    person: str
    amount: int


def committed(claims: list[Claim], person: str | None = None) -> int:
    """Sum of what may still be charged, to everybody or to one person. Computed, never stored (accounting.md)."""
    return sum(claim.amount for claim in claims if person is None or claim.person == person)


def job_claim(billing: int, limit_seconds: int | None, start: int, grant_ends: int) -> int:
    """Most that a running job can be charged: billing x limit; without a limit, until the grant ends."""
    return billing * (limit_seconds if limit_seconds is not None else max(0, grant_ends - start))
