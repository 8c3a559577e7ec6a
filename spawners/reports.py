"""What the portal must learn about a session, and jobs that must go: done in the background, until it is done.

Neither may hold up a start or a stop, and neither may be lost because portal or Slurm is away for a while.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from portal.client import Refused, Unreachable
from portal.slurm.commands import Slurm, SlurmError

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 30.0


class Background:
    """Tries until it succeeds, with longer and longer pauses. One for the life of the process."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def tell(self, what: str, call: Callable[[], Awaitable[None]], told: Callable[[], None]) -> None:
        """Make this call to the portal until it has been heard; `told` is called then, also after a refusal."""
        self._start(what, self._until_heard(what, call, told))

    def cancel(self, slurm: Slurm, name: str, job: int | None, gone: Callable[[], None]) -> None:
        """Cancel the job of this name until Slurm has taken the order. job: its id, where known."""
        self._start(f"cancel {name}", self._until_cancelled(slurm, name, job, gone))

    async def idle(self) -> None:
        """Wait until nothing is left to do."""
        while self._tasks:
            await asyncio.wait(list(self._tasks.values()))

    def _start(self, what: str, work: Awaitable[None]) -> None:
        if what in self._tasks:
            self._tasks.pop(what).cancel()
        task = asyncio.ensure_future(work)
        self._tasks[what] = task
        task.add_done_callback(
            lambda done: self._tasks.pop(what, None) if self._tasks.get(what) is done else None
        )

    async def _until_heard(
        self, what: str, call: Callable[[], Awaitable[None]], told: Callable[[], None]
    ) -> None:
        pause = FIRST_PAUSE
        while True:
            try:
                await call()
            except Refused as no:
                self._log.error("The portal refuses to hear (%s): %s", what, no.message)
            except (Unreachable, OSError) as error:
                self._log.warning("The portal could not be told (%s), trying again: %s", what, error)
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
                continue
            told()
            return

    async def _until_cancelled(
        self, slurm: Slurm, name: str, job: int | None, gone: Callable[[], None]
    ) -> None:
        pause = FIRST_PAUSE
        while True:
            try:
                await cancel(slurm, name, job)
            except SlurmError as error:
                self._log.warning("Job %s could not be cancelled, trying again: %s", name, error)
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
                continue
            self._log.info("Job %s is cancelled", name)
            gone()
            return


async def cancel(slurm: Slurm, name: str, job: int | None) -> None:
    """Cancel the job of this name; none of that name is no error.

    Raises:
        SlurmError: Slurm did not take the order.
    """
    ids = [str(job)] if job is not None else []
    await slurm.run("scancel", "--quiet", f"--name={name}", *ids)
