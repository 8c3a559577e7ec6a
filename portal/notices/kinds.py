"""Every kind of notice there is: what it says, who may switch it off, and where its link leads."""

from __future__ import annotations

import string
from dataclasses import dataclass
from typing import Literal

from portal.locale import N_

Channel = Literal["mail", "browser"]
CHANNELS: tuple[Channel, ...] = ("mail", "browser")


@dataclass(frozen=True)
class Kind:
    """One kind. All texts are English sentences, translated where they are shown, with places for values.

    essential: always sent, at once, whatever a person wishes. mail, browser: whether it comes that way by default.
    label: its name on the page of preferences. path: below the portal's address. action: what the link does.
    to_person: False where it goes to an address and no page shows it. attached: name of the value that follows the
    text as it stands. good_for: seconds after which a letter of it says nothing any more; 0: always worth reading.
    """

    name: str
    title: str
    body: str
    path: str
    action: str
    label: str = ""
    essential: bool = False
    mail: bool = False
    browser: bool = True
    to_person: bool = True
    attached: str = ""
    good_for: int = 0

    @property
    def places(self) -> frozenset[str]:
        """Names of the values that must be told with it; `contact` comes from the settings."""
        texts = (self.title, self.body, self.path)
        named = {field for text in texts for _, field, _, _ in string.Formatter().parse(text) if field}
        return frozenset(named | ({self.attached} if self.attached else set())) - {"contact"}


READY = N_("Your session is ready")
READY_BODY = N_(
    "It waited {waited}. It runs on the grant {grant}, and is charged until you stop it or its time is over."
)

KINDS = {
    kind.name: kind
    for kind in (
        Kind(
            "session-ready",
            READY,
            READY_BODY,
            "/sessions/{session}",
            N_("Go to the session"),
            N_("A session is ready after a wait of more than 1 min"),
            good_for=3600,
        ),
        Kind(
            "session-ready-late",
            READY,
            READY_BODY,
            "/sessions/{session}",
            N_("Go to the session"),
            N_("A session is ready after a wait of more than 10 min"),
            mail=True,
            good_for=3600,
        ),
        Kind(
            "session-ended",
            N_("Your session has ended"),
            N_(
                "Why it ended: {cause}. The final charge on the grant {grant} is {used} GPU-hours: "
                "list price {list}, subsidy {subsidy}, own share {own}."
            ),
            "/sessions/{session}",
            N_("See the receipt"),
            N_("A session has ended by itself: its time was over, or its node failed"),
        ),
        Kind(
            "session-failed",
            N_("Your session did not start"),
            N_("Nothing is charged. Start it again. If it fails again, write to {contact}."),
            "/start",
            N_("Start it again"),
            N_("A session did not start"),
        ),
        Kind(
            "job-stuck",
            N_("Your job {job} cannot start as it stands"),
            N_("It goes on waiting, which costs nothing. Why it cannot start: {reason}"),
            "/",
            N_("See my jobs"),
            N_("A waiting job cannot start as it stands"),
        ),
        Kind(
            "grant-ending",
            N_("The last day of the grant {grant} is {ends}"),
            N_(
                "{left} GPU-hours are left, and {committed} of them are committed to running work. After that day "
                "nothing can be started on the grant. If the work is not done by then, ask for an extension now."
            ),
            "/",
            N_("See my grants"),
            N_("A grant of mine ends in 30, 14, 7 or 1 days"),
            mail=True,
        ),
        Kind(
            "grant-low",
            N_("{left} GPU-hours are left on the grant {grant}"),
            N_(
                "{used} of {awarded} GPU-hours are used. Running work goes on. When nothing is left, nothing more can "
                "be started on the grant. If that comes too soon, ask for a top-up now."
            ),
            "/",
            N_("See my grants"),
            N_("75, 90 or 100 % of a grant of mine are used"),
            mail=True,
        ),
        Kind(
            "sign-in-new-device",
            N_("A browser not seen before signed in as you"),
            N_(
                "It signed in on {at} from {where} ({device}). If it was you, nothing is left to do. If it was not, "
                "write to {contact} at once, and change your password where you sign in."
            ),
            "/",
            N_("Go to the portal"),
            essential=True,
            mail=True,
        ),
        Kind(
            "alarm",
            N_("Security alarm: {alarm}"),
            N_("Seen on {at}. Person: {who}. From: {where}. Number: {count}. The audit has the whole story."),
            "/audit",
            N_("Read the audit"),
            essential=True,
            mail=True,
            to_person=False,
        ),
        Kind(
            "problem-report",
            N_("Problem report: {subject}"),
            N_("Somebody reported this from the portal. A reply to this letter reaches the person."),
            "/",
            N_("Go to the portal"),
            essential=True,
            mail=True,
            to_person=False,
            attached="text",
        ),
    )
}

CAUSES = {
    "time-limit": N_("its time was over"),
    "node-failure": N_("its node failed"),
    "memory": N_("it used more memory than it had"),
    "error": N_("an error"),
}
"""Why a session ended, as the value `cause` says it."""

ALARMS = {
    "refused-sign-ins-person": N_("many refused sign-ins of one person"),
    "refused-sign-ins-address": N_("many refused sign-ins from one address"),
    "odd-sign-in": N_("an unusual sign-in"),
    "chain-broken": N_("the record of what was done has been changed"),
    "shipping-failed": N_("the audit cannot be copied to its other place"),
}
"""What the value `alarm` says."""
