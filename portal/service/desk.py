"""What every part of the service works on: settings, store, clock and the latest look at Slurm."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from portal.audit import event
from portal.client import View
from portal.settings import Settings
from portal.sizes import billing
from portal.store import Db, Store, audit

STOP_SECONDS = 30
"""How long a session shows as being stopped; one that still runs after that can be asked again."""


@dataclass
class Desk:
    """view: the latest look, or None until the agent has brought one since this process began.

    accepted: people who are known to have accepted the terms in force.
    stops: sessions asked to stop since this process began, and when; their jobs take some seconds to go.
    """

    settings: Settings
    store: Store
    view: View | None = field(default=None)
    accepted: set[str] = field(default_factory=set)
    stops: dict[str, int] = field(default_factory=dict)

    def now(self) -> int:
        return int(time.time())

    def note(
        self, db: Db, who: str, what: str, subject: str = "", where: str = "", **detail: str | int | bool
    ) -> None:
        """Write one line of the audit, in the transaction of what it tells (`portal.audit.Event` says what each is)."""
        audit.append(db, event(self.now(), who, what, subject, where, **detail))
        self.heard(what, subject)

    def heard(self, what: str, subject: str) -> None:
        """Remember what the pages show before Slurm does: that a session was asked to stop."""
        if what == "session.stopped":
            now = self.now()
            self.stops = {id: at for id, at in self.stops.items() if now - at < STOP_SECONDS} | {subject: now}

    def is_stopping(self, session: str) -> bool:
        """Whether it was asked to stop a moment ago; if it still runs after that, it can be asked again."""
        return self.now() - self.stops.get(session, 0) < STOP_SECONDS

    @property
    def cheapest(self) -> int:
        """Billing of the cheapest size offered, in milli-GPUs."""
        return min(self.size_billing(size.id) for size in self.settings.offer.sizes)

    def size_billing(self, id: str) -> int:
        """Billing of an offered size, in milli-GPUs; KeyError if it is not offered."""
        size = self.settings.offer.size(id)
        if size is None:
            raise KeyError(id)
        return billing(size, self.settings.offer.partition(size.partition))
