"""Who may start what: admitted, or refused with a reason and the next step.

Pure. Everything a decision rests on is in its arguments; `portal.service` gathers it inside one transaction, so that two
people who press Start on the last hours of a grant are judged one after the other.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from portal.grants import Grant, Membership, State, state


def N_(sentence: str) -> str:
    """Mark a sentence for translation where it is defined; it is translated where it is shown."""
    return sentence


@dataclass(frozen=True)
class Refusal:
    """A no. field: the value of the form at fault. sentence: English, with places for `values`."""

    code: str
    field: str
    sentence: str
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


NO_GRANT = N_(
    "You have no grant yet. Ask the principal investigator of your project to add you, or write to {contact}."
)
NOT_ACCEPTED = N_(
    "Before your first session, read the privacy notice and the terms: open the home page of the portal."
)
NOT_OFFERED = N_("{value} is not offered here. Choose one of the values in the form.")

STATES = {
    State.DRAFT: N_(
        "The grant {grant} is not approved yet. It can be used once the committee's decision is recorded."
    ),
    State.NOT_STARTED: N_("The grant {grant} starts on {starts}. Choose another grant or come back then."),
    State.EXHAUSTED: N_("The grant {grant} is used up. Ask for a top-up, or choose another grant."),
    State.SUSPENDED: N_(
        "The grant {grant} is suspended. Ask the programme office what is needed to lift it."
    ),
    State.EXPIRED: N_("The grant {grant} ended on {ends}. Ask for an extension, or choose another grant."),
    State.CLOSED: N_("The grant {grant} is closed. Choose another grant."),
}


def usable(standing: Standing, now: int, cheapest: int) -> Refusal | None:
    """Whether the person may start anything at all on the grant."""
    grant = standing.grant
    if standing.membership is None or not standing.membership.holds(now):
        return Refusal("grant-not-yours", "grant", NOT_OFFERED, {"value": grant.code})
    current = state(grant, standing.balance, now, cheapest)
    if current is not State.ACTIVE:
        values: dict[str, object] = {"grant": grant.code, "starts": grant.starts, "ends": grant.ends}
        return Refusal(f"grant-{current.value}", "grant", STATES[current], values)
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
        sentence = N_("This would run past the end of the grant {grant} on {ends}. Choose a shorter time.")
        return Refusal("past-the-end", "minutes", sentence, {"grant": grant.code, "ends": grant.ends})
    if cost > standing.available:
        sentence = N_(
            "This could cost {cost} GPU-hours, and {available} are available on the grant {grant}. "
            "Choose a smaller size or a shorter time."
        )
        values = {"cost": cost, "available": max(0, standing.available), "grant": grant.code}
        return Refusal("too-dear", "minutes", sentence, values)
    cap = standing.membership.cap if standing.membership else None
    if cap is not None and standing.person_spent + standing.person_committed + cost > cap:
        sentence = N_(
            "Your cap on the grant {grant} is {cap} GPU-hours, and {used} are used or committed. "
            "Choose less, or ask the principal investigator to raise the cap."
        )
        used = standing.person_spent + standing.person_committed
        return Refusal("over-the-cap", "minutes", sentence, {"grant": grant.code, "cap": cap, "used": used})
    return None
