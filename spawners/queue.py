"""One look at Slurm's queue for all sessions of the hub, however many ask.

Every poll and every waiting start reads the same look: one `squeue` per interval, never sooner than five times as long
as the last one took (facts-stack R9). What Slurm does not say stays unknown; a session is only over when Slurm says so
(R5).
"""

from __future__ import annotations

import asyncio
import re
import time
from dataclasses import dataclass, field
from enum import Enum

from portal.slurm.commands import Slurm, SlurmError

GAP_SECONDS = 0.25
"""Least time between the end of one look and the start of the next."""
COURTESY = 5
"""A look comes no sooner than this many times the duration of the last."""
LONGEST_GAP = 15.0
SILENCE_GAP = 2.0
"""Seconds after a look that got no answer."""
FORMAT = "%A|%T|%B|%S|%r"
LINE_SECONDS = 5.0
"""Least time between two looks at everybody who waits."""
LINE_FORMAT = "%A|%P|%Q|%r"
IN_LINE = ("None", "Priority", "Resources", "ReqNodeNotAvail")
"""Reasons of a job that stands in line; any other one has to wait for something else first."""
_NODE_ADDRESS = re.compile(r"(?:^|\s)NodeAddr=([A-Za-z0-9.:_-]+)")
_NODE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
INVALID_JOB = "Invalid job id"

ENDED = frozenset(
    [
        "BOOT_FAIL",
        "CANCELLED",
        "COMPLETED",
        "COMPLETING",
        "DEADLINE",
        "FAILED",
        "LAUNCH_FAILED",
        "NODE_FAIL",
        "OUT_OF_MEMORY",
        "PREEMPTED",
        "REVOKED",
        "TIMEOUT",
    ]
)
"""States in which a job's processes are gone or going. Any other state, also one we never heard of, is alive."""
WAITING = frozenset(
    ["CONFIGURING", "PENDING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT"]
)


class Phase(Enum):
    WAITING = "waiting"
    RUNNING = "running"
    ENDED = "ended"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Row:
    """A job as squeue shows it. node: the one its script runs on, empty while waiting. start: Slurm's text."""

    job: int
    state: str
    node: str
    start: str
    reason: str

    @property
    def phase(self) -> Phase:
        if self.state in ENDED:
            return Phase.ENDED
        return Phase.WAITING if self.state in WAITING else Phase.RUNNING


@dataclass(frozen=True)
class Look:
    """What one squeue said. began: monotonic seconds. answered: False where Slurm gave no answer we can rely on.

    gone: jobs of which Slurm said outright that there is no such job.
    """

    began: float
    answered: bool
    rows: dict[int, Row]
    gone: frozenset[int] = frozenset()


def read(text: str) -> dict[int, Row]:
    """Records of squeue's lines in FORMAT; a line that is not one is skipped, so its job stays unknown."""
    rows: dict[int, Row] = {}
    for line in text.splitlines():
        parts = line.strip().split("|", 4)
        if len(parts) == 5 and parts[0].isascii() and parts[0].isdigit():
            node = parts[2] if _NODE_NAME.fullmatch(parts[2]) else ""
            row = Row(int(parts[0]), parts[1], node, parts[3], parts[4])
            rows[row.job] = row
    return rows


def line(text: str) -> dict[int, int]:
    """Job > its place among those that wait for the same partition, from squeue's lines in LINE_FORMAT."""
    waiting = []
    for record in text.splitlines():
        parts = record.strip().split("|", 3)
        if len(parts) == 4 and parts[0].isdecimal() and parts[2].isdecimal() and parts[3].startswith(IN_LINE):
            waiting.append((-int(parts[2]), int(parts[0]), parts[1].split(",")[0]))
    places: dict[int, int] = {}
    length: dict[str, int] = {}
    for _priority, job, partition in sorted(waiting):
        length[partition] = length.get(partition, 0) + 1
        places[job] = length[partition]
    return places


@dataclass
class Queue:
    """The looks at one cluster, shared by every spawner of this process."""

    slurm: Slurm
    looks: int = 0
    _jobs: set[int] = field(default_factory=set)
    _last: Look | None = None
    _next: float = 0.0
    _running: asyncio.Task[Look] | None = None
    _addresses: dict[str, tuple[str, float]] = field(default_factory=dict)
    _places: dict[int, int] = field(default_factory=dict)
    _line_next: float = 0.0
    _lining: asyncio.Task[None] | None = None

    def watch(self, job: int) -> None:
        """Include this job from the next look on."""
        self._jobs.add(job)

    def forget(self, job: int) -> None:
        self._jobs.discard(job)

    async def look(self, oldest: float, patience: float = 60.0) -> Look | None:
        """Return a look at most `oldest` seconds old, or None if there is none within `patience` seconds.

        A caller that gives up, or is cancelled, leaves the shared look running for the others.
        """
        last = self._last
        if last is not None and time.monotonic() - last.began <= oldest:
            return last
        if self._running is None or self._running.done():
            self._running = asyncio.get_running_loop().create_task(self._look())
        running = self._running
        await asyncio.wait({running}, timeout=patience)
        return running.result() if running.done() and not running.cancelled() else None

    async def place(self, job: int, patience: float = 2.0) -> int | None:
        """The place of a waiting job in line, from one look at the line for everybody; None where it is not known."""
        if self._lining is None or (self._lining.done() and time.monotonic() >= self._line_next):
            self._lining = asyncio.get_running_loop().create_task(self._look_at_line())
        if not self._lining.done():
            await asyncio.wait({self._lining}, timeout=patience)
        return self._places.get(job)

    async def _look_at_line(self) -> None:
        began = time.monotonic()
        try:
            self._places = line(await self.slurm.squeue("-h", "-a", "--states=PENDING", "-o", LINE_FORMAT))
        except SlurmError:
            self._places = {}
        ended = time.monotonic()
        self._line_next = ended + max(LINE_SECONDS, COURTESY * (ended - began))

    async def find(self, name: str) -> list[int]:
        """Ids of the jobs of that name that have not ended, newest first.

        Raises:
            SlurmError: Slurm does not answer.
        """
        rows = read(await self.slurm.squeue("-h", "-a", f"--name={name}", "-o", FORMAT))
        return sorted((row.job for row in rows.values() if row.phase is not Phase.ENDED), reverse=True)

    async def address(self, node: str) -> str:
        """The node's NodeAddr. Never asked of the name service: a node's name need not be known there.

        Raises:
            SlurmError: Slurm does not answer.
        """
        known, until = self._addresses.get(node, ("", 0.0))
        if known and time.monotonic() < until:
            return known
        found = _NODE_ADDRESS.search(await self.slurm.scontrol("show", "node", "-o", node))
        address = found[1] if found else node
        self._addresses[node] = (address, time.monotonic() + 600)
        return address

    async def _look(self) -> Look:
        await asyncio.sleep(max(0.0, self._next - time.monotonic()))
        began, jobs = time.monotonic(), frozenset(self._jobs)
        self._last = await self._ask(began, jobs) if jobs else Look(began, True, {})
        ended = time.monotonic()
        slow = min(COURTESY * (ended - began), LONGEST_GAP) if self._last.answered else SILENCE_GAP
        self._next = ended + max(GAP_SECONDS, slow)
        return self._last

    async def _ask(self, began: float, jobs: frozenset[int]) -> Look:
        self.looks += 1
        named = ",".join(str(job) for job in sorted(jobs))
        try:
            text = await self.slurm.squeue("-h", "-a", "--states=all", f"--jobs={named}", "-o", FORMAT)
        except SlurmError as error:
            gone = jobs if len(jobs) == 1 and INVALID_JOB in error.stderr else frozenset()
            return Look(began, bool(gone), {}, gone)
        return Look(began, True, read(text))


@dataclass
class Watch:
    """What the looks say of one job. since: monotonic seconds at which Slurm had surely taken it in."""

    job: int
    since: float
    row: Row | None = None
    _missed: int = 0
    _missed_at: float = 0.0

    def judge(self, look: Look | None) -> Phase:
        """What is known after this look. Only an ended row, "no such job", or two looks without a row end a job."""
        if look is None or not look.answered or look.began < self.since:
            return Phase.UNKNOWN
        if self.job in look.gone:
            return Phase.ENDED
        row = look.rows.get(self.job)
        if row is None:
            if look.began > self._missed_at:
                self._missed, self._missed_at = self._missed + 1, look.began
            return Phase.ENDED if self._missed >= 2 else Phase.UNKNOWN
        self.row, self._missed = row, 0
        return row.phase
