"""Notices of what happens to a session, told where it happens."""

from __future__ import annotations

from portal.grants import Grant
from portal.notices.telling import tell
from portal.pricing import price
from portal.service.desk import Desk
from portal.store import Db
from portal.store.books import Job
from portal.store.register import Session

WAIT_SECONDS = 60
"""Who waited less was there to see it begin."""
LONG_WAIT_SECONDS = 600
"""Who waited longer has gone away, and is written to."""

CAUSES = {
    "TIMEOUT": "time-limit",
    "DEADLINE": "time-limit",
    "NODE_FAIL": "node-failure",
    "BOOT_FAIL": "node-failure",
    "OUT_OF_MEMORY": "memory",
    "FAILED": "error",
}
"""States of Slurm in which a job ends without its owner's will."""


def session_ready(desk: Desk, db: Db, session: Session | None) -> None:
    """Called before `ready` is written down, as often as the hub says so."""
    if session is None or session.ready is not None:
        return
    waited = desk.now() - session.asked
    if waited <= WAIT_SECONDS:
        return
    tell(
        desk,
        db,
        "session-ready-late" if waited > LONG_WAIT_SECONDS else "session-ready",
        session.person,
        f"session-ready:{session.id}",
        session=session.id,
        grant=session.grant,
        waited=waited,
    )


def session_over(desk: Desk, db: Db, session: Session | None, job: Job, grant: Grant) -> None:
    """Called when a session's job is booked; nothing is told of one that its owner ended."""
    cause = CAUSES.get(job.state.split(" ")[0])
    if session is None or cause is None:
        return
    used = job.billing * (job.elapsed or 0)
    if used == 0:
        session_failed(desk, db, session)
        return
    cost = price(used, grant.list_price, grant.share)
    tell(
        desk,
        db,
        "session-ended",
        session.person,
        f"session-ended:{session.id}",
        session=session.id,
        cause=cause,
        grant=grant.code,
        used=used,
        list=cost.list_cents,
        subsidy=cost.subsidy_cents,
        own=cost.own_cents,
    )


def session_failed(desk: Desk, db: Db, session: Session) -> None:
    """A session that never ran."""
    tell(desk, db, "session-failed", session.person, f"session-failed:{session.id}")
