"""What a person is shown: grants in figures, sessions and jobs, the queue. Each audience sees an allow-list of fields."""

from __future__ import annotations

from dataclasses import dataclass

from portal.client import Allocation, GrantView, LiveJob, Queue, QueueJob, RunOut, View
from portal.forecast import LONGER_DAYS, forecast
from portal.grants import Grant, Membership, Role, State, state
from portal.policy import Refusal, Standing, usable
from portal.pricing import Price, price
from portal.service.admission import standings
from portal.service.desk import Desk
from portal.service.words import Words
from portal.slurm.text import array_tasks
from portal.store import Db, books, programme, register
from portal.store.books import Job, Spending
from portal.store.register import Session
from portal.units import day_of, day_starts

HISTORY_DAYS = LONGER_DAYS + 1
"""What the forecast rests on, and today."""
DAY = 86_400
RECENT = 8
OVER = ("ended", "failed")
"""States that do not change any more."""
NOTHING = Price(0, 0)
QUEUEING = ("", "None", "Priority", "Resources")
"""Reasons of a job that waits for its turn, not for something else."""


def allocation(desk: Desk, person: str, words: Words) -> Allocation:
    """One person's grants in figures, with what was spent each day."""
    now = desk.now()
    with desk.store.read() as db:
        grants = grant_views(desk, db, standings(db, person, now), words, now)
    return Allocation(at=now, as_at=int(desk.view.at) if desk.view else None, grants=grants)


def grant_views(desk: Desk, db: Db, mine: list[Standing], words: Words, now: int) -> list[GrantView]:
    zone = desk.settings.site.timezone
    since = day_starts(day_of(now, zone), zone) - (HISTORY_DAYS - 1) * DAY
    spending, organisations = books.spending(db), programme.organisations(db)
    daily = books.daily(db, [standing.grant.code for standing in mine], since)
    views = []
    for standing in mine:
        owner = organisations[standing.grant.organisation]
        name = owner.name_zh if words.chinese else owner.name
        code = standing.grant.code
        days = [(since + n * DAY, daily.get(code, {}).get(since + n * DAY, 0)) for n in range(HISTORY_DAYS)]
        views.append(_grant_view(desk, standing, spending.get(code, Spending()), name, days, now, words))
    return views


def _grant_view(
    desk: Desk,
    standing: Standing,
    spending: Spending,
    organisation: str,
    days: list[tuple[int, int]],
    now: int,
    words: Words,
) -> GrantView:
    grant = standing.grant
    current = state(grant, standing.balance, now, desk.cheapest)
    found = (
        forecast(days, standing.balance, grant.starts, grant.ends, now) if current is State.ACTIVE else None
    )
    closing = current is State.EXPIRED and standing.committed > 0
    return GrantView(
        code=grant.code,
        title=grant.titled(words.chinese),
        organisation=organisation,
        state="closing" if closing else current.value,
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
        remedy=_remedy(desk, standing, now, words),
        run_out=RunOut(**vars(found)) if found else None,
    )


def _remedy(desk: Desk, standing: Standing, now: int, words: Words) -> str:
    """Why nothing can be started on a grant at present, with the next step; empty while something can."""
    refused = usable(standing, now, desk.cheapest)
    if refused is None and standing.available <= 0:
        refused = Refusal("all-committed", "grant", {"grant": standing.grant.code})
    return words.refusal(refused) if refused else ""


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
            _queue_job(job, mine.get((job.id, job.submit)), shards.get(job.partition.split(",")[0], 0))
            for job in (view.jobs if view else [])
        ],
    )


def _label(row: Work, job: Job, words: Words) -> str:
    """What its owner calls it: a session by its kind, any other job by the name it was given."""
    return words.gettext("Notebook") if row.session else job.name


def _queue_job(job: LiveJob, label: str | None, shards_per_gpu: int) -> QueueJob:
    """label: None for other people's jobs, of which no name is shown. shards_per_gpu: on the nodes it asks for."""
    waiting = job.state == "PENDING"
    return QueueJob(
        id=job.id,
        mine=label is not None,
        label=label or "",
        state=job.state,
        reason=job.reason if waiting else "",
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
    most: what it may cost if it runs to its limit, and most_cost the price of that; None where nobody can say.
    tasks: how many jobs of a waiting array it stands for. array: its number as Slurm names it, for part of an array.
    place: its place in the queue of its partition; expected: when Slurm thinks that it starts. None: not known.
    cancelled: when somebody cancelled it here. stopping: its session was asked to stop just now.
    ours: whether the viewer may cancel it.
    """

    session: Session | None
    job: Job | None
    used: int
    cost: Price
    left: int | None
    most: int | None = None
    most_cost: Price = NOTHING
    tasks: int = 1
    array: str = ""
    place: int | None = None
    expected: int | None = None
    cancelled: int | None = None
    ours: bool = False
    stopping: bool = False

    @property
    def state(self) -> str:
        """submitted, waiting, running, stopping, cancelling, ending, ended or failed."""
        if self.job is None:
            ended = self.session is not None and self.session.ended is not None
            return "failed" if ended else "stopping" if self.stopping else "submitted"
        if self.job.booked is not None:
            return "ended"
        if self.job.gone is not None or self.job.state in ("COMPLETING", "COMPLETED", "CANCELLED"):
            return "ending"
        if self.cancelled is not None:
            return "cancelling"
        if self.stopping:
            return "stopping"
        return "waiting" if self.job.state == "PENDING" else "running"

    @property
    def grant(self) -> str:
        """Who pays: the job's grant, for its owner may have moved it to another one."""
        return (self.job.grant if self.job else None) or (self.session.grant if self.session else "")

    @property
    def may_cancel(self) -> bool:
        return self.ours and self.session is None and self.state in ("waiting", "running")

    @property
    def number(self) -> str:
        """The job's number, as Slurm's commands take it."""
        return self.array or (str(self.job.id) if self.job else "")


def work(desk: Desk, db: Db, person: str) -> list[Work]:
    """A person's sessions and jobs that are not over, whatever their origin, in the order they were asked for."""
    reading = _Reading(desk, db, person)
    sessions = {session.id: session for session in register.alive(db, person)}
    found = []
    for job in books.jobs_of(db, person, reading.unowned_in):
        session = sessions.pop(job.session, None) if job.session else None
        found.append(reading.work(session or _ended(db, job), job))
    return [reading.work(session, None) for session in sessions.values()] + found


def _ended(db: Db, job: Job) -> Session | None:
    return register.session(db, job.session) if job.session else None


def recent(desk: Desk, db: Db, person: str) -> list[Work]:
    """A person's latest ended sessions and jobs, newest first."""
    reading = _Reading(desk, db, person)
    return [
        reading.work(_ended(db, job), job) for job in books.ended_of(db, person, RECENT, reading.unowned_in)
    ]


def of_session(desk: Desk, db: Db, session: Session) -> Work:
    """One session with its job."""
    jobs = books.jobs_of_session(db, session.id)
    return _Reading(desk, db, session.person).work(session, jobs[-1] if jobs else None)


def of_job(desk: Desk, db: Db, person: str, cluster: str, id: int, submit: int) -> Work | None:
    """One job from the command line that this person may see; None if there is none."""
    job = books.find_job(db, cluster, id, submit)
    reading = _Reading(desk, db, person)
    if job is None or job.session is not None or not reading.shows(job):
        return None
    return reading.work(None, job)


class _Reading:
    """What several jobs of one reader have in common, read once."""

    def __init__(self, desk: Desk, db: Db, person: str) -> None:
        self._now, self._person, self._stopping = desk.now(), person, desk.is_stopping
        self._grants = programme.grants(db)
        slurm = desk.settings.slurm
        self._cluster = slurm.cluster
        mine = [one for one in programme.memberships(db, person) if one.holds(self._now)]
        self.unowned_in = {one.grant for one in mine} if slurm.accounts == "shared" else set()
        self._led = _led(mine, programme.memberships(db), self._now) if self.unowned_in else set()
        self._cancelled = {(id, submit): at for id, submit, _account, at in books.unwanted(db, self._cluster)}
        self._live = {(job.id, job.submit): job for job in desk.view.jobs} if desk.view else {}
        self._places = places(desk.view) if desk.view else {}

    def shows(self, job: Job) -> bool:
        return job.person == self._person or (job.person == "" and job.grant in self.unowned_in)

    def work(self, session: Session | None, job: Job | None) -> Work:
        used, left, most = 0, None, session.amount if session else None
        live = self._live.get((job.id, job.submit)) if job else None
        tasks = array_tasks(live.array) if live and job and job.state == "PENDING" else 1
        if job and job.booked is not None:
            used = job.billing * (job.elapsed or 0)
        elif job and job.start is not None:
            used = job.billing * max(0, (job.gone or self._now) - job.start)
            left = (
                max(0, job.start + job.limit_seconds - self._now) if job.limit_seconds is not None else None
            )
        if job and job.limit_seconds is not None and job.billing:
            most = job.billing * job.limit_seconds * tasks
        key = (job.id, job.submit) if job else (0, 0)
        waits = job is not None and job.state == "PENDING" and job.gone is None
        grant = self._grants.get((job.grant if job else None) or (session.grant if session else ""))
        return Work(
            session=session,
            job=job,
            used=used,
            cost=_price(used, grant) if grant else NOTHING,
            left=left,
            most=most,
            most_cost=_price(most, grant) if grant and most else NOTHING,
            tasks=tasks,
            array=live.array if live else "",
            place=self._places.get(key) if waits else None,
            expected=live.expected if live and waits and (live.expected or 0) > self._now else None,
            stopping=session is not None and self._stopping(session.id),
            cancelled=self._cancelled.get(key) if job and job.cluster == self._cluster else None,
            ours=job is not None
            and job.cluster == self._cluster
            and (job.person == self._person or (job.person == "" and job.grant in self._led)),
        )


def _price(amount: int, grant: Grant) -> Price:
    return price(amount, grant.list_price, grant.share)


def _led(mine: list[Membership], all_members: list[Membership], now: int) -> set[str]:
    """The grants in which a job that nobody can be told to own is this person's to cancel.

    Where people share one Unix account (a demonstration) Slurm does not know who submitted a job. It may be cancelled
    by who answers for the grant that pays, or by the grant's only member; never by one member for another.
    """
    members: dict[str, int] = {}
    for one in all_members:
        members[one.grant] = members.get(one.grant, 0) + one.holds(now)
    return {one.grant for one in mine if one.role in (Role.PI, Role.MANAGER) or members[one.grant] == 1}


def places(view: View) -> dict[tuple[int, int], int]:
    """The place in the queue of its partition of each job that waits for its turn, by id and submit time."""
    found: dict[tuple[int, int], int] = {}
    lines: dict[str, int] = {}
    for job in view.jobs:
        if job.state == "PENDING" and job.reason in QUEUEING:
            partition = job.partition.split(",")[0]
            lines[partition] = found[job.id, job.submit] = lines.get(partition, 0) + 1
    return found
