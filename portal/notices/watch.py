"""What nobody does and yet happens: a grant nears its end or is nearly used up, a job waits for what never comes."""

from __future__ import annotations

from portal.grants import Decided, Grant, Role, committed
from portal.notices.telling import tell
from portal.reasons import Kind, find
from portal.service.admission import claims
from portal.service.desk import Desk
from portal.store import Db, books, notices, programme
from portal.units import day_of

ENDING_DAYS = (30, 14, 7, 1)
"""Days before the last day of a grant at which its principal investigator and managers are told."""

USED_PERCENT = (75, 90, 100)
"""Parts of a grant whose use is told."""

STUCK_SECONDS = 300
"""A reason younger than this may pass by itself."""


def grants_ending(desk: Desk) -> None:
    """Tell of grants that end soon: each of ENDING_DAYS once, and only the nearest where several are due."""
    today = day_of(desk.now(), desk.settings.site.timezone)
    with desk.store.read() as db:
        known = programme.grants(db)
        soon = []
        for grant in known.values():
            days = (day_of(grant.ends - 1, desk.settings.site.timezone) - today).days
            if (
                grant.decided is Decided.APPROVED
                and grant.starts <= desk.now()
                and 0 <= days <= ENDING_DAYS[0]
            ):
                soon.append((grant, min(step for step in ENDING_DAYS if days <= step)))
    if not soon:
        return
    with desk.store.write() as db:
        balances, open_claims = books.balances(db), claims(db, known)
        for grant, step in soon:
            for person in _responsible(db, grant, desk.now()):
                tell(
                    desk,
                    db,
                    "grant-ending",
                    person,
                    f"grant-ending:{grant.code}:{grant.ends}:{step}:{person}",
                    grant=grant.code,
                    ends=grant.ends,
                    left=max(0, balances.get(grant.code, 0)),
                    committed=committed(open_claims.get(grant.code, [])),
                )


def grants_low(desk: Desk, since: int) -> int:
    """Tell of grants whose use has passed one of USED_PERCENT, among those with new lines in the ledger after `since`.

    Only the highest part passed is told. A top-up begins anew. Returns the ledger's last number.
    """
    with desk.store.read() as db:
        last, codes = notices.charged_since(db, since)
        low = []
        for code in codes:
            grant, (given, used, balance) = programme.grant(db, code), notices.use_of(db, code)
            passed = [step for step in USED_PERCENT if given > 0 and used * 100 >= step * given]
            if grant and passed and grant.decided is Decided.APPROVED and desk.now() < grant.ends:
                low.append((grant, passed[-1], given, used, balance))
    if low:
        with desk.store.write() as db:
            for grant, step, given, used, balance in low:
                for person in _responsible(db, grant, desk.now()):
                    tell(
                        desk,
                        db,
                        "grant-low",
                        person,
                        f"grant-low:{grant.code}:{given}:{step}:{person}",
                        grant=grant.code,
                        left=max(0, balance),
                        used=used,
                        awarded=given,
                    )
    return last


def jobs_stuck(desk: Desk) -> None:
    """Tell the owners of jobs that wait for what will not come, once a job."""
    with desk.store.read() as db:
        stuck = [
            job
            for job in books.open_jobs(db)
            if job.state == "PENDING"
            and job.gone is None
            and _never_starts(job.reason)
            and job.person
            and desk.now() - job.submit >= STUCK_SECONDS
        ]
    if not stuck:
        return
    with desk.store.write() as db:
        for job in stuck:
            key = f"job-stuck:{job.cluster}:{job.id}:{job.submit}"
            tell(desk, db, "job-stuck", job.person, key, job=job.id, reason=job.reason)


def _never_starts(reason: str) -> bool:
    row = find(reason)
    return row is not None and row.kind is Kind.NEVER


def _responsible(db: Db, grant: Grant, now: int) -> list[str]:
    """Who is told of a grant: its principal investigator and managers."""
    return sorted(
        one.person
        for one in programme.memberships(db)
        if one.grant == grant.code and one.role in (Role.PI, Role.MANAGER) and one.holds(now)
    )
