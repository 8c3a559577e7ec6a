"""The Slurm agent: the one hand of the portal on Slurm. It listens on no port; it looks, tells, fetches and applies.

Four rounds, each at its own pace, none waiting for another:
  look   squeue and sinfo, pushed to the portal as one view; the answer names jobs that are gone and not booked
  book   sacct for those jobs, by id
  sweep  sacct for all that ended lately, which finds jobs that came and went between two looks or while we were away
  wish   what Slurm should enforce, pulled from the portal; the difference applied

The portal books a job once however often it is told, so nothing here needs to be done exactly once. When Slurm or the
portal is away a round slows down, says so once, and goes on by itself; nothing is kept in memory that a restart loses.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from pathlib import Path

import structlog

from portal.client import (
    SESSION_NAME,
    Client,
    Counters,
    FinishedJob,
    LiveJob,
    Refused,
    Unbooked,
    Unreachable,
    View,
    Wish,
    WishedGrant,
)
from portal.settings import Settings, SettingsError
from portal.slurm import live, usage, wish
from portal.slurm.commands import Slurm, SlurmError
from portal.slurm.text import TextError

WISH_SECONDS = 5.0
SWEEP_SECONDS = 30.0
CHECK_SECONDS = 300.0
"""Slurm is compared with an unchanged wish this often, in case somebody else changed it."""
SLOWEST_SECONDS = 15.0
"""A round that fails comes again at least this often."""
PORTAL_SECONDS = 30.0
"""Time limit of a call to the portal: a view of a full cluster is megabytes."""
OVERLAP_SECONDS = 900
"""A sweep begins so long before the last one: clocks differ, and a job can be recorded late."""
FIRST_SWEEP_SECONDS = 30 * 86_400
"""How far back the first sweep ever goes."""
SLICE_SECONDS = 6 * 3600
"""Longest stretch of time asked of sacct at once."""
PUSH_AT_ONCE = 500
CANCEL_AT_ONCE = 200
"""Most jobs cancelled for their owners in one round: scancel sends slurmctld one message for each."""
LONGEST_PATIENCE_SECONDS = 300

log = structlog.get_logger("portal.agent")

Fault = SlurmError | TextError | Unreachable | Refused
FAULTS = (SlurmError, TextError, Unreachable, Refused)
"""What goes wrong outside of us. Anything else is a mistake of ours: the agent ends and its supervisor restarts it."""
Key = tuple[int, int]
"""Id and submit time of a job."""


def run(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT."""
    try:
        token = settings.secret("agent.token")
    except SettingsError as error:
        print(error, file=sys.stderr)
        raise SystemExit(1) from None
    asyncio.run(_main(settings, token))


def plan(settings: Settings) -> wish.Plan:
    """The calls of sacctmgr that the agent would make now; nothing is changed.

    Raises:
        SettingsError: the agent's token is missing.
        SlurmError, Unreachable, Refused: Slurm or the portal does not answer, or says no.
    """
    return asyncio.run(_plan(settings, settings.secret("agent.token")))


async def _plan(settings: Settings, token: str) -> wish.Plan:
    async with Client(settings.portal_url, token, timeout=PORTAL_SECONDS) as portal:
        wished = await portal.wish()
    return wish.difference(wished, await wish.read(Slurm.of(settings.slurm), wished.cluster))


async def _main(settings: Settings, token: str) -> None:
    task = asyncio.current_task()
    assert task
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, task.cancel)
    log.info("agent started", cluster=settings.slurm.cluster)
    with contextlib.suppress(asyncio.CancelledError):
        async with Client(settings.portal_url, token, timeout=PORTAL_SECONDS) as portal:
            await Agent(settings, portal).forever()
    log.info("agent stopped")


class Agent:
    """What the rounds share: the last view, the jobs still to be found, the wish that Slurm enforces."""

    def __init__(self, settings: Settings, portal: Client) -> None:
        self._cluster = settings.slurm.cluster
        self._look_seconds = settings.slurm.look_seconds
        self._slurm = Slurm.of(settings.slurm)
        self._portal = portal
        self._progress = Progress(settings.home / f"agent-{self._cluster}.json")
        self._view: View | None = None
        self._missing = Missing()
        self._told: set[Key] = set()
        self._enforced: list[WishedGrant] | None = None
        self._check_at = 0.0
        self._complained: frozenset[str] = frozenset()

    async def forever(self) -> None:
        async with asyncio.TaskGroup() as rounds:
            rounds.create_task(repeat("look", self._look_seconds, self.look))
            rounds.create_task(repeat("book", self._look_seconds, self.book))
            rounds.create_task(repeat("sweep", SWEEP_SECONDS, self.sweep))
            rounds.create_task(repeat("wish", WISH_SECONDS, self.wish))

    async def look(self) -> None:
        """Push one view of the cluster; learn which jobs are gone and not booked."""
        self._view = await live.look(self._slurm, self._cluster)
        self._missing.are(await self._portal.push_view(self._view))

    async def book(self) -> None:
        """Find the records of jobs that were seen alive and are gone."""
        due = self._missing.due(time.time())[: usage.AT_ONCE]
        if not due:
            return
        ended, faults = await usage.ended_by_id(self._slurm, [id for id, _ in due])
        _complain(faults)
        asked = {id for id, _ in due}  # of some only the id is known, so they may have been told before
        await self._tell(job for job in ended if job.id in asked or _key(job) not in self._told)
        self._missing.asked(due, time.time())

    async def sweep(self) -> None:
        """Tell the portal of all jobs that ended since the last sweep at which slurmdbd knew everything."""
        now = int(time.time())
        complete = await self._dbd_knows_all()
        begin = self._progress.swept(now - FIRST_SWEEP_SECONDS, now) - OVERLAP_SECONDS
        still: set[Key] = set()
        for start, end in slices(begin, now):
            ended, faults = await usage.ended_between(self._slurm, start, end)
            _complain(faults)
            await self._tell(job for job in ended if _key(job) not in self._told)
            still.update(_key(job) for job in ended)
            if complete:
                self._progress.set(end)
        self._told &= still

    async def wish(self) -> None:
        """Make Slurm enforce what the portal wishes, and cancel sessions whose registration has lapsed."""
        wished = await self._portal.wish()
        if wished.cluster != self._cluster:
            raise Refused(f"the portal wishes for cluster {wished.cluster!r}, this is {self._cluster!r}")
        await self._fulfil(wished)

    async def _fulfil(self, wished: Wish) -> None:
        """Cancel, which needs no slurmdbd, then enforce: one job that Slurm does not cancel leaves no limit unset."""
        trouble: Exception | None = None
        try:
            await self._cancel(wished)
        except FAULTS as error:
            trouble = error
        await self._enforce(wished)
        if trouble:
            raise trouble

    async def _enforce(self, wished: Wish) -> None:
        if wished.grants != self._enforced or time.monotonic() >= self._check_at:
            self._enforced = None
            have = await wish.read(self._slurm, self._cluster)
            plan = wish.difference(wished, have)
            self._complained = _complain_once(plan.faults, self._complained)
            if plan.calls:
                await wish.apply(self._slurm, plan)
                log.info("wish applied", calls=len(plan.calls))
                have = await wish.read(self._slurm, self._cluster)
            await self._portal.push_counters(Counters(cluster=self._cluster, ids=wish.counters(have, wished)))
            self._enforced, self._check_at = wished.grants, time.monotonic() + CHECK_SECONDS

    async def _cancel(self, wished: Wish) -> None:
        """Cancel jobs of ours, and only of ours, as the last view shows them: by the name that only a session has, or
        by id, submit time and the account of a grant together."""
        seen = self._view.jobs if self._view else []
        lapsed = [
            job.id for job in seen if job.id in set(wished.cancel) and job.name.startswith(SESSION_NAME)
        ]
        if lapsed:
            await self._slurm.scancel(lapsed)
            log.info("lapsed sessions cancelled", jobs=lapsed)
        unwanted = cancellable(wished, seen)[:CANCEL_AT_ONCE]
        # the number of a waiting array stands for its running tasks as well
        rests = [job.id for job in unwanted if "[" in job.array]
        jobs = [job.array or job.id for job in unwanted if "[" not in job.array]
        await self._slurm.scancel(rests, "--state=PENDING")
        await self._slurm.scancel(jobs)
        if unwanted:
            log.info("jobs cancelled for their owners", jobs=[*rests, *jobs])

    async def _dbd_knows_all(self) -> bool:
        """Whether slurmctld has handed everything to slurmdbd; no, while slurmctld does not say."""
        try:
            return await usage.dbd_queue(self._slurm) == 0
        except (SlurmError, TextError):
            return False

    async def _tell(self, ended: Iterable[FinishedJob]) -> None:
        jobs = list(ended)
        for start in range(0, len(jobs), PUSH_AT_ONCE):
            some = jobs[start : start + PUSH_AT_ONCE]
            outcomes = await self._portal.push_finished(some)
            self._told.update(_key(job) for job in some)
            for one in outcomes:
                if one.outcome == "booked":
                    log.info("job booked", job=one.id, submit=one.submit)
                elif one.outcome == "aside":
                    log.warning("job put aside", job=one.id, submit=one.submit, why=one.why)


class Missing:
    """Jobs that are gone and have no charge yet, and when to ask for each: a little later each time in vain."""

    def __init__(self) -> None:
        self._gone: dict[Key, int] = {}
        self._next: dict[Key, float] = {}

    def are(self, unbooked: Iterable[Unbooked]) -> None:
        """These, and no others, are missing."""
        self._gone = {(job.id, job.submit): job.gone for job in unbooked}
        self._next = {key: at for key, at in self._next.items() if key in self._gone}

    def due(self, now: float) -> list[Key]:
        """Those to ask for now, the one that has waited longest for its turn first."""
        keys = [key for key in self._gone if self._next.get(key, 0) <= now]
        return sorted(keys, key=lambda key: self._next.get(key, 0))

    def asked(self, keys: Iterable[Key], now: float) -> None:
        """These were asked for. If they stay missing they are due again after a tenth of the time they are gone."""
        for key in keys:
            if key in self._gone:
                self._next[key] = now + min((now - self._gone[key]) / 10, LONGEST_PATIENCE_SECONDS)


class Progress:
    """Until when all jobs that ended have been told to the portal; kept in a small file of the agent's own."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def swept(self, first: int, now: int) -> int:
        """Seconds since 1970; `first` if there is no such file, or it is damaged; not after `now`, whatever clock."""
        try:
            return min(int(json.loads(self._path.read_text())["swept"]), now)
        except FileNotFoundError:
            return first
        except (OSError, ValueError, KeyError, TypeError):
            log.warning("progress of the sweep is unreadable, starting over", file=str(self._path))
            return first

    def set(self, at: int) -> None:
        new = self._path.with_suffix(".new")
        new.write_text(json.dumps({"swept": at}))
        new.replace(self._path)


async def repeat(name: str, every: float, act: Callable[[], Awaitable[None]]) -> None:
    """Do it every so many seconds, for ever. It may fail: one line in the log when that begins and when it ends."""
    failures, trouble = 0, ""
    while True:
        begun = time.monotonic()
        try:
            await act()
        except FAULTS as error:
            failures += 1
            if _kind(error) != trouble:
                trouble = _kind(error)
                log.warning("round fails", round=name, error=str(error))
        else:
            if failures:
                log.info("round works again", round=name, failures=failures)
            failures, trouble = 0, ""
        pause = every if not failures else max(every, min(every * 2**failures, SLOWEST_SECONDS))
        await asyncio.sleep(max(0.0, begun + pause - time.monotonic()))


def cancellable(wished: Wish, seen: Iterable[LiveJob]) -> list[LiveJob]:
    """The jobs of a look that their owners do not want. A number used anew, or an account that is no grant's: not."""
    accounts = {grant.account for grant in wished.grants if wish.is_of_a_grant(grant.account)}
    unwanted = {(job.id, job.submit, job.account) for job in wished.unwanted if job.account in accounts}
    return [
        job for job in seen if (job.id, job.submit, job.account) in unwanted and job.state != "COMPLETING"
    ]


def slices(begin: int, end: int) -> Iterator[tuple[int, int]]:
    """Cut a stretch of time into pieces of at most `SLICE_SECONDS`, oldest first."""
    while end - begin > SLICE_SECONDS:
        yield begin, begin + SLICE_SECONDS
        begin += SLICE_SECONDS
    yield begin, end


def _key(job: FinishedJob) -> Key:
    return (job.id, job.submit)


def _kind(error: Fault) -> str:
    return error.argv0 if isinstance(error, SlurmError) else type(error).__name__


def _complain(faults: Iterable[str]) -> None:
    for fault in faults:
        log.warning("record of slurmdbd not understood", fault=fault)


def _complain_once(faults: Iterable[str], before: frozenset[str]) -> frozenset[str]:
    now = frozenset(faults)
    for fault in sorted(now - before):
        log.warning("wish not carried out", fault=fault)
    return now
