"""`make run` from its beginning to its end: ready, alive, stopped without a trace, back after a power cut."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import CHECKOUT, INSTALL, Stack
from waiting import until

from portal import listeners
from portal.demo import processes, supervision
from portal.demo.identity_provider import sample_people


def state(stack: Stack, name: str) -> supervision.State:
    """One process as the supervisor sees it."""
    return next(one for one in supervision.states(stack.home) if one.name == name)


def listening(stack: Stack) -> list[listeners.Listener]:
    """The listening sockets of all processes of a stack, sessions included."""
    inodes = {inode for pid in processes.ours(stack.home) for inode in listeners.sockets_of(pid)}
    return [listener for listener in listeners.listeners() if listener.inode in inodes]


def grant_account(stack: Stack) -> str:
    """An account of a grant of the sample that may submit now, as the agent made it."""

    def ready() -> list[str]:
        user = stack.cluster.layout.user
        rows = stack.cluster.run("sacctmgr", "-nP", "list", "qos", "format=name,grptresmins,grpsubmitjobs")
        limits = [row.split("|") for row in rows.splitlines()]
        open_ones = {name for name, minutes, submit in limits if minutes and submit != "0"}
        rows = stack.cluster.run(
            "sacctmgr", "-nP", "list", "assoc", f"user={user}", "format=account,defaultqos"
        )
        return [account for account, qos in (row.split("|") for row in rows.splitlines()) if qos in open_ones]

    until(lambda: bool(ready()), 60, "the agent has opened no grant in Slurm")
    return ready()[0]


def submit(stack: Stack, account: str, script: str = "sleep 600") -> str:
    """A job from the command line, as the user that sessions run as; returns its id when it runs."""
    command = ["sbatch", "--parsable", f"--account={account}", "--partition=cpu", "--time=20", "--mem=1000"]
    job = stack.cluster.run(*command, "--output=/dev/null", f"--wrap={script}").strip()
    until(lambda: job_state(stack, job) == "RUNNING", 30, f"job {job} does not run")
    return job


def job_state(stack: Stack, job: str) -> str:
    """A job's state in Slurm's own records."""
    return stack.cluster.run("sacct", "-nPX", "-j", job, "-o", "state").strip().split(" ")[0]


def test_the_welcome_tells_address_people_and_logs(stack: Stack) -> None:
    """Whoever started it knows where to go, who to be, and where to look."""
    said = "".join(stack.output)

    assert stack.url in said
    assert f"{stack.home}/logs" in said
    for person in sample_people():
        assert f"{person.id} " in said and person.password in said


def test_everything_listens_on_loopback_only(stack: Stack) -> None:
    """No process of the product can be reached from another machine."""
    found = listening(stack)

    assert {listener.port for listener in found} >= {stack.base + offset for offset in range(8)}
    assert [listener for listener in found if not listener.loopback] == []


def doctor_on_listeners(stack: Stack) -> subprocess.CompletedProcess[str]:
    """`portal doctor --listeners` for a stack."""
    return subprocess.run(
        [f"{stack.runtime}/bin/portal", "doctor", "--listeners"],
        env={"PORTAL_SETTINGS": str(stack.home / "portal.toml"), "LANG": "C.UTF-8", "PATH": os.defpath},
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )


def test_every_listener_has_a_reason(stack: Stack) -> None:
    """Programs, Unix user, address and why: nothing listens that nobody can explain."""
    done = doctor_on_listeners(stack)

    assert done.returncode == 0, done.stdout
    places = {line.split()[2] for line in done.stdout.splitlines()}
    assert {listener.place for listener in listening(stack)} <= places
    assert {f"{stack.home}/slurm/munge/munge.sock", f"{stack.home}/slurm/db-run/db.sock"} <= places


def test_a_listener_that_nobody_knows_is_called_out(stack: Stack) -> None:
    """A process of ours that opens a port of its own is named, with the port, and the exit status tells."""
    code = "import socket, sys; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code],
        env={processes.MARK: str(stack.home)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as stranger:
        assert stranger.stdin and stranger.stdout
        port = stranger.stdout.readline().strip()
        done = doctor_on_listeners(stack)
        stranger.stdin.close()

    assert done.returncode == 1
    (called_out,) = [line for line in done.stdout.splitlines() if not line.startswith("ok")]
    assert f"127.0.0.1:{port}" in called_out
    assert f"({stranger.pid}, " in called_out


def test_nothing_runs_as_root(stack: Stack) -> None:
    """Started as root, it gives root up for everything."""
    owners = {Path(f"/proc/{pid}").stat().st_uid for pid in processes.ours(stack.home)}

    assert owners
    assert 0 not in owners


def test_secrets_are_in_no_command_line_and_no_open_file(stack: Stack) -> None:
    """Tokens are in files that one user can read, and `ps` shows none."""
    secrets = stack.home / "secrets"
    tokens = [path.read_text().strip() for path in secrets.iterdir()]
    shown = b"\n".join(
        Path(f"/proc/{pid}/cmdline").read_bytes() for pid in processes.ours(stack.home)
    ).decode()
    written = "".join(path.read_text() for path in (stack.home / "etc").iterdir())

    assert secrets.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in secrets.iterdir()} == {0o600}
    assert (stack.home / "slurm" / "slurmdbd.conf").stat().st_mode & 0o777 == 0o600
    assert [token for token in tokens if token in shown or token in written] == []


def test_a_second_start_in_the_same_folder_is_refused(stack: Stack) -> None:
    """Two supervisors never share one folder."""
    done = start_again(stack.home, stack.base + 5000, stack.runtime)

    assert done.returncode == 1
    assert f"It already runs in {stack.home}" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_taken_port_is_named_with_its_holder(own_stack: Stack) -> None:
    """One sentence tells the port, the program that has it, and what to do; nothing is left behind."""
    with socket.create_server(("127.0.0.1", own_stack.base + 2)):
        done = start_again(own_stack.home, own_stack.base, own_stack.runtime)

    assert done.returncode == 1
    assert f"Port {own_stack.base + 2} is taken" in done.stderr
    assert f"PORTAL_PORT={own_stack.base + 100} make run" in done.stderr
    assert done.stderr.count("\n") == 1
    assert processes.ours(own_stack.home) == set()


def test_a_port_that_is_none_is_refused() -> None:
    """A misspelt port is one sentence, not a traceback."""
    done = subprocess.run(
        [*INSTALL, "run"],
        cwd=CHECKOUT,
        env={**os.environ, "PORTAL_PORT": "http"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1
    assert done.stderr == "PORTAL_PORT=http is not a port: choose a number from 1024 to 65000.\n"


def test_a_folder_with_other_things_is_refused(tmp_path: Path, runtime: Path) -> None:
    """Neither start nor clean touches a folder that is not ours."""
    (tmp_path / "thesis.txt").write_text("dear")
    done = start_again(tmp_path, 20_000, runtime)

    assert done.returncode == 1
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def start_again(home: Path, base: int, runtime: Path) -> subprocess.CompletedProcess[str]:
    """A start that is expected to end by itself."""
    other = Stack(home, base, runtime)
    environ = {"PORTAL_HOME": str(home), "PORTAL_PORT": str(base), "PORTAL_RUNTIME": str(runtime.parent)}
    return subprocess.run(
        other.command,
        cwd=CHECKOUT,
        env={**os.environ, **environ},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("name", ["hub", "portal", "slurmctld", "gpu01", "munged"])
def test_a_process_that_dies_comes_back_alone(stack: Stack, name: str) -> None:
    """kill -9 of one process: it is started again, the others keep theirs, and jobs run on."""
    job = submit(stack, grant_account(stack))
    before = {one.name: one.pid for one in supervision.states(stack.home)}
    os.kill(before[name], signal.SIGKILL)
    until(lambda: state(stack, name).pid not in (0, before[name]), 20, f"{name} does not come back")
    after = {one.name: one.pid for one in supervision.states(stack.home)}

    assert {other for other in before if before[other] != after[other]} == {name}
    until(lambda: job_state(stack, job) == "RUNNING", 20, "the job is lost")
    stack.cluster.run("scancel", job)
    assert f"exited: {name} (terminated by SIGKILL" in (stack.home / "logs" / "supervisor.log").read_text()


def test_sessions_survive_a_new_start_of_their_node(stack: Stack) -> None:
    """slurmd is stopped and started: the job below it runs on, in the same process."""
    job = submit(stack, grant_account(stack))
    steps = {pid for pid in processes.ours(stack.home) if _command(pid).startswith(f"slurmstepd: [{job}.")}
    node = stack.cluster.run("squeue", "-h", "-j", job, "-o", "%N").strip()
    supervision.Supervisor(stack.home).restart(node)
    time.sleep(3)

    assert steps
    assert steps <= processes.ours(stack.home)
    assert job_state(stack, job) == "RUNNING"
    stack.cluster.run("scancel", job)


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except OSError:
        return ""


def test_the_routes_come_back_after_the_proxy_dies(stack: Stack) -> None:
    """The new proxy knows every route within seconds, not at the hub's next check."""
    before = state(stack, "proxy").pid
    os.kill(before, signal.SIGKILL)
    log = stack.home / "logs" / "proxy.log"
    times = log.read_text().count("routes restored")
    until(lambda: state(stack, "proxy").pid not in (0, before), 10, "the proxy does not come back")

    until(lambda: log.read_text().count("routes restored") > times, 10, "no routes")


def test_a_whole_life(own_stack: Stack) -> None:
    """Start, a job, Ctrl-C: its charge is booked and nothing is left; start again: quick, and all state is there;
    a power cut: the next start closes the job at the last second it was seen alive, and what waited still waits;
    a process that keeps dying is left down, and the rest stays up."""
    own_stack.start()
    account = grant_account(own_stack)
    job = submit(own_stack, account)
    time.sleep(4)  # so that a look at Slurm shows it to the portal
    assert own_stack.stop() == 0
    assert "cancelling 1 running job" in own_stack.output[-1]
    assert "not every charge" not in own_stack.output[-1]
    assert_no_trace(own_stack)

    began = time.monotonic()
    own_stack.start()
    assert time.monotonic() - began < 20
    assert job_state(own_stack, job) == "CANCELLED"

    lost = submit(own_stack, account)
    waiting = own_stack.cluster.run(
        *("sbatch", "--parsable", f"--account={account}", "--begin=now+1hour", "--partition=cpu", "--time=5"),
        *("--mem=1000", "--output=/dev/null", "--wrap=true"),
    ).strip()
    time.sleep(6)
    cut = own_stack.cut_power()
    assert processes.ours(own_stack.home) == set()
    time.sleep(5)
    own_stack.start()
    ended = own_stack.cluster.run(
        "env", "SLURM_TIME_FORMAT=%s", "sacct", "-nPX", "-j", lost, "-o", "state,end"
    ).strip()
    assert ended.split("|")[0] == "NODE_FAIL"
    assert cut - 3 <= int(ended.split("|")[1]) <= cut
    assert job_state(own_stack, waiting) == "PENDING"

    _wear_out(own_stack, "dashboards")
    assert [one.name for one in supervision.down(own_stack.home)] == ["dashboards"]
    assert own_stack.stop(signal.SIGTERM) == 0
    assert_no_trace(own_stack)


def _wear_out(stack: Stack, name: str) -> None:
    """Kill a process as often as it comes back, and count: five deaths within a minute are enough."""
    until(lambda: state(stack, name).state == "RUNNING", 30, f"{name} does not run")
    began, deaths = time.monotonic(), 0
    while state(stack, name).state != "FATAL":
        assert time.monotonic() - began < 60, f"{name} is started again and again: {deaths} deaths"
        if pid := state(stack, name).pid:
            os.kill(pid, signal.SIGKILL)
            deaths += 1
        time.sleep(0.3)
    assert deaths == 5


def assert_no_trace(stack: Stack) -> None:
    """No process, no port, no socket."""
    assert processes.ours(stack.home) == set()
    assert not [port for port in range(stack.base, stack.base + 17) if processes.taken(port)]
    assert not [path for path in stack.home.rglob("*") if path.is_socket()]
