"""After a power cut: jobs end at the last instant at which they were seen alive, not at the next start.

A file touched every second holds that instant; a second file tells an unclean stop from a clean one. Slurm itself
would end the lost jobs when it sees their nodes again, and the grant would pay for the hours in between.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from portal.demo import cluster
from portal.demo.cluster import ClusterError, Layout

PATIENCE = 60
"""Seconds that slurmctld has to notice that the jobs are gone, and slurmdbd to write it down."""


def touch(home: Path) -> None:
    (home / "run" / "alive").touch()


def mark_running(home: Path) -> None:
    touch(home)
    (home / "run" / "unclean").touch()


def mark_stopped(home: Path) -> None:
    (home / "run" / "unclean").unlink(missing_ok=True)


def last_seen_alive(home: Path) -> int | None:
    """The second at which a run without a clean end was last seen alive; None if the last end was clean."""
    if not (home / "run" / "unclean").exists():
        return None
    try:
        return int((home / "run" / "alive").stat().st_mtime)
    except FileNotFoundError:
        return None


def close_jobs(layout: Layout, cut: int, say: Callable[[str], None]) -> None:
    """Wait until Slurm has given up the jobs that were lost at `cut`, then set their end to that second.

    Raises:
        ClusterError: the database refuses.
    """
    back = int(time.time())
    _await_gone(layout, cut)
    before = f"time_start > 0 and time_start <= {cut} and time_end > {cut}"
    changed = _sql(
        layout,
        f"update {layout.name}_step_table set time_end = {cut} where {before};"
        f"update {layout.name}_job_table set time_end = {cut} where {before} and time_end >= {back - 3600 * 24 * 366};"
        f"select row_count();",
    )
    count = int(changed.split()[-1])
    if count:
        say(f"closed {count} job{'s' if count > 1 else ''} at the last second before the power cut")


def _await_gone(layout: Layout, cut: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while cluster.jobs_started_before(layout, cut) or cluster.unwritten(layout):
        if time.monotonic() > deadline:
            raise ClusterError(
                "Slurm does not give up the jobs lost in the power cut; see logs/slurmctld.log."
            )
        time.sleep(0.5)


def _sql(layout: Layout, statements: str) -> str:
    done = subprocess.run(
        [
            *("/usr/bin/mariadb", "--no-defaults", f"--socket={layout.database_socket}"),
            *("--batch", "--skip-column-names", "slurm_acct_db", f"--execute={statements}"),
        ],
        env={"PATH": cluster.PATH, "LC_ALL": "C.UTF-8", "HOME": str(layout.home)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise ClusterError(f"Jobs cannot be closed after the power cut: {done.stderr.strip()}")
    return done.stdout
