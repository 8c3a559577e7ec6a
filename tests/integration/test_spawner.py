"""Sessions on a real Slurm, through a real hub: started, refused, waited for, interrupted, stopped, and never lost.

Where a docstring says "stock", batchspawner's or wrapspawner's own class fails the test; the letter is the fault's name
in the project's list of facts (R1 and so on).
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from conftest import PortBlocks, make_home
from small_hub import ACCOUNT, CHOICE, COMMANDS, GRANT, SmallHub, open_account
from waiting import until

from portal import listeners, reasons
from portal.demo import processes
from portal.demo.bare import Cluster

Make = Callable[..., SmallHub]


@pytest.fixture(scope="module")
def make(cluster: Cluster, ports: PortBlocks, runtime: Path, pytestconfig: pytest.Config) -> Iterator[Make]:
    """Makes hubs; all end with this module."""
    open_account(cluster)
    made: list[SmallHub] = []

    def one(**options: Any) -> SmallHub:
        hub = SmallHub(cluster, make_home(pytestconfig), ports.reserve(), runtime=runtime, **options)
        made.append(hub)
        return hub

    yield one
    for hub in made:
        hub.close()
        shutil.rmtree(hub.home)


@pytest.fixture(scope="module")
def shared(make: Make) -> SmallHub:
    """One hub for the tests that leave it as they found it."""
    return make()


@pytest.fixture
def hub(shared: SmallHub) -> Iterator[SmallHub]:
    """The shared hub, with no job before and after."""
    shared.portal.heard.clear()
    yield shared
    shared.portal.silent, shared.portal.refusal, shared.portal.change = False, None, lambda admitted: admitted
    shared.cluster.run("scontrol", "update", "PartitionName=cpu", "State=UP")
    for program in COMMANDS:
        shared.wrap(program, "")
    shared.stop_all()


@pytest.fixture
def closed(hub: SmallHub) -> SmallHub:
    """The shared hub while nothing can start: what is submitted waits."""
    hub.cluster.run("scontrol", "update", "PartitionName=cpu", "State=DOWN")
    return hub


def show(hub: SmallHub, job: str) -> dict[str, str]:
    text = hub.cluster.run("scontrol", "show", "job", "-o", job)
    return dict(word.partition("=")[::2] for word in text.split())


def begin(hub: SmallHub, person: str) -> None:
    """Start a session that will wait in the queue, without waiting for the answer."""
    hub.call("POST", f"/hub/api/users/{person}")
    with httpx.Client(trust_env=False) as client, pytest.raises(httpx.ReadTimeout):
        headers = {"Authorization": f"token {hub.token}"}
        client.post(f"{hub.public}/hub/api/users/{person}/server", json=CHOICE, headers=headers, timeout=1)


# The job


def test_a_session_is_the_job_that_the_portal_admitted(hub: SmallHub) -> None:
    """Account, QOS, size, name and time limit are the portal's; Slurm never starts it twice (stock: R13)."""
    answer = hub.ask("pann", CHOICE | {"size": "gpu2"})
    assert answer.status_code in (201, 202), answer.text
    hub.wait_ready("pann")
    job = hub.job_of("pann")
    shown = show(hub, job)
    session = hub.portal.calls("/job")
    env = hub.job_environment("pann")
    wanted = {
        "Account": ACCOUNT,
        "QOS": ACCOUNT,
        "Partition": "gpu",
        "TimeLimit": "01:00:00",
        "Requeue": "0",
        "JobName": f"aisc-{env['AISC_SESSION']}",
        "NumCPUs": "32",
    }

    assert hub.lab("pann") == 200
    assert {name: shown[name] for name in wanted} == wanted
    assert session[0]["job"] == int(job) and len(session[0]["token_hash"]) == 64
    assert len(env["CUDA_VISIBLE_DEVICES"].split(",")) == 2
    until(lambda: any(path.endswith("/ready") for path, _ in hub.portal.heard))


def test_the_job_gets_what_a_session_needs_and_nothing_of_the_hub(hub: SmallHub) -> None:
    """Only the variables named to Slurm arrive; the home is the person's own and closed to others."""
    hub.ask("pann")
    hub.wait_ready("pann")
    env = hub.job_environment("pann")
    home = hub.home / "people" / "pann"

    assert env["HOME"] == env["JUPYTERHUB_ROOT_DIR"] == str(home)
    assert home.stat().st_mode & 0o777 == 0o700
    assert not {"CONFIGPROXY_AUTH_TOKEN", "JUPYTERHUB_CRYPT_KEY", "PORTAL_SETTINGS"} & set(env)
    known = (
        "JUPYTERHUB_",
        "AISC_",
        "SLURM",
        "CUDA_",
        "ROCR_",
        "ZE_",
        "GPU_DEVICE",
        "TMPDIR",
        "HOSTNAME",
        "ENVIRONMENT",
        *(
            "HYDRA_",
            "I_MPI_",
            "OMPI_",
            "PRTE_",
        ),  # Slurm 24 tells launchers of MPI how to start on other nodes
    )
    rest = {name for name in env if not name.startswith(known)}
    assert rest <= {
        "PORTAL_PROCESS_OF",
        "HOME",
        "USER",
        "LOGNAME",
        "SHELL",
        "LANG",
        "PATH",
        "PWD",
        "OLDPWD",
        "_",
        "SHLVL",
    }, rest


def test_the_batch_script_holds_no_value_and_no_secret(hub: SmallHub) -> None:
    """Slurm keeps scripts where operators read them: ours is the same for everybody (R7, R10)."""
    hub.ask("pann")
    hub.wait_ready("pann")
    script = hub.cluster.run("scontrol", "write", "batch_script", hub.job_of("pann"), "-")
    env = hub.job_environment("pann")

    for secret in (env["JUPYTERHUB_API_TOKEN"], env["AISC_SESSION"], "pann", GRANT, ACCOUNT):
        assert secret not in script
    assert "#SBATCH" not in script


def test_the_notebook_listens_on_loopback_only(hub: SmallHub) -> None:
    """The server binds the one address that leads to the hub (stock: R12, all interfaces)."""
    hub.ask("pann")
    hub.wait_ready("pann")
    port = hub.kept("pann")["address"][1]

    assert [one.loopback for one in listeners.listeners() if one.port == port] == [True]


def test_stop_ends_the_job_and_the_token(hub: SmallHub) -> None:
    """After Stop there is no job, no route, and the server's token opens nothing."""
    hub.ask("pann")
    hub.wait_ready("pann")
    token = hub.job_environment("pann")["JUPYTERHUB_API_TOKEN"]
    assert hub.get("/hub/api/user", token).status_code == 200

    assert hub.stop("pann").status_code in (202, 204)
    until(lambda: not hub.jobs())
    assert hub.get("/hub/api/user", token).status_code == 403
    assert hub.lab("pann") != 200


def test_a_job_that_ends_by_itself_takes_its_token_along(hub: SmallHub) -> None:
    """Time limit or node failure: the hub notices, and the token dies with the job (stock: R6)."""
    hub.ask("pann")
    hub.wait_ready("pann")
    token = hub.job_environment("pann")["JUPYTERHUB_API_TOKEN"]

    hub.cluster.run("scancel", hub.job_of("pann"))
    until(lambda: hub.get("/hub/api/user", token).status_code == 403)
    until(lambda: not hub.ready("pann"))


# Refused


HOSTILE = [
    ("grant", "AISS-T-0001'; id"),
    ("grant", "$(id)"),
    ("grant", "{{ 7*7 }}"),
    ("size", "cpu\n#SBATCH --qos=other"),
    ("size", ["cpu", "gpu4"]),
    ("size", {"id": "cpu"}),
    ("minutes", -60),
    ("minutes", 10**12),
    ("minutes", "60; id"),
    ("minutes", True),
    ("kind", "local"),
    ("kind", None),
]
NOT_OFFERED = [("grant", "AISS-OTHERS-1"), ("size", "gpu8"), ("minutes", 61)]


@pytest.mark.parametrize(("field", "value"), [*HOSTILE, *NOT_OFFERED], ids=str)
def test_what_was_not_offered_is_refused_by_name_and_reaches_nothing(
    hub: SmallHub, field: str, value: object
) -> None:
    """REST data never passes the form; each refusal is a 400 that names the field (stock: R10, R15)."""
    before = hub.calls_of("sbatch")
    answer = hub.ask("pann", CHOICE | {field: value})

    assert answer.status_code == 400, answer.text
    assert field in answer.json()["message"]
    assert hub.calls_of("sbatch") == before
    assert [path for path, _ in hub.portal.heard if path != "/internal/sessions"] == []


@pytest.mark.parametrize("name", ["cmd", "prologue", "partition", "batch_submit_cmd", "profile", "options"])
def test_an_option_of_the_stock_spawner_is_refused(hub: SmallHub, name: str) -> None:
    """No name that the stock class would put into its script is taken (stock: R10)."""
    answer = hub.ask("pann", CHOICE | {name: "touch /tmp/spawner-was-here"})

    assert answer.status_code == 400
    assert name in answer.json()["message"]
    assert hub.portal.heard == []


def test_a_refusal_of_the_portal_reads_as_it_was_written(hub: SmallHub) -> None:
    """The portal's sentence, and for programs the name of the field behind it."""
    hub.portal.refusal = {
        "message": "This grant has 0.5 GPU-hours left.",
        "code": "available",
        "field": "minutes",
    }
    answer = hub.ask("pann")

    assert answer.status_code == 400
    assert answer.json()["message"] == "This grant has 0.5 GPU-hours left. (minutes)"


def test_a_silent_portal_refuses_within_two_seconds_and_says_since_when(hub: SmallHub) -> None:
    """Starts fail closed: one plain sentence, and nothing in Slurm."""
    hub.portal.silent = True
    began = time.monotonic()
    answer = hub.ask("pann")

    assert time.monotonic() - began < 3.5
    assert answer.status_code == 503
    assert "has not answered since" in answer.json()["message"]
    assert not hub.jobs()


@pytest.mark.parametrize(
    "change",
    [
        {"account": "x --wrap=id"},
        {"qos": "--uid=0"},
        {"gres": "gpu:1\n"},
        {"partition": "-p"},
        {"job_name": "mine"},
    ],
    ids=str,
)
def test_an_answer_of_another_shape_is_not_submitted(hub: SmallHub, change: dict[str, str]) -> None:
    """Even the portal cannot make an option of sbatch out of a value; it learns that the session failed."""
    before = hub.calls_of("sbatch")
    hub.portal.change = lambda admitted: admitted.model_copy(update=change)
    answer = hub.ask("pann")

    assert answer.status_code == 500
    assert hub.calls_of("sbatch") == before
    until(lambda: any(path.endswith("/failed") for path, _ in hub.portal.heard))


def test_a_person_of_another_unix_account_is_not_submitted_as_somebody_else(hub: SmallHub) -> None:
    """A job runs as the account the portal names, or not at all."""
    hub.portal.change = lambda admitted: admitted.model_copy(update={"unix_user": "root"})

    assert hub.ask("pann").status_code == 500
    assert not hub.jobs()


def test_what_slurm_refuses_is_told_in_slurms_words(hub: SmallHub) -> None:
    """sbatch says no: the person reads why, the portal learns that nothing was started."""
    hub.portal.change = lambda admitted: admitted.model_copy(update={"account": "nosuchaccount"})
    answer = hub.ask("pann")

    assert answer.status_code == 503
    assert "account" in answer.json()["message"].lower()
    until(lambda: any(path.endswith("/failed") for path, _ in hub.portal.heard))


# The call back


def test_the_call_back_takes_one_port_once_and_nothing_else(closed: SmallHub) -> None:
    """Any other key, type or second call does nothing: no notebook runs commands on the hub (stock: R1)."""
    hub = closed
    hub.wrap("sbatch", f'printf %s "$JUPYTERHUB_API_TOKEN" > {hub.home}/token')
    begin(hub, "pann")
    kept = hub.home / "token"
    token = until(lambda: kept.read_text() if kept.exists() else "")
    hub.wrap("sbatch", "")
    trace = hub.home / "was-here"
    path = "/hub/api/batchspawner"
    bad: list[Any] = [
        {"port": 5000, "exec_prefix": f"touch {trace};"},
        {"exec_prefix": f"touch {trace};"},
        {"batch_query_cmd": f"touch {trace}"},
        {"job_id": f"1; touch {trace}"},
        {"ip": "10.0.0.1", "port": 5000},
        {"port": "5000"},
        {"port": True},
        {"port": 5000.0},
        {"port": 80},
        {"port": 65536},
        {"port": None},
        [5000],
        5000,
        {},
        None,
    ]
    for body in bad:
        assert hub.call("POST", path, body, token).status_code == 400, body
    assert hub.call("POST", path, {"port": 5000}, "wrong").status_code == 403
    assert hub.call("POST", path, {"port": 5000}).status_code == 403, "a service's token is no server's"
    assert hub.call("POST", path, {"port": 5000}, token).status_code == 201
    assert hub.call("POST", path, {"port": 5001}, token).status_code == 409
    time.sleep(3)
    assert not trace.exists()
    assert hub.stop("pann").status_code in (202, 204)
    assert hub.call("POST", path, {"port": 5002}, token).status_code == 403


def test_a_running_session_cannot_move_its_route(hub: SmallHub) -> None:
    """After the start the same token is told 409, through the public address as well (stock: R1)."""
    hub.ask("pann")
    hub.wait_ready("pann")
    token = hub.job_environment("pann")["JUPYTERHUB_API_TOKEN"]

    assert hub.call("POST", "/hub/api/batchspawner", {"port": 22222}, token).status_code == 409
    assert hub.lab("pann") == 200


# Waiting, and what interrupts it


def test_cancel_in_the_queue_leaves_no_job(closed: SmallHub) -> None:
    """A start that the person gives up while it waits is cancelled in Slurm too (stock: R2)."""
    begin(closed, "pann")
    until(lambda: "PENDING" in closed.jobs().values())

    assert closed.stop("pann").status_code in (202, 204)
    until(lambda: not closed.jobs())


def test_cancel_during_the_submission_leaves_no_job(closed: SmallHub) -> None:
    """The job is accepted, its id not yet read: it is found and cancelled all the same (stock: R2)."""
    closed.wrap("sbatch", "", "sleep 4")
    begin(closed, "pann")
    until(lambda: closed.jobs())
    closed.stop("pann")
    closed.wrap("sbatch", "")

    until(lambda: not closed.jobs())
    time.sleep(1)
    assert not closed.jobs()


def test_a_job_whose_id_cannot_be_read_is_found_by_its_name(hub: SmallHub) -> None:
    """sbatch prints rubbish after it has submitted: the session starts."""
    hub.wrap("sbatch", "", "echo; echo rubbish")
    hub.ask("pann")
    hub.wrap("sbatch", "")
    hub.wait_ready("pann")

    assert hub.lab("pann") == 200


def test_a_job_that_sbatch_denies_and_slurm_has_is_cancelled(hub: SmallHub) -> None:
    """The answer of sbatch is lost on the way: no job is left that nobody can see (stock: R4)."""
    hub.wrap("sbatch", "", "exit 1")
    answer = hub.ask("pann")
    hub.wrap("sbatch", "")

    assert answer.status_code == 503
    until(lambda: not hub.jobs())
    until(lambda: any(path.endswith("/failed") for path, _ in hub.portal.heard))


def test_a_job_that_is_cancelled_while_it_waits_ends_the_start(closed: SmallHub) -> None:
    """An operator's scancel is seen at once, not at the time limit of the start (stock: R8)."""
    begin(closed, "pann")
    job = until(lambda: next(iter(closed.jobs()), None))
    closed.cluster.run("scancel", job)

    until(lambda: closed.server("pann") is None or not closed.server("pann")["pending"], 10)  # type: ignore[index]


def test_a_server_that_cannot_start_is_told_with_its_last_words(make: Make) -> None:
    """The job dies before it calls back: the start fails in seconds, with the tail of the log (stock: R8)."""
    broken = make(environment=Path("/nonexistent"))
    began = time.monotonic()
    answer = broken.ask("pann")

    assert time.monotonic() - began < 15
    assert answer.status_code == 500
    assert "/nonexistent/bin/python" in answer.json()["message"]
    assert not broken.jobs()


def test_the_time_limit_of_a_start_leaves_no_job(make: Make, cluster: Cluster) -> None:
    """A start that waits too long is given up, whatever the hub was doing at that moment (stock: R2)."""
    impatient = make(start_timeout=3)
    cluster.run("scontrol", "update", "PartitionName=cpu", "State=DOWN")
    try:
        for _round in range(3):
            impatient.wrap("squeue", "sleep 1")
            assert impatient.ask("pann").status_code >= 500
            until(lambda: not impatient.jobs())
    finally:
        cluster.run("scontrol", "update", "PartitionName=cpu", "State=UP")
    time.sleep(1)
    assert not impatient.jobs()


# The hub goes away


def test_a_running_session_survives_the_hub(hub: SmallHub) -> None:
    """kill -9 of the hub: the notebook answers meanwhile, is known afterwards, and its token still ends with it."""
    hub.ask("pann")
    hub.wait_ready("pann")
    token, job = hub.job_environment("pann")["JUPYTERHUB_API_TOKEN"], hub.job_of("pann")
    ip, port = hub.kept("pann")["address"]

    hub.kill()
    assert httpx.get(f"http://{ip}:{port}/user/pann/api", trust_env=False).status_code == 200
    hub.start()
    hub.wait_ready("pann")
    assert hub.job_of("pann") == job
    assert hub.lab("pann") == 200

    assert hub.stop("pann").status_code in (202, 204)
    until(lambda: not hub.jobs())
    assert hub.get("/hub/api/user", token).status_code == 403, "stock: R6"


def test_a_waiting_session_keeps_its_place_when_the_hub_dies(closed: SmallHub) -> None:
    """kill -9 while it waits: the same job becomes the session, once it starts (stock: R3)."""
    begin(closed, "pann")
    job = until(lambda: next(iter(closed.jobs()), None))
    closed.kill()
    closed.start()
    until(lambda: (closed.server("pann") or {}).get("pending") == "spawn")
    assert list(closed.jobs()) == [job]

    closed.cluster.run("scontrol", "update", "PartitionName=cpu", "State=UP")
    closed.wait_ready("pann")
    assert closed.job_of("pann") == job
    assert closed.lab("pann") == 200
    until(lambda: any(path.endswith("/ready") for path, _ in closed.portal.heard))


def test_a_waiting_session_can_be_cancelled_after_the_hub_died(closed: SmallHub) -> None:
    """What was taken up again can be given up again."""
    begin(closed, "pann")
    until(lambda: closed.jobs())
    closed.kill()
    closed.start()
    until(lambda: (closed.server("pann") or {}).get("pending") == "spawn")

    assert closed.stop("pann").status_code in (202, 204)
    until(lambda: not closed.jobs())
    assert closed.ask("pann", CHOICE | {"size": "quarter"}).status_code in (201, 202)
    closed.wait_ready("pann")


def test_a_job_submitted_in_the_hubs_last_moment_is_found_by_name(closed: SmallHub) -> None:
    """The hub dies between Slurm's yes and reading it: the job is the session all the same (stock: R3, R4)."""
    closed.wrap("sbatch", "", "sleep 3")
    begin(closed, "pann")
    job = until(lambda: next(iter(closed.jobs()), None))
    closed.kill()
    closed.wrap("sbatch", "")
    closed.cluster.run("scontrol", "update", "PartitionName=cpu", "State=UP")
    closed.start()

    closed.wait_ready("pann")
    assert closed.job_of("pann") == job
    until(lambda: {"job": int(job)}.items() <= (closed.portal.calls("/job") or [{}])[0].items())


def test_a_session_that_started_while_the_hub_was_away_is_ready_afterwards(closed: SmallHub) -> None:
    """The job calls back until somebody answers."""
    begin(closed, "pann")
    until(lambda: closed.jobs())
    closed.kill()
    closed.cluster.run("scontrol", "update", "PartitionName=cpu", "State=UP")
    until(lambda: "RUNNING" in closed.jobs().values())
    time.sleep(1)
    closed.start()

    closed.wait_ready("pann")
    assert closed.lab("pann") == 200


def test_the_portal_hears_of_the_job_as_soon_as_it_can(hub: SmallHub) -> None:
    """A portal that fell silent after admitting a session is told later; the session does not wait for it."""
    hub.portal.change = lambda admitted: _go_silent(hub, admitted)
    hub.ask("pann")
    hub.wait_ready("pann")
    hub.portal.silent = False
    hub.portal.heard.clear()

    until(lambda: hub.portal.calls("/job") and any(path.endswith("/ready") for path, _ in hub.portal.heard))


def _go_silent(hub: SmallHub, admitted: Any) -> Any:
    hub.portal.silent = True
    return admitted


# Slurm goes away


def controller(cluster: Cluster) -> int:
    """Process id of slurmctld."""
    for pid in processes.ours(cluster.home):
        if Path(f"/proc/{pid}/comm").read_text().strip() == "slurmctld":
            return pid
    raise AssertionError("no slurmctld runs")


def test_sessions_live_on_while_slurm_does_not_answer(hub: SmallHub) -> None:
    """Unknown is not dead: no session is dropped, and pages do not hang (stock: R5)."""
    hub.ask("pann")
    hub.wait_ready("pann")
    pid = controller(hub.cluster)
    os.kill(pid, signal.SIGSTOP)
    try:
        time.sleep(6)
        assert hub.ready("pann")
        assert hub.lab("pann") == 200
    finally:
        os.kill(pid, signal.SIGCONT)
    time.sleep(3)
    assert hub.ready("pann")


def test_an_error_of_squeue_is_no_end_of_a_session(hub: SmallHub) -> None:
    """Whatever squeue complains about, only "no such job" means that there is no such job (stock: R5)."""
    hub.ask("pann")
    hub.wait_ready("pann")
    for said in ("Socket timed out on send/recv operation", "sudo: unable to resolve host", ""):
        failed = hub.calls_of("squeue")
        hub.wrap("squeue", f"echo '{said}' >&2; exit 1")
        until(lambda failed=failed: hub.calls_of("squeue") >= failed + 2)  # type: ignore[misc]
        assert hub.ready("pann"), said
    hub.wrap("squeue", "")
    time.sleep(2)
    assert hub.ready("pann")


def test_a_suspended_session_is_alive(hub: SmallHub) -> None:
    """Slurm may suspend a job and let it go on (stock: R5)."""
    hub.ask("pann")
    hub.wait_ready("pann")
    hub.cluster.run("scontrol", "suspend", hub.job_of("pann"))
    time.sleep(3)
    assert hub.ready("pann")
    hub.cluster.run("scontrol", "resume", hub.job_of("pann"))
    time.sleep(2)
    assert hub.ready("pann")
    until(lambda: hub.lab("pann") == 200)


def test_stop_is_kept_until_slurm_takes_it(hub: SmallHub) -> None:
    """scancel fails at first: the job is cancelled as soon as Slurm listens, and nobody has to remember (stock: R4)."""
    hub.ask("pann")
    hub.wait_ready("pann")
    hub.wrap("scancel", "exit 1")
    hub.stop("pann")
    until(lambda: not hub.ready("pann"))
    assert hub.jobs()
    hub.wrap("scancel", "")

    until(lambda: not hub.jobs())


def test_a_job_that_was_started_again_elsewhere_is_ended(hub: SmallHub) -> None:
    """An operator's requeue would leave a job that nobody can reach and somebody pays (stock: R13)."""
    hub.ask("pann")
    hub.wait_ready("pann")
    job = hub.job_of("pann")
    hub.cluster.run("scontrol", "update", f"JobId={job}", "Requeue=1")
    hub.cluster.run("scontrol", "requeue", job)

    until(lambda: not hub.ready("pann"))
    until(lambda: not hub.jobs())


# Cost


def test_all_sessions_are_watched_by_one_squeue_per_interval(hub: SmallHub) -> None:
    """The number of commands does not grow with the number of sessions (stock: R9)."""
    people = [f"pann{number}" for number in range(5)]
    for person in people:
        assert hub.ask(person).status_code in (201, 202)
    for person in people:
        hub.wait_ready(person)
    before = hub.calls_of("squeue")
    time.sleep(5)
    used = hub.calls_of("squeue") - before

    assert 2 <= used <= 7, f"{used} squeue in five intervals of five sessions"


def test_the_progress_page_speaks_plainly_and_only_on_change(closed: SmallHub) -> None:
    """One line for each change of state, with Slurm's reason in words and no markup (stock: a line a second)."""
    begin(closed, "pann")
    lines: list[str] = []
    url = f"{closed.public}/hub/api/users/pann/server/progress"
    headers = {"Authorization": f"token {closed.token}"}
    try:
        with httpx.stream("GET", url, headers=headers, timeout=4, trust_env=False) as stream:
            lines = []
            for line in stream.iter_lines():
                if line.startswith("data:"):
                    lines.append(line)
    except httpx.ReadTimeout:
        pass

    assert any(reasons.explain("PartitionDown", "en") in line for line in lines), lines
    assert len(lines) <= 4
    assert not any("html_message" in line for line in lines)
    closed.stop("pann")
