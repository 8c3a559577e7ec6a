"""The wait of a start: in the queue, for the port that the job calls back with, for the first connection."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from jupyterhub.spawner import SpawnException

from portal import reasons
from portal.locale import translator
from portal.slurm.commands import SlurmError
from spawners.queue import Phase, Queue, Watch

LOOK_SECONDS = 2.0
"""How long one look may take before the wait goes on without it."""


@dataclass(frozen=True)
class Place:
    """Where a session accepts connections. started: when its job did, in Slurm's text."""

    ip: str
    port: int
    node: str
    started: str


@dataclass(frozen=True)
class Arrival:
    """The wait for one job.

    port: done as soon as the job has called back. call_back_seconds: how long a running job may take for that;
    connect_seconds: and then, until it accepts a connection. last_words: the end of the job's own log.
    """

    queue: Queue
    watch: Watch
    port: asyncio.Future[int]
    call_back_seconds: float
    connect_seconds: float
    language: str
    last_words: Callable[[], str]
    log: Any

    async def wait(self) -> Place:
        """Return once the session accepts connections, however long it queues.

        Raises:
            SpawnException: it ended before, or takes too long; the message is for the person.
        """
        node = await self._node()
        ip, port = await self._address(node), self.port.result()
        await self._connect(ip, port)
        return Place(ip, port, node, self.watch.row.start if self.watch.row else "")

    async def _node(self) -> str:
        """Wait until the job runs on a node and has called back."""
        began, running_since = time.monotonic(), 0.0
        while True:
            called, row = self.port.done(), self.watch.row
            if called and row and row.phase is Phase.RUNNING and row.node:
                return row.node
            pause = 0.2 if called else _pace(time.monotonic() - began)
            phase = await self._phase(pause, patience=30)
            if phase is Phase.RUNNING and not called:
                running_since = running_since or time.monotonic()
                if time.monotonic() - running_since > self.call_back_seconds:
                    raise self._failure("no-call-back")
            await asyncio.wait({self.port}, timeout=pause)

    async def _address(self, node: str) -> str:
        while True:
            try:
                return await self.queue.address(node)
            except SlurmError as error:
                self.log.warning("The address of %s is not known yet: %s", node, error)
                await self._phase(1.0)
                await asyncio.sleep(1)

    async def _connect(self, ip: str, port: int) -> None:
        """Wait for the first connection, so that the hub's own probe need not guess when to look."""
        deadline, look_at = time.monotonic() + self.connect_seconds, time.monotonic() + 1
        while not await _accepts(ip, port):
            if time.monotonic() > look_at:
                await self._phase(1.0)
                look_at = time.monotonic() + 1
            if time.monotonic() > deadline:
                raise self._failure("no-answer")
            await asyncio.sleep(0.05)

    async def _phase(self, oldest: float, patience: float = LOOK_SECONDS) -> Phase:
        """What a look at most `oldest` seconds old says.

        Raises:
            SpawnException: the job has ended.
        """
        phase = self.watch.judge(await self.queue.look(oldest, patience))
        if phase is Phase.ENDED:
            raise self._ended()
        return phase

    def _ended(self) -> SpawnException:
        if self.watch.row and self.watch.row.state == "CANCELLED":
            return self._failure("cancelled")
        return self._failure("ended")

    def _failure(self, code: str) -> SpawnException:
        """With the last lines of the job's own log, which say why."""
        told = reasons.joined([reasons.say(code, self.language), self._charged()], self.language)
        said = "\n".join(filter(None, (told, self.last_words())))
        return SpawnException(said, reason="ended", status_code=500)

    def _charged(self) -> str:
        _ = translator(self.language).gettext
        if self.watch.row and self.watch.row.node:
            return _("Only the time that it ran is charged.")
        return _("Nothing is charged.")


def _pace(waited: float) -> float:
    """Seconds between two looks of a start: quick at first, then as slow as nobody minds."""
    return 0.4 if waited < 20 else 2.0 if waited < 300 else 5.0


async def _accepts(ip: str, port: int) -> bool:
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection(ip, port), 2)
    except OSError:  # also TimeoutError
        return False
    writer.close()
    return True
