"""From a folder to everything running in it, and back to nothing running: up, watch, stop.

The foreground process does this; the supervisor below it only restarts. A failure or Ctrl-C at any moment ends with
no process, port or socket left. Knows the private Slurm, because its jobs must end first; knows nothing of the portal.
"""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import IO, NoReturn

from portal.demo import cluster, power_cut, processes
from portal.demo.cluster import Layout
from portal.demo.supervision import Program, Supervisor

CHARGES_WAIT = 20
"""Seconds that Ctrl-C waits for the charges of the jobs it cancelled."""


class LifecycleError(Exception):
    """It cannot be started. The message is one sentence with the fix."""


class _Stop(BaseException):
    """Ctrl-C, a request to end, or the terminal is gone."""


@dataclass(frozen=True)
class Plan:
    """What is to run in one home folder.

    prepare: write what the programs read. programs: in the order they need each other, the cluster's first.
    unbooked: how many ended jobs have no charge yet; None when nobody can tell.
    """

    layout: Layout
    prepare: Callable[[], None]
    programs: Sequence[Program]
    environment: Mapping[str, str] = field(default_factory=dict)
    unbooked: Callable[[], int | None] = lambda: None
    welcome: Callable[[], str] = lambda: ""
    retry: str = "make run"

    @property
    def home(self) -> Path:
        return self.layout.home


class Progress:
    """Lines with the seconds since the beginning."""

    def __init__(self, out: IO[str] | None = None) -> None:
        self._out = out or sys.stdout
        self._began = time.monotonic()

    def __call__(self, line: str) -> None:
        try:
            print(f"{time.monotonic() - self._began:6.1f} s  {line}", file=self._out, flush=True)
        except OSError:
            return  # the terminal is gone; stopping goes on


@contextmanager
def locked(home: Path) -> Iterator[None]:
    """Hold the home folder for this process alone; the lock dies with the process.

    Raises:
        LifecycleError: another process holds it.
    """
    try:
        home.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(home / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise LifecycleError(
            f"The folder {home} cannot be used ({error.strerror}); set PORTAL_HOME to a folder of yours."
        ) from None
    with os.fdopen(descriptor, "r+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LifecycleError(
                f"It already runs in {home} (process {lock.read().strip() or '?'}): stop that one first, or set"
                f" PORTAL_HOME to another folder and PORTAL_PORT to another port."
            ) from None
        lock.seek(0)
        lock.truncate()
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield


def running(home: Path) -> bool:
    """Whether a foreground process holds this home folder."""
    try:
        with (home / "lock").open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def up(plan: Plan, say: Callable[[str], None]) -> int:
    """Start everything, stay until asked to end, stop everything. Returns the exit status.

    Raises:
        LifecycleError, ClusterError, SupervisionError: with one sentence; what was started is stopped again.
    """
    _on_signals(_raise_stop)
    with locked(plan.home):
        supervisor = Supervisor(plan.home)
        try:
            _start(plan, supervisor, say)
            say(plan.welcome())
            return _watch(plan, supervisor, say)
        except _Stop:
            _on_signals(signal.SIG_IGN)
            _cancel_jobs(plan, supervisor, say)
            return 0
        finally:
            _on_signals(signal.SIG_IGN)
            _stop(plan, supervisor, say)


def _start(plan: Plan, supervisor: Supervisor, say: Callable[[str], None]) -> None:
    cut = power_cut.last_seen_alive(plan.home)
    processes.end(plan.home)
    _check_ports(plan)
    say("writing settings, keys and the configuration of Slurm")
    plan.prepare()
    supervisor.open(plan.programs, plan.environment)
    power_cut.mark_running(plan.home)
    nodes = set(plan.layout.all_nodes)
    daemons = [program for program in plan.programs if program.name not in nodes]
    for program in daemons:
        if program.name == "slurmctld":
            _start_together(supervisor, [p for p in plan.programs if p.name in nodes], program)
            cluster.open_partitions(plan.layout)
            if cut is not None:
                power_cut.close_jobs(plan.layout, cut, say)
            say(f"slurmctld and {len(nodes)} nodes are up")
        else:
            supervisor.start(program)
            supervisor.await_ready(program)
            say(f"{program.name} is up")
        power_cut.touch(plan.home)


def _start_together(supervisor: Supervisor, nodes: list[Program], controller: Program) -> None:
    for program in (controller, *nodes):
        supervisor.start(program)
    for program in (controller, *nodes):
        supervisor.await_ready(program)


def _watch(plan: Plan, supervisor: Supervisor, say: Callable[[str], None]) -> int:
    """Keep the time at which all this was last seen alive, and tell what dies."""
    pids = {state.name: state.pid for state in supervisor.states()}
    given_up: set[str] = set()
    while supervisor.alive():
        power_cut.touch(plan.home)
        time.sleep(1)
        for state in supervisor.states():
            if state.state == "FATAL" and state.name not in given_up:
                given_up.add(state.name)
                say(f"{state.name} died five times and is left down; see {plan.home}/logs/{state.name}.log")
            elif state.pid and state.pid != pids.get(state.name, state.pid):
                say(f"{state.name} died and was started again")
            if state.pid:
                pids[state.name] = state.pid
    raise LifecycleError(f"The supervisor died; see {supervisor.log}, then start again with: {plan.retry}")


def _cancel_jobs(plan: Plan, supervisor: Supervisor, say: Callable[[str], None]) -> None:
    """End the jobs that run, and give their charges time to be booked. Waiting jobs stay in the queue."""
    if not supervisor.alive() or cluster.run(plan.layout, "scontrol", "ping", check=False).returncode != 0:
        return
    cluster.close_partitions(plan.layout)
    jobs = cluster.running_jobs(plan.layout)
    if jobs:
        say(f"cancelling {len(jobs)} running job{'s' if len(jobs) > 1 else ''}, waiting for their charges")
        cluster.run(plan.layout, "scancel", *jobs, check=False)
    deadline = time.monotonic() + CHARGES_WAIT
    while time.monotonic() < deadline:
        if not cluster.running_jobs(plan.layout) and not (plan.unbooked() or 0):
            return
        time.sleep(0.3)
    say(f"not every charge was booked within {CHARGES_WAIT} s; the next start books what is missing")


def _stop(plan: Plan, supervisor: Supervisor, say: Callable[[str], None]) -> None:
    say("stopping")
    if supervisor.alive():
        running = {state.name for state in supervisor.states() if state.alive}
        for program in reversed(plan.programs):
            if program.name in running:
                supervisor.stop(program.name)
    supervisor.close()
    processes.end(plan.home)
    for leftover in ("munge/munge.sock", "db-run/db.sock"):
        (plan.layout.folder / leftover).unlink(missing_ok=True)
    power_cut.mark_stopped(plan.home)
    say("stopped")


def _check_ports(plan: Plan) -> None:
    for port in [program.port for program in plan.programs if program.port]:
        if processes.taken(port):
            who = processes.holder(port)
            raise LifecycleError(
                f"Port {port} is taken{f' by {who}' if who else ''}: stop that program, or choose other ports with"
                f" PORTAL_PORT={plan.layout.base + 100} {plan.retry}"
            )


def _raise_stop(number: int, frame: FrameType | None) -> NoReturn:
    raise _Stop


def _on_signals(action: Callable[[int, FrameType | None], NoReturn] | signal.Handlers) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, action)
