"""What the portal must learn about a session, and jobs that must go: done in the background, until it is done.

Neither may hold up a start or a stop, and neither may be lost because portal or Slurm is away for a while.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from portal.client import Client, JobReport, Refused, Unreachable
from portal.slurm.commands import Slurm, SlurmError
from spawners.session import Session

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 30.0


class Background:
    """Tries until it succeeds, with longer and longer pauses. One for the life of the process."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def report(self, portal: Client, session: Session, told: Callable[[str], None]) -> None:
        """Tell the portal of the session's job, and that it is ready, as far as that is so and was not told yet.

        `told` gets "job" or "ready" once the portal has heard it, also where it refused to hear.
        """
        name = session.id
        if session.job is not None and "job" not in session.told:
            report = JobReport(job=session.job, token_hash=session.token_hash)
            self._tell(f"job of {name}", lambda: portal.report_job(name, report), lambda: told("job"))
        if session.address is not None and "ready" not in session.told:
            self._tell(f"ready of {name}", lambda: portal.report_ready(name), lambda: told("ready"))

    def report_failed(self, portal: Client, session: str) -> None:
        """Tell the portal that nothing became of this session."""
        self._tell(f"end of {session}", lambda: portal.report_failed(session), lambda: None)

    def cancel(self, slurm: Slurm, name: str, job: int | None = None) -> None:
        """Cancel the job of this name until Slurm has taken the order. job: its id, where known."""
        what = f"cancel {name}"
        self._start(what, self._until_done(what, lambda: cancel(slurm, name, job), (SlurmError,)))

    async def idle(self) -> None:
        """Wait until nothing is left to do."""
        while self._tasks:
            await asyncio.wait(list(self._tasks.values()))

    def _tell(self, what: str, call: Callable[[], Awaitable[None]], told: Callable[[], None]) -> None:
        async def heard() -> None:
            try:
                await call()
            except Refused as no:
                self._log.error("The portal refuses to hear (%s): %s", what, no.message)
            told()

        self._start(what, self._until_done(what, heard, (Unreachable, OSError)))

    def _start(self, what: str, work: Awaitable[None]) -> None:
        if what in self._tasks:
            self._tasks.pop(what).cancel()
        task = asyncio.ensure_future(work)
        self._tasks[what] = task
        task.add_done_callback(
            lambda done: self._tasks.pop(what, None) if self._tasks.get(what) is done else None
        )

    async def _until_done(
        self, what: str, call: Callable[[], Awaitable[None]], again: tuple[type[Exception], ...]
    ) -> None:
        pause = FIRST_PAUSE
        while True:
            try:
                await call()
            except again as error:
                self._log.warning("Not done yet (%s), trying again: %s", what, error)
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
            else:
                break
        if pause > FIRST_PAUSE:
            self._log.info("Done at last (%s)", what)


async def cancel(slurm: Slurm, name: str, job: int | None) -> None:
    """Cancel the job of this name; none of that name is no error.

    Raises:
        SlurmError: Slurm did not take the order.
    """
    ids = [str(job)] if job is not None else []
    await slurm.run("scancel", "--quiet", f"--name={name}", *ids)
