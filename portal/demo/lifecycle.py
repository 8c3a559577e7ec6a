"""From a folder to everything running in it, and back to nothing running: up, watch, stop.

The foreground process does this; the supervisor below it only restarts. A failure or Ctrl-C at any moment ends with
no process, port or socket left. Knows the private Slurm, because its jobs must end first; knows nothing of the portal.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import IO, NoReturn

from portal.demo import cluster, homes, power_cut, processes
from portal.demo.cluster import Layout
from portal.demo.supervision import Program, Supervisor
from portal.terminal import gettext as _
from portal.terminal import ngettext

CHARGES_WAIT = 20
"""Seconds that Ctrl-C waits for the charges of the jobs it cancelled."""


class LifecycleError(Exception):
    """It cannot be started. The message is one sentence with the fix."""


class _Stop(BaseException):
    """Ctrl-C, a request to end, or the terminal is gone."""


@dataclass(frozen=True)
class Plan:
    """What is to run in one home folder.

    prepare: write what the programs read. waves: programs in the order they need each other, the cluster's first; those
    of one wave start together. unbooked: how many ended jobs have no charge yet; None when nobody can tell.
    """

    layout: Layout
    prepare: Callable[[], None]
    waves: Sequence[Sequence[Program]]
    environment: Mapping[str, str] = field(default_factory=dict)
    unbooked: Callable[[], int | None] = lambda: None
    welcome: Callable[[], str] = lambda: ""
    retry: str = "make run"

    @property
    def home(self) -> Path:
        return self.layout.home

    @property
    def programs(self) -> list[Program]:
        return [program for wave in self.waves for program in wave]


class Progress:
    """Lines with the seconds since the beginning. began: of this machine's monotonic clock; None: now."""

    def __init__(self, began: float | None = None, out: IO[str] | None = None) -> None:
        self._out = out or sys.stdout
        self._began = time.monotonic() if began is None else began

    def __call__(self, line: str) -> None:
        try:
            print(f"{time.monotonic() - self._began:6.1f} s  {line}", file=self._out, flush=True)
        except OSError:
            return  # the terminal is gone; stopping goes on


def up(plan: Plan, say: Callable[[str], None]) -> int:
    """Start everything, stay until asked to end, stop everything. Returns the exit status.

    Raises:
        LifecycleError, ClusterError, SupervisionError: with one sentence; what was started is stopped again.
    """
    _on_signals(_raise_stop)
    homes.make(plan.home)
    with homes.locked(plan.home):
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
    _remove_sockets(plan)
    _check_ports(plan)
    say(_("writing settings, keys and configuration"))
    plan.prepare()
    supervisor.open(plan.programs, plan.environment)
    recovery = power_cut.Recovery(plan.layout, cut, say)
    recovery.begin()
    for wave in plan.waves:
        for program in wave:
            supervisor.start(program)
        for program in wave:
            supervisor.await_ready(program)
        names = [program.name for program in wave]
        recovery.after(names)
        say(_("{names}: up").format(names=", ".join(names)))


def _watch(plan: Plan, supervisor: Supervisor, say: Callable[[str], None]) -> int:
    """Keep the time at which all this was last seen alive, and tell what dies."""
    pids = {state.name: state.pid for state in supervisor.states()}
    given_up: set[str] = set()
    while supervisor.alive():
        power_cut.touch(plan.home)
        time.sleep(1)
        for program in plan.programs:
            if program.own_log:
                supervisor.turn_log(program.name)
        for state in supervisor.states():
            if state.state == "FATAL" and state.name not in given_up:
                given_up.add(state.name)
                told = _("{name} died five times and is left down; see {log}")
                say(told.format(name=state.name, log=plan.home / "logs" / f"{state.name}.log"))
            elif state.pid and state.pid != pids.get(state.name, state.pid):
                say(_("{name} died and was started again").format(name=state.name))
            if state.pid:
                pids[state.name] = state.pid
    raise LifecycleError(
        _("The supervisor died; see {log}, then start again with: {command}").format(
            log=supervisor.log, command=plan.retry
        )
    )


def _cancel_jobs(plan: Plan, supervisor: Supervisor, say: Callable[[str], None]) -> None:
    """End the jobs that run, and give their charges time to be booked. Waiting jobs stay in the queue."""
    if not supervisor.alive() or cluster.run(plan.layout, "scontrol", "ping", check=False).returncode != 0:
        return
    cluster.close_partitions(plan.layout)
    jobs = cluster.running_jobs(plan.layout)
    if jobs:
        told = ngettext(
            "cancelling {jobs} running job, waiting for its charge",
            "cancelling {jobs} running jobs, waiting for their charges",
            len(jobs),
        )
        say(told.format(jobs=len(jobs)))
        cluster.run(plan.layout, "scancel", *jobs, check=False)
    deadline = time.monotonic() + CHARGES_WAIT
    while time.monotonic() < deadline:
        if not cluster.running_jobs(plan.layout) and not (plan.unbooked() or 0):
            return
        time.sleep(0.3)
    told = _("not every charge was booked within {seconds} s; the next start books what is missing")
    say(told.format(seconds=CHARGES_WAIT))


def _stop(plan: Plan, supervisor: Supervisor, say: Callable[[str], None]) -> None:
    say(_("stopping"))
    if supervisor.alive():
        for wave in reversed(plan.waves):
            supervisor.stop_all([program.name for program in wave])
    supervisor.close()
    processes.end(plan.home)
    _remove_sockets(plan)
    power_cut.mark_stopped(plan.home)
    say(_("stopped"))


def _remove_sockets(plan: Plan) -> None:
    """What a process that was killed leaves behind; nothing uses it any more."""
    for folder in (plan.layout.folder, plan.home / "run"):
        for path in folder.rglob("*"):
            if path.is_socket():
                path.unlink(missing_ok=True)


def _check_ports(plan: Plan) -> None:
    for port in [program.port for program in plan.programs if program.port]:
        if processes.taken(port):
            who = processes.holder(port)
            told = _("Port {port} is taken by {who}: stop that program, or choose other ports with {command}")
            command = f"PORTAL_PORT={plan.layout.base + 100} {plan.retry}"
            raise LifecycleError(
                told.format(port=port, who=who or _("a program that cannot be seen"), command=command)
            )


def _raise_stop(number: int, frame: FrameType | None) -> NoReturn:
    raise _Stop


def _on_signals(action: Callable[[int, FrameType | None], NoReturn] | signal.Handlers) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, action)
