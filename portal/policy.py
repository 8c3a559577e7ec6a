"""Who may start what: admitted, or refused with a reason and the next step.

Pure. Everything a decision rests on is in its arguments; `portal.service` gathers it inside one transaction, so that two
people who press Start on the last hours of a grant are judged one after the other.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from portal.grants import Grant, Membership, State, state


@dataclass(frozen=True)
class Refusal:
    """A no. code: its row in `portal.reasons`. field: the value of the form at fault. values: for the places in the row."""

    code: str
    field: str
    values: dict[str, object] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True)
class Standing:
    """How things are between one person and one grant at this moment; amounts in milli-GPU-seconds."""

    grant: Grant
    membership: Membership | None
    balance: int
    committed: int
    person_spent: int = 0
    person_committed: int = 0

    @property
    def available(self) -> int:
        return self.balance - self.committed


def usable(standing: Standing, now: int, cheapest: int) -> Refusal | None:
    """Whether the person may start anything at all on the grant."""
    grant = standing.grant
    if standing.membership is None or not standing.membership.holds(now):
        return Refusal("grant-not-yours", "grant", {"value": grant.code})
    current = state(grant, standing.balance, now, cheapest)
    if current is not State.ACTIVE:
        values: dict[str, object] = {"grant": grant.code, "starts": grant.starts, "ends": grant.ends}
        return Refusal(f"grant-{current.value}", "grant", values)
    return None


def admit(standing: Standing, billing: int, minutes: int, now: int, cheapest: int) -> Refusal | None:
    """Judge one start: None admits it.

    billing: milli-GPUs of the size. minutes: the time limit. Rule 3 of accounting.md: refused when its maximum cost
    exceeds what is available, the grant is not active, the person is no member or is over the cap, or when it would
    run past the end of the grant.
    """
    refused = usable(standing, now, cheapest)
    if refused:
        return refused
    grant, cost = standing.grant, billing * minutes * 60
    if now + minutes * 60 > grant.ends:
        return Refusal("past-the-end", "minutes", {"grant": grant.code, "ends": grant.ends})
    if cost > standing.available:
        values = {"cost": cost, "available": max(0, standing.available), "grant": grant.code}
        return Refusal("too-dear", "minutes", values)
    cap = standing.membership.cap if standing.membership else None
    if cap is not None and standing.person_spent + standing.person_committed + cost > cap:
        used = standing.person_spent + standing.person_committed
        return Refusal("over-the-cap", "minutes", {"grant": grant.code, "cap": cap, "used": used})
    return None
