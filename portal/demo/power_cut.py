"""After a power cut: jobs end at the last instant at which they were seen alive, not at the next start.

A file touched every second holds that instant; a second file tells an unclean stop from a clean one. Slurm itself
would end the lost jobs when it sees their nodes again, and the grant would pay for the hours in between.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from portal.demo import cluster
from portal.demo.cluster import ClusterError, Layout
from portal.terminal import gettext as _
from portal.terminal import ngettext

NODE_FAIL = 7
"""The number of that state in slurmdbd's tables."""

PATIENCE = 60
"""Seconds that slurmctld has to notice that the jobs are gone, and slurmdbd to write it down."""


def touch(home: Path) -> None:
    (home / "run" / "alive").touch()


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


@dataclass
class Recovery:
    """What a start does about the run before it. cut: when that was last seen alive, or None if it ended cleanly."""

    layout: Layout
    cut: int | None
    say: Callable[[str], None]
    _back: int = 0

    def begin(self) -> None:
        """From here on an end that nobody asked for is a power cut; an earlier one is remembered until dealt with."""
        if self.cut is None:
            touch(self.layout.home)
        (self.layout.home / "run" / "unclean").touch()

    def after(self, started: Sequence[str]) -> None:
        """Do what is due once these are up: jobs are lost while no node is back, and closed before anybody reads them."""
        if "slurmctld" in started:
            self._back = int(time.time())
            if self.cut is not None:
                self._fail_lost_jobs()
        if self.layout.all_nodes[0] in started:
            if self.cut is not None:
                close_jobs(self.layout, self.cut, self._back, self.say)
            cluster.open_partitions(self.layout)
            touch(self.layout.home)

    def _fail_lost_jobs(self) -> None:
        """Tell slurmctld that the nodes went down: every job on them ends as NODE_FAIL."""
        nodes = ",".join(self.layout.all_nodes)
        cluster.run(self.layout, "scontrol", "update", f"NodeName={nodes}", "State=DOWN", "Reason=power cut")


def close_jobs(layout: Layout, cut: int, back: int, say: Callable[[str], None]) -> None:
    """Set the end of what was lost to the second `cut`, once slurmdbd has it all; `back`: when Slurm came back.

    A job that slurmctld had not yet saved is known to slurmdbd alone, as still running: it is closed as well.

    Raises:
        ClusterError: slurmdbd does not catch up, or the database refuses.
    """
    _await_written(layout, back)
    lost = f"time_start > 0 and time_start < {back} and (time_end = 0 or time_end >= {back})"
    closed = f"state = if(time_end = 0, {NODE_FAIL}, state), time_end = greatest(time_start, {cut})"
    changed = _sql(
        layout,
        f"update {layout.name}_step_table set {closed} where {lost};"
        f"update {layout.name}_job_table set {closed} where {lost};"
        f"select row_count();",
    )
    count = int(changed.split()[-1])
    if count:
        told = ngettext(
            "closed {jobs} job at the last second before the power cut",
            "closed {jobs} jobs at the last second before the power cut",
            count,
        )
        say(told.format(jobs=count))


def _await_written(layout: Layout, back: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while cluster.jobs_started_before(layout, back) or cluster.unwritten(layout):
        if time.monotonic() > deadline:
            raise ClusterError(
                _("Slurm does not give up the jobs lost in the power cut; see {log}.").format(
                    log=layout.home / "logs" / "slurmctld.log"
                )
            )
        time.sleep(0.3)


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
        raise ClusterError(
            _("Jobs cannot be closed after the power cut: {reason}").format(reason=done.stderr.strip())
        )
    return done.stdout
