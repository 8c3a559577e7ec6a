"""What a person is shown: grants in figures, sessions and jobs, the queue. Each audience sees an allow-list of fields."""

from __future__ import annotations

from dataclasses import dataclass, replace

from portal.client import Allocation, GrantView, LiveJob, Queue, QueueJob
from portal.grants import state
from portal.policy import Standing
from portal.pricing import Price, price
from portal.reasons import explain
from portal.service.admission import standings
from portal.service.desk import Desk
from portal.service.words import Words
from portal.store import Db, books, programme, register
from portal.store.books import Job, Spending
from portal.store.register import Session
from portal.units import day_of, day_starts

HISTORY_DAYS = 42
DAY = 86_400
RECENT = 5


def allocation(desk: Desk, person: str, words: Words) -> Allocation:
    """One person's grants in figures, with what was spent each day."""
    now = desk.now()
    since = (
        day_starts(day_of(now, desk.settings.site.timezone), desk.settings.site.timezone)
        - (HISTORY_DAYS - 1) * DAY
    )
    with desk.store.read() as db:
        mine, spending = standings(db, person, now), books.spending(db)
        organisations = programme.organisations(db)
        daily = books.daily(db, [standing.grant.code for standing in mine], since)
    views = []
    for standing in mine:
        owner = organisations[standing.grant.organisation]
        name = owner.name_zh if words.chinese else owner.name
        code = standing.grant.code
        days = [(since + n * DAY, daily.get(code, {}).get(since + n * DAY, 0)) for n in range(HISTORY_DAYS)]
        views.append(_grant_view(desk, standing, spending.get(code, Spending()), name, days, now))
    return Allocation(at=now, as_at=int(desk.view.at) if desk.view else None, grants=views)


def _grant_view(
    desk: Desk,
    standing: Standing,
    spending: Spending,
    organisation: str,
    days: list[tuple[int, int]],
    now: int,
) -> GrantView:
    grant = standing.grant
    return GrantView(
        code=grant.code,
        title=grant.title,
        organisation=organisation,
        state=state(grant, standing.balance, now, desk.cheapest).value,
        role=standing.membership.role.value if standing.membership else "",
        starts=grant.starts,
        ends=grant.ends,
        awarded=spending.awarded,
        balance=standing.balance,
        committed=standing.committed,
        available=standing.available,
        spent=spending.spent,
        list_cents=spending.list_cents,
        subsidy_cents=spending.subsidy_cents,
        own_cents=spending.list_cents - spending.subsidy_cents,
        history=days,
    )


def queue(desk: Desk, person: str, words: Words) -> Queue:
    """The cluster as every viewer may see it; job names only of the viewer's own jobs."""
    view = desk.view
    shards = {partition.name: partition.shards_per_gpu for partition in desk.settings.offer.partitions}
    with desk.store.read() as db:
        mine = {
            (row.job.id, row.job.submit): _label(row, row.job, words)
            for row in work(desk, db, person)
            if row.job
        }
    return Queue(
        at=desk.now(),
        as_at=int(view.at) if view else None,
        nodes=view.nodes if view else [],
        jobs=[
            _queue_job(job, mine.get((job.id, job.submit)), shards.get(job.partition.split(",")[0], 0), words)
            for job in (view.jobs if view else [])
        ],
    )


def _label(row: Work, job: Job, words: Words) -> str:
    """What its owner calls it: a session by its kind, any other job by the name it was given."""
    return words.gettext("Notebook") if row.session else job.name


def _queue_job(job: LiveJob, label: str | None, shards_per_gpu: int, words: Words) -> QueueJob:
    """label: None for other people's jobs, of which no name is shown. shards_per_gpu: on the nodes it asks for."""
    waiting = job.state == "PENDING"
    return QueueJob(
        id=job.id,
        mine=label is not None,
        label=label or "",
        state=job.state,
        reason=job.reason if waiting else "",
        reason_text=explain(job.reason, words.language) if waiting and job.reason else "",
        partition=job.partition,
        gpus=gpus_of(job.tres, shards_per_gpu),
        nodes=job.nodes,
        submit=job.submit,
        start=job.start,
        limit_seconds=job.limit_seconds,
    )


def gpus_of(tres: str, shards_per_gpu: int) -> float:
    """GPUs named in a TRES string such as `cpu=4,gres/gpu=2` or `gres/shard=1`; nonsense counts as none."""
    counts = dict(part.partition("=")[::2] for part in tres.split(","))
    for name, share in (("gres/gpu", 1), ("gres/shard", shards_per_gpu)):
        if share and counts.get(name, "").isdecimal():
            return int(counts[name]) / share
    return 0.0


@dataclass(frozen=True)
class Work:
    """A session, a job, or both: one line of what a person has going on or has just ended.

    used: milli-GPU-seconds so far, or finally. cost: its price. left: seconds until the time limit; None if unknown.
    """

    session: Session | None
    job: Job | None
    used: int
    cost: Price
    left: int | None

    @property
    def state(self) -> str:
        """submitted, waiting, running, ending, ended or failed."""
        if self.job is None:
            ended = self.session is not None and self.session.ended is not None
            return "failed" if ended else "submitted"
        if self.job.booked is not None:
            return "ended"
        if self.job.gone is not None or self.job.state in ("COMPLETING", "COMPLETED", "CANCELLED"):
            return "ending"
        return "waiting" if self.job.state == "PENDING" else "running"

    @property
    def grant(self) -> str:
        """Who pays: the job's grant, for its owner may have moved it to another one."""
        return (self.job.grant if self.job else None) or (self.session.grant if self.session else "")


def work(desk: Desk, db: Db, person: str) -> list[Work]:
    """A person's sessions and jobs that are not over, whatever their origin."""
    now = desk.now()
    codes = {one.grant for one in programme.memberships(db, person) if one.holds(now)}
    sessions = {session.id: session for session in register.alive(db, person)}
    shared = desk.settings.slurm.accounts == "shared"
    found = []
    for job in books.open_jobs(db):
        own = job.person == person or (
            shared and job.session is None and job.person == "" and job.grant in codes
        )
        if own:
            session = sessions.pop(job.session, None) if job.session else None
            found.append(_work(db, session or _ended(db, job), job, now))
    return [_work(db, session, None, now) for session in sessions.values()] + found


def _ended(db: Db, job: Job) -> Session | None:
    return register.session(db, job.session) if job.session else None


def recent(desk: Desk, db: Db, person: str) -> list[Work]:
    """A person's latest ended sessions, newest first, each with its job once that is known."""
    rows = []
    for session in register.recent(db, person, RECENT):
        jobs = books.jobs_of_session(db, session.id)
        if jobs and jobs[-1].booked is not None:
            rows.append(_work(db, session, jobs[-1], desk.now()))
    return rows


def of_session(desk: Desk, db: Db, session: Session) -> Work:
    """One session with its job."""
    jobs = books.jobs_of_session(db, session.id)
    return _work(db, session, jobs[-1] if jobs else None, desk.now())


def _work(db: Db, session: Session | None, job: Job | None, now: int) -> Work:
    used, left = 0, None
    if job and job.start is not None:
        if job.booked is not None:
            used = job.billing * (job.elapsed or 0)
        else:
            used = job.billing * max(0, (job.gone or now) - job.start)
            left = max(0, job.start + job.limit_seconds - now) if job.limit_seconds is not None else None
    found = Work(session, job, used, Price(0, 0), left)
    grant = programme.grant(db, found.grant)
    return replace(found, cost=price(used, grant.list_price, grant.share)) if grant else found
