"""One supervisor for all processes of a home folder: start in order, restart with back-off, name what is down.

Knows nothing of Slurm or the portal: it is handed a list of programs. supervisord does the restarting.
"""

from __future__ import annotations

import http.client
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
import xmlrpc.client
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from portal.demo import isolation, processes
from portal.listeners import Known
from portal.terminal import N_
from portal.terminal import gettext as _

QUICK_DEATH = 12
"""Seconds. A process that dies sooner than this after its start counts as not having come up at all."""

RETRIES = 3
"""Restarts after quick deaths. With the death that began it, the fifth within a minute leaves the process down:
1 + (1 + RETRIES) deaths, and five lives of QUICK_DEATH are a minute. The pause grows by a second each time."""

LOG_BYTES = 10_000_000

UNSTOPPED = ("RUNNING", "STARTING", "BACKOFF")
"""States in which the supervisor means the process to run."""


class SupervisionError(Exception):
    """A process did not come up. The message is one sentence with the fix."""


def _at_once() -> bool:
    return True


def _nothing() -> None:
    return None


@dataclass(frozen=True)
class Program:
    """A process to keep running.

    ready: whether it serves; asked again and again for `limit` seconds. then: done once, when it first serves.
    grace: seconds between the stop signal and SIGKILL. own_log: it writes logs/<name>.log itself, with times; what it
    prints besides is kept apart, and short. port: the loopback port it needs; listens: all it listens on, and why.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    ready: Callable[[], bool] = _at_once
    limit: float = 30
    then: Callable[[], None] = _nothing
    grace: int = 10
    stop_signal: str = "TERM"
    port: int | None = None
    own_log: bool = False
    listens: tuple[Known, ...] = ()


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(30)
        self.sock.connect(self._path)


class _UnixTransport(xmlrpc.client.Transport):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = str(path)

    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        connection = _UnixConnection(self._path)
        self._connection = (host, connection)  # what close() closes
        return connection


@dataclass(frozen=True)
class State:
    """A process as the supervisor sees it. state: RUNNING, STARTING, BACKOFF, FATAL, STOPPED or EXITED."""

    name: str
    state: str
    pid: int
    since: int
    why: str

    @property
    def alive(self) -> bool:
        return self.state in ("RUNNING", "STARTING") and self.pid > 0


class Supervisor:
    """The supervisor of one home folder. log: where its own words go, one line for each death and restart."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.socket = home / "run" / "supervisor.sock"
        self.conf = home / "etc" / "supervisord.conf"
        self.logs = home / "logs"
        self.log = self.logs / "supervisor.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def known(self) -> Known:
        """Its own socket, first made under another name."""
        return Known(
            f"{self.socket}*", N_("The demonstration's supervisor takes orders of the same Unix user.")
        )

    # asking

    def states(self) -> list[State]:
        """Every process and its state; empty if nothing runs here."""
        try:
            found = cast(list[dict[str, Any]], self._call("getAllProcessInfo"))
        except OSError:
            return []
        return [
            State(row["name"], row["statename"], row["pid"], row["start"], row["spawnerr"]) for row in found
        ]

    def state(self, name: str) -> State:
        row = cast(dict[str, Any], self._call("getProcessInfo", name))
        return State(row["name"], row["statename"], row["pid"], row["start"], row["spawnerr"])

    # acting

    def open(self, programs: Sequence[Program], environment: Mapping[str, str]) -> None:
        """Start the supervisor alone, with nothing running under it yet."""
        for folder in (self.socket.parent, self.conf.parent, self.logs):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.socket.unlink(missing_ok=True)
        self.conf.write_text(self._configuration(programs))
        marked = {**environment, processes.MARK: str(self.home)}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "supervisor.supervisord", "--nodaemon", "--configuration", str(self.conf)],
            env=marked,
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C in the terminal is for us, who stop things in order
            preexec_fn=isolation.die_with_parent,
        )
        deadline = time.monotonic() + 20
        while not self.states():
            if not self._alive() or time.monotonic() > deadline:
                raise SupervisionError(_("The supervisor does not start; see {log}.").format(log=self.log))
            time.sleep(0.1)

    def start(self, program: Program) -> None:
        """Start a process and return at once."""
        self._call("startProcess", program.name, False)

    def await_ready(self, program: Program) -> None:
        """Return when a started process serves.

        Raises:
            SupervisionError: it died, or does not serve in time.
        """
        log = self.logs / f"{program.name}.log"
        if program.own_log and not log.exists():
            log = log.with_suffix(".out")

        deadline = time.monotonic() + program.limit
        while not program.ready():
            lives = self.state(program.name).alive
            if not lives or time.monotonic() > deadline:
                slow = _("{name} does not serve after {seconds} s; its log {log} tells why: {words}")
                gone = _("{name} ended at its start; its log {log} tells why: {words}")
                raise SupervisionError(
                    (slow if lives else gone).format(
                        name=program.name, seconds=round(program.limit), log=log, words=_last_words(log)
                    )
                )
            time.sleep(0.1)
        program.then()

    def restart(self, name: str) -> None:
        """Restart one process; the others are not touched."""
        self.stop(name)
        self._call("startProcess", name, False)

    def stop(self, name: str) -> None:
        if self.state(name).state in UNSTOPPED:
            self._call("stopProcess", name, True)

    def stop_all(self, names: Sequence[str]) -> None:
        """Stop several at once and return when the last is gone."""
        for name in names:
            if self.state(name).state in UNSTOPPED:
                self._call("stopProcess", name, False)
        while any(self.state(name).state in (*UNSTOPPED, "STOPPING") for name in names):
            time.sleep(0.1)

    def turn_log(self, name: str) -> None:
        """Put a process's own log aside when it is long, and have it begin anew, as Slurm's daemons do on SIGUSR2."""
        log = self.logs / f"{name}.log"
        if log.exists() and log.stat().st_size > LOG_BYTES and (pid := self.state(name).pid):
            log.replace(log.with_suffix(".log.1"))
            os.kill(pid, signal.SIGUSR2)

    def alive(self) -> bool:
        """Whether the supervisor that this object opened still runs."""
        return self._alive()

    def close(self) -> None:
        """Stop the supervisor and what still runs under it."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None
        self.socket.unlink(missing_ok=True)

    def _alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def _call(self, method: str, *arguments: Any) -> Any:
        proxy = xmlrpc.client.ServerProxy("http://localhost/RPC2", transport=_UnixTransport(self.socket))
        with proxy:
            return getattr(proxy.supervisor, method)(*arguments)

    def _configuration(self, programs: Sequence[Program]) -> str:
        head = f"""\
[supervisord]
logfile={_plain(self.log)}
logfile_maxbytes={LOG_BYTES}
logfile_backups=2
pidfile={_plain(self.home / "run" / "supervisord.pid")}
childlogdir={_plain(self.logs)}
directory={_plain(self.home)}
umask=077

[unix_http_server]
file={_plain(self.socket)}
chmod=0600

[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
"""
        return head + "".join(self._section(program) for program in programs)

    def _section(self, program: Program) -> str:
        # stopasgroup and killasgroup stay false: a stop of the hub or of a node must not take the sessions with it.
        return f"""
[program:{program.name}]
command={_plain(shlex.join(program.command))}
environment={",".join(f'{key}="{_plain(value)}"' for key, value in program.environment.items())}
autostart=false
autorestart=true
startsecs={QUICK_DEATH}
startretries={RETRIES}
stopsignal={program.stop_signal}
stopwaitsecs={program.grace}
stopasgroup=false
killasgroup=false
redirect_stderr=true
stdout_logfile={_plain(self.logs / f"{program.name}.{'out' if program.own_log else 'log'}")}
stdout_logfile_maxbytes={LOG_BYTES // 50 if program.own_log else LOG_BYTES}
stdout_logfile_backups={0 if program.own_log else 2}
"""


def states(home: Path) -> list[State]:
    """The processes of a home folder and their states; empty if nothing runs there."""
    return Supervisor(home).states()


def down(home: Path) -> list[State]:
    """The processes that were left down after too many deaths, or are between two tries."""
    return [state for state in states(home) if state.state in ("FATAL", "BACKOFF", "EXITED")]


def _plain(value: object) -> str:
    """A value in supervisord's file, where % begins a substitution."""
    return str(value).replace("%", "%%")


def _last_words(log: Path) -> str:
    try:
        lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    except OSError:
        return "-"
    return lines[-1][:300] if lines else "-"


def accepts(port: int) -> bool:
    """Whether something accepts connections on a loopback port."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def answers(path: Path) -> bool:
    """Whether something accepts connections on a Unix socket."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1)
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True


def signal_program(home: Path, name: str, sign: signal.Signals) -> None:
    """Send a signal to one process, as a crash would; the supervisor restarts what dies."""
    os.kill(Supervisor(home).state(name).pid, sign)
