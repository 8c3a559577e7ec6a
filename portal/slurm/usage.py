"""Jobs that have ended, as slurmdbd records them: by the time they ended, or by their ids."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from portal.client import FinishedJob
from portal.slurm import text
from portal.slurm.commands import Slurm
from portal.slurm.live import new_mark

AT_ONCE = 100
"""Most ids asked for in one call."""

Ended = tuple[list[FinishedJob], list[str]]
"""Jobs that have ended, and one line for each record that makes no sense."""


async def ended_between(slurm: Slurm, begin: int, end: int) -> Ended:
    """All jobs that were alive after `begin` and have ended, up to `end` (seconds since 1970).

    Left out by Slurm: a job cancelled while it was held, which was never eligible. Its id still finds it.

    Raises:
        SlurmError: sacct failed, such as for want of slurmdbd.
        TextError: sacct printed something else than was asked for.
    """
    return await _sacct(slurm, f"--starttime={_iso(begin)}", f"--endtime={_iso(end)}")


async def ended_by_id(slurm: Slurm, ids: Iterable[int]) -> Ended:
    """What is recorded for these ids, at most `AT_ONCE`: every submission that has ended, and tasks of their arrays.

    Raises:
        SlurmError, TextError: as `ended_between`.
    """
    asked = sorted(set(ids))[:AT_ONCE]
    return await _sacct(slurm, f"--jobs={','.join(map(str, asked))}") if asked else ([], [])


async def dbd_queue(slurm: Slurm) -> int:
    """How many messages slurmctld still has to hand to slurmdbd; while there are any, sacct may lack jobs.

    Raises:
        SlurmError, TextError: sdiag failed, or does not say.
    """
    return text.dbd_queue(await slurm.sdiag())


async def _sacct(slurm: Slurm, *choice: str) -> Ended:
    mark = new_mark()
    return text.finished_jobs(await slurm.sacct(*text.sacct_arguments(mark), *choice), mark)


def _iso(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S")
