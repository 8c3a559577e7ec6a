"""The whole product under bad input and failing parts: nobody gets in, nothing is lost, nothing is charged twice."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import pytest
from conftest import Stack, rows, signed_in
from playwright.sync_api import Browser
from waiting import until

from portal.demo import supervision
from portal.identity import person_id

PROTEINS, CATALYSTS, SPEECH, WORKSHOPS = (f"AISS-2026-000{number}" for number in (1, 2, 3, 4))


MAKE_TOKEN = """async address => (await fetch(address, {
    method: "POST",
    body: "{}",
    headers: {"Content-Type": "application/json", "X-XSRFToken": document.querySelector("input[name=_xsrf]").value},
})).json()"""


class Person:
    """Somebody who has signed in, with a token of theirs for the hub's REST API."""

    def __init__(self, stack: Stack, browser: Browser, who: str) -> None:
        self.stack, self.id = stack, person_id(stack.settings.identity.issuer, who)
        with signed_in(browser, stack, who) as context:
            page = context.pages[0]
            page.goto(f"{stack.url}/hub/token")
            made = page.evaluate(MAKE_TOKEN, f"/hub/api/users/{self.id}/tokens")
        assert "token" in made, made
        self.token = str(made["token"])

    @property
    def server(self) -> str:
        return f"{self.stack.settings.hub_api_url}/users/{self.id}/server"

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"token {self.token}"}

    def start(self, **options: object) -> httpx.Response:
        wanted = {"kind": "notebook", "grant": PROTEINS, "size": "quarter", "minutes": 30, **options}
        return httpx.post(
            self.server, json={"user_options": wanted}, headers=self.headers, trust_env=False, timeout=60
        )

    def stop(self) -> None:
        httpx.delete(self.server, headers=self.headers, trust_env=False, timeout=60)
        until(lambda: not self.servers(), 30, "the session does not stop")

    def servers(self) -> dict[str, object]:
        url = f"{self.stack.settings.hub_api_url}/users/{self.id}"
        user = httpx.get(url, headers=self.headers, trust_env=False, timeout=10).json()
        return dict(user.get("servers", {}))

    def ready(self) -> bool:
        return any(server["ready"] for server in self.servers().values())  # type: ignore[index]

    @contextmanager
    def session(self, **options: object) -> Iterator[None]:
        """A running session of this person."""
        answer = self.start(**options)
        assert answer.status_code in (201, 202), answer.text
        until(self.ready, 60, "the session does not get ready")
        try:
            yield
        finally:
            self.stop()

    def notebook_answers(self) -> bool:
        """Whether the notebook is reached through the public proxy."""
        host = f"{self.id}.localhost:{self.stack.base}"
        url = f"http://127.0.0.1:{self.stack.base}/user/{self.id}/api"
        try:
            return httpx.get(url, headers={"Host": host}, trust_env=False, timeout=5).status_code == 200
        except httpx.HTTPError:
            return False


@pytest.fixture(scope="module")
def researcher(stack: Stack, browser: Browser) -> Person:
    return Person(stack, browser, "researcher")


@pytest.fixture(scope="module")
def pi(stack: Stack, browser: Browser) -> Person:
    return Person(stack, browser, "pi")


@pytest.fixture(scope="module")
def outsider(stack: Stack, browser: Browser) -> Person:
    return Person(stack, browser, "outsider")


def charges(stack: Stack) -> dict[str, int]:
    """Milli-GPU-seconds of every charge of the live cluster, by key."""
    found = rows(stack.settings.database_url, "select key, -amount from entry where key like 'charge:aisc:%'")
    return {str(key): int(str(amount)) for key, amount in found}


def recorded(stack: Stack) -> dict[str, int]:
    """What Slurm's own accounting says of every ended job that used something: billing x elapsed, by our key."""
    text = stack.cluster.run(
        *("env", "SLURM_TIME_FORMAT=%s", "TZ=UTC", "sacct", "-nPDXa", "-S", "now-1days"),
        *("-o", "jobidraw,submit,state,elapsedraw,alloctres"),
    )
    found = {}
    for line in text.splitlines():
        job, submit, state, elapsed, tres = line.split("|")
        billing = re.search(r"billing=(\d+)", tres)
        if state not in ("RUNNING", "PENDING") and billing and int(elapsed):
            found[f"charge:aisc:{job}:{submit}"] = int(billing[1]) * int(elapsed)
    return found


def jobs_of_ours(stack: Stack) -> list[str]:
    return [
        name for name in stack.cluster.run("squeue", "-h", "-o", "%j").split() if name.startswith("aisc-")
    ]


def kill(stack: Stack, name: str) -> None:
    """kill -9 one process, and wait until the supervisor has another."""
    before = next(one.pid for one in supervision.states(stack.home) if one.name == name)
    os.kill(before, signal.SIGKILL)

    def back() -> bool:
        now = next(one for one in supervision.states(stack.home) if one.name == name)
        return now.pid not in (0, before)

    until(back, 30, f"{name} does not come back")
    if name == "hub":
        health = f"{stack.settings.hub_api_url.removesuffix('/api')}/health"
        until(lambda: answers(health), 30, "the hub does not answer again")


def answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False, timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


BAD_OPTIONS = [
    ({"size": "gpu64"}, "size"),
    ({"size": "gpu1'; id #"}, "size"),
    ({"size": "$(touch /tmp/aisc-pwned)"}, "size"),
    ({"size": "{{ cmd }}"}, "size"),
    ({"size": "gpu1\n#SBATCH --qos=other"}, "size"),
    ({"grant": WORKSHOPS}, "grant"),
    ({"grant": SPEECH}, "grant"),
    ({"grant": "AISS-2026-0001\n"}, "grant"),
    ({"grant": ["AISS-2026-0001", "AISS-2026-0002"]}, "grant"),
    ({"minutes": -30}, "time limit"),
    ({"minutes": 31}, "minutes"),
    ({"minutes": "30; id"}, "time limit"),
    ({"minutes": 10**12}, "time limit"),
    ({"req_partition": "cpu"}, "req_partition"),
    ({"prologue": "id"}, "prologue"),
    ({"profile": "local"}, "profile"),
]


@pytest.mark.parametrize(("options", "field"), BAD_OPTIONS)
def test_what_was_not_offered_is_refused_by_rest(
    stack: Stack, researcher: Person, options: dict[str, object], field: str
) -> None:
    """400 with the field's name; nothing is registered, nothing reaches Slurm or a shell."""
    before = rows(stack.settings.database_url, "select count(*) from session")
    answer = researcher.start(**options)
    assert answer.status_code == 400, answer.text
    assert field in answer.json()["message"]
    assert rows(stack.settings.database_url, "select count(*) from session") == before
    assert jobs_of_ours(stack) == []
    assert not os.path.exists("/tmp/aisc-pwned")  # noqa: PTH110


def test_an_outsider_can_start_nothing(stack: Stack, outsider: Person) -> None:
    """Even knowing a grant's code."""
    answer = outsider.start()
    assert answer.status_code == 400
    assert "You have no grant yet" in answer.json()["message"]
    assert stack.settings.site.contact in answer.json()["message"]


def test_the_call_back_is_closed_through_the_public_address(stack: Stack, researcher: Person) -> None:
    """The stock handler lets any notebook set the hub's commands; ours takes nothing from here."""
    url = f"http://127.0.0.1:{stack.base}/hub/api/batchspawner"
    for body in ({"port": 8888, "exec_prefix": "id"}, {"batch_query_cmd": "id"}, {"port": 8888}):
        answer = httpx.post(url, json=body, headers=researcher.headers, trust_env=False)
        assert answer.status_code in (400, 403, 404, 409), answer.text


def test_of_two_who_press_start_on_the_last_hours_one_is_admitted(
    stack: Stack, researcher: Person, pi: Person
) -> None:
    """6 GPU-hours are left; each asks for 4."""
    with ThreadPoolExecutor(2) as both:
        answers = list(
            both.map(lambda who: who.start(grant=CATALYSTS, size="gpu4", minutes=60), (researcher, pi))
        )
    try:
        assert sorted(answer.status_code // 100 for answer in answers) == [2, 4]
        refused = next(answer for answer in answers if answer.status_code >= 400)
        assert "are available on the grant" in refused.json()["message"]
    finally:
        researcher.stop()
        pi.stop()


def test_a_session_lives_through_the_death_of_every_part(stack: Stack, researcher: Person) -> None:
    """kill -9 of hub, portal and agent: the notebook stays reachable, and the charge is booked once."""
    with researcher.session():
        assert researcher.notebook_answers()
        for name in ("portal", "agent", "hub"):
            kill(stack, name)
            assert researcher.notebook_answers(), f"the notebook is gone after the {name} died"
        until(researcher.ready, 60, "the hub does not find the session again")
    until(lambda: charges(stack) == recorded(stack), 60, "charges and Slurm's records differ")


def test_a_session_lives_while_slurmctld_is_stopped(stack: Stack, researcher: Person) -> None:
    """Unknown is not dead; starts fail closed; what ended meanwhile is charged once."""
    with researcher.session():
        slurmctld = supervision.Supervisor(stack.home)
        slurmctld.stop("slurmctld")
        try:
            time.sleep(float(os.environ.get("AISC_SLURMCTLD_AWAY", "30")))
            assert researcher.notebook_answers()
            assert researcher.ready()
        finally:
            slurmctld.restart("slurmctld")
        until(lambda: bool(jobs_of_ours(stack)), 60, "slurmctld does not come back")
        assert researcher.notebook_answers()
    until(lambda: charges(stack) == recorded(stack), 60, "charges and Slurm's records differ")
    assert recorded(stack), "nothing was compared"


def test_the_doctor_finds_all_well(stack: Stack) -> None:
    """Every part and setting, one line each, exit 0."""
    report = stack.cluster.run(
        "env", f"PORTAL_SETTINGS={stack.home}/portal.toml", f"{stack.runtime}/bin/portal", "doctor"
    )
    assert "FAIL" not in report
    for part in (
        "setting slurm.cluster",
        "secret agent.token",
        "database",
        "hub",
        "agent",
        "slurmdbd",
        "process hub",
    ):
        assert re.search(rf"^ok +{part}:", report, re.MULTILINE), part
    assert "no isolation between people" in report


def test_the_ledger_verifies(stack: Stack) -> None:
    """By the command that an auditor runs."""
    report = stack.cluster.run(
        "env", f"PORTAL_SETTINGS={stack.home}/portal.toml", f"{stack.runtime}/bin/portal", "ledger", "verify"
    )
    assert report.strip().endswith(" 0 faults")
