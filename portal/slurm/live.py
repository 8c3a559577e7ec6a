"""One look at the cluster: every job in the queue and every node, as one record for everybody.

A look costs one `squeue` and one `sinfo`, however many people and sessions there are.
"""

from __future__ import annotations

import secrets
import time

from portal.client import LiveJob, View
from portal.slurm import text
from portal.slurm.commands import Slurm


def new_mark() -> str:
    """A word that nobody can have put into the name of a job: see `portal.slurm.text`."""
    return f"m{secrets.token_hex(16)}z"


async def jobs(slurm: Slurm, *choice: str) -> list[LiveJob]:
    """The jobs in the queue; all, or those that `choice` (further arguments of squeue) leaves.

    Raises:
        SlurmError: squeue failed: nothing is known about any job.
        TextError: squeue printed something else than was asked for.
    """
    mark = new_mark()
    return text.live_jobs(await slurm.squeue(*text.squeue_arguments(mark), *choice), mark)


async def look(slurm: Slurm, cluster: str) -> View:
    """Look at the whole cluster. The look's time is when it began: what it shows is at least that new.

    Raises:
        SlurmError: squeue or sinfo failed.
        TextError: one of them printed something else than was asked for.
    """
    mark = new_mark()
    at = time.time()
    seen = text.live_jobs(await slurm.squeue(*text.squeue_arguments(mark)), mark)
    nodes = text.live_nodes(await slurm.sinfo(*text.sinfo_arguments(mark)), mark, seen)
    return View(cluster=cluster, at=at, jobs=seen, nodes=nodes)
