"""The agent between a real Slurm and the real portal service: each process is started, killed and started again."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from conftest import PortBlocks, make_home
from waiting import until

from portal import listeners
from portal import settings as settings_module
from portal.demo import processes
from portal.demo.bare import Cluster
from portal.demo.cluster import ClusterError
from portal.grants import Category, Grant, Membership, Organisation, Role
from portal.ledger import Entry, Kind, charge_key, faults
from portal.pricing import price
from portal.settings import Database, Settings
from portal.store import Store, books, connect, migrate, people, programme, register
from portal.store.register import Session
from portal.units import GPU_HOUR

PORTAL = Path(sys.executable).with_name("portal")
TOKENS = ("agent.token", "hub.token", "dashboards.token", "portal-hub.token", "portal.key")
COMMANDS = ("squeue", "sinfo", "sacct", "sacctmgr", "sdiag", "scancel", "scontrol")
PERSON = "pperson00000"
OUTAGE = float(os.environ.get("AISC_TEST_OUTAGE", "16"))
"""Seconds for which Slurm is away; 120 for a thorough test."""
BEGAN = int(time.time()) - 86_400


@dataclass
class Centre:
    """A cluster, a portal service and an agent. calls: the file in which each Slurm command of the agent is a line."""

    cluster: Cluster
    settings: Settings
    store: Store
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def home(self) -> Path:
        return self.settings.home

    def start(self, name: str) -> None:
        """Start `serve` or `agent`; the log of each is in the home."""
        environ = {"PATH": os.environ["PATH"], "PORTAL_SETTINGS": str(self.home / "portal.toml")}
        with (self.home / "logs" / f"{name}.log").open("ab") as log:
            self.running[name] = subprocess.Popen([PORTAL, name], env=environ, stdout=log, stderr=log)
        if name == "serve":
            until(self.answers)

    def answers(self) -> bool:
        """Whether the portal service answers."""
        try:
            return httpx.get(f"{self.settings.portal_url}/internal/health", trust_env=False).is_success
        except httpx.HTTPError:
            return False

    def end(self, name: str, sign: signal.Signals) -> int:
        """End one of the two; its exit status."""
        process = self.running.pop(name)
        process.send_signal(sign)
        return process.wait(timeout=30)

    def log(self, name: str) -> str:
        return (self.home / "logs" / f"{name}.log").read_text()

    def submit(self, account: str, *options: str, script: str = "sleep 300") -> int:
        """Submit a job and return its id."""
        usual = ("--parsable", f"--account={account}", "--partition=cpu", "--time=5", "--output=/dev/null")
        return int(self.cluster.run("sbatch", *usual, *options, f"--wrap={script}"))

    def state(self, job: int) -> str:
        """The state of a job in the queue, empty when it is not there."""
        shown = self.cluster.run("squeue", "--noheader", "--format=%A %T", "--states=all")
        return dict(line.split() for line in shown.splitlines()).get(str(job), "")

    def sacct(self, job: int) -> list[tuple[int, int]]:
        """Submit time, and billing x elapsed, of each record that sacct has of one job that has ended."""
        fields = "--format=JobIDRaw,Submit,End,ElapsedRaw,AllocTRES"
        found = []
        command = ("env", "SLURM_TIME_FORMAT=%s", "sacct", "-nPXD", f"--jobs={job}", fields)
        for line in self.cluster.run(*command).splitlines():
            id, submit, end, elapsed, tres = line.split("|")
            if int(id) == job and end != "Unknown":
                bill = dict(item.split("=") for item in tres.split(",") if item).get("billing", "0")
                found.append((int(submit), int(bill) * int(elapsed)))
        return found

    def charges(self, job: int) -> list[int] | None:
        """What the ledger charged for a job, once all that sacct has of it is booked; None until then."""
        records = self.sacct(job)
        with self.store.read() as db:
            booked = {one.submit for one in self._booked(db, job)}
            entries = [books.find(db, charge_key("aisc", job, submit)) for submit, _ in records]
        if not records or booked != {submit for submit, _ in records}:
            return None
        assert [-entry.amount if entry else 0 for entry in entries] == [cost for _, cost in records]
        return [cost for _, cost in records]

    def _booked(self, db: object, job: int) -> list[books.Job]:
        found = [books.find_job(db, "aisc", job, submit) for submit, _ in self.sacct(job)]  # type: ignore[arg-type]
        return [one for one in found if one and one.booked is not None]

    def open_jobs(self) -> set[int]:
        """Jobs that the portal knows and has not booked."""
        with self.store.read() as db:
            return {job.id for job in books.open_jobs(db, "aisc")}

    def balance(self, code: str) -> int:
        with self.store.read() as db:
            return books.balances(db)[code]

    def limit(self, qos: str) -> str:
        return self.cluster.run("sacctmgr", "-nP", "show", "qos", qos, "format=grptresmins").strip()

    @contextmanager
    def halted(self, *names: str) -> Iterator[None]:
        """Stop these daemons as they are, and let them go on afterwards."""
        pids = [pid for pid in processes.ours(self.cluster.home) if command_name(pid) in names]
        assert len(pids) >= len(names)
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)


def command_name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


@pytest.fixture(scope="module")
def centre(
    cluster: Cluster, ports: PortBlocks, one_database: Database, pytestconfig: pytest.Config
) -> Iterator[Centre]:
    """Portal service and agent, running, with grants of 100 GPU-hours, of one, and of nothing more."""
    home = make_home(pytestconfig)
    settings = write_home(home, cluster, ports.reserve(), one_database)
    engine = connect(settings.database_url)
    migrate(engine)
    centre = Centre(cluster, settings, Store(engine))
    for code, hours in (("MAIN", 100), ("HOUR", 1), ("USED", 0)):
        plant(centre, code, hours)
    try:
        centre.start("serve")
        centre.start("agent")
        until(lambda: "wish applied" in centre.log("agent"))
        yield centre
    finally:
        for process in centre.running.values():
            process.kill()
            process.wait()
        engine.dispose()
        cluster.run("scancel", f"--user={cluster.layout.user}")
        shutil.rmtree(home)


def write_home(home: Path, cluster: Cluster, base: int, database: Database) -> Settings:
    """Settings, secrets, and commands that write down their name before they are the real ones."""
    for folder in ("logs", "secrets", "bin"):
        (home / folder).mkdir(mode=0o755 if folder == "bin" else 0o700)
    for token in TOKENS:
        (home / "secrets" / token).write_text(secrets.token_hex(16))
    for name in COMMANDS:
        command = home / "bin" / name
        command.write_text(f'#!/bin/sh\necho {name} >>{home}/calls\nexec /usr/bin/{name} "$@"\n')
        command.chmod(0o755)
    (home / "portal.toml").write_text(
        f'home = "{home}"\n'
        f'[web]\nurl = "http://localhost:{base}"\nportal_port = {base + 3}\nhub_port = {base + 2}\n'
        f'[slurm]\nconf = "{cluster.conf}"\nbin = "{home}/bin"\nlook_seconds = 1\naccounts = "shared"\n'
        f'shared_user = "{cluster.layout.user}"\n[database]\nurl = "{database.url}"\n'
    )
    return settings_module.load(home / "portal.toml", {})


def plant(centre: Centre, code: str, hours: int) -> None:
    """A grant with so many GPU-hours for one person."""
    grant = Grant(code, code, "uni", "life", "research", BEGAN, BEGAN + 10**7, "C-1", 3000, 7000)
    with centre.store.write() as db:
        if not programme.organisations(db):
            programme.add_organisation(db, Organisation("uni", "University", "大學", Category.INSTITUTION))
            user = centre.cluster.layout.user
            people.record(db, people.Person(PERSON, "iss", "sub", user, "P", "", frozenset()), BEGAN)
        programme.add_grant(db, grant)
        programme.add_membership(db, Membership(code, PERSON, Role.MEMBER, BEGAN))
        amount = hours * GPU_HOUR
        cost = price(amount, grant.list_price, grant.share)
        books.append(db, Entry(f"award:{code}", code, Kind.AWARD, amount, cost, BEGAN, BEGAN))


def test_one_gpu_hour_in_the_ledger_is_60_000_billing_minutes_in_slurm(centre: Centre) -> None:
    """From the award to the limit that slurmctld enforces."""
    assert until(lambda: centre.limit("ghour") or None) == "billing=60000"


def test_a_used_up_grant_refuses_a_job_from_the_command_line(centre: Centre) -> None:
    """Without the portal being asked."""
    until(
        lambda: "0" in centre.cluster.run("sacctmgr", "-nP", "show", "qos", "gused", "format=grpsubmitjobs")
    )
    with pytest.raises(ClusterError, match="limit"):
        centre.submit("gused")


def test_a_job_from_a_shell_is_seen_and_then_charged_once(centre: Centre) -> None:
    """billing x elapsed as sacct tells it, within the minute; the limit in Slurm stays as it is."""
    before = centre.balance("MAIN")
    job = centre.submit("gmain", "--cpus-per-task=4", script="sleep 4")
    until(lambda: job in centre.open_jobs(), seconds=10)
    (cost,) = until(lambda: centre.charges(job))
    time.sleep(6)  # a round of each kind but the sweep

    assert cost > 0
    assert centre.balance("MAIN") == before - cost
    assert centre.limit("gmain") == "billing=6000000"


def test_a_job_too_short_for_any_look_is_charged_too(centre: Centre) -> None:
    """The sweep finds what came and went between two looks."""
    jobs = [centre.submit("gmain", script="true") for _ in range(5)]
    for job in jobs:
        until(lambda job=job: centre.charges(job), seconds=90)  # type: ignore[misc]


def test_arrays_hostile_names_and_cancelled_jobs_leave_nothing_unbooked(centre: Centre) -> None:
    """Whatever jobs are called and however they end, each is booked; one that never ran costs nothing."""
    array = centre.submit("gmain", "--array=0-3%2", "--job-name=a|b\nc", script="sleep 2")
    held = centre.submit("gmain", "--hold", "--job-name=人工智能")
    later = centre.submit("gmain", "--begin=now+1hour")
    until(lambda: {array, held, later} <= centre.open_jobs())
    centre.cluster.run("scancel", str(held), str(later))
    until(lambda: not centre.open_jobs(), seconds=90)

    assert until(lambda: centre.charges(held)) == until(lambda: centre.charges(later)) == [0]
    assert all(cost > 0 for cost in until(lambda: centre.charges(array)))


def test_killing_the_agent_loses_and_doubles_nothing(centre: Centre) -> None:
    """Jobs that ended, and jobs that came and went, while there was no agent."""
    ends = centre.submit("gmain", script="sleep 5")
    until(lambda: ends in centre.open_jobs())
    centre.end("agent", signal.SIGKILL)
    unseen = centre.submit("gmain", script="true")
    until(lambda: centre.sacct(ends) and centre.sacct(unseen))
    centre.start("agent")

    assert len(until(lambda: centre.charges(ends))) == 1
    assert len(until(lambda: centre.charges(unseen))) == 1


def test_killing_the_portal_loses_and_doubles_nothing(centre: Centre) -> None:
    """The agent waits, says so once, and goes on when the portal is back."""
    ends = centre.submit("gmain", script="sleep 3")
    until(lambda: ends in centre.open_jobs())
    said = centre.log("agent").count("the portal does not answer")
    centre.end("serve", signal.SIGKILL)
    unseen = centre.submit("gmain", script="sleep 2")
    until(lambda: centre.sacct(ends) and centre.sacct(unseen))
    time.sleep(5)
    assert centre.log("agent").count("the portal does not answer") - said <= 4  # one for each round
    centre.start("serve")

    assert len(until(lambda: centre.charges(ends))) == 1
    assert len(until(lambda: centre.charges(unseen), seconds=90)) == 1


def test_slurm_away_for_a_while_costs_nobody_a_job(centre: Centre) -> None:
    """slurmctld and slurmdbd do not answer; jobs go on and end, and are charged once afterwards."""
    jobs = [centre.submit("gmain", script=f"sleep {seconds}") for seconds in (4, 4 + round(OUTAGE))]
    until(lambda: centre.state(jobs[1]) == "RUNNING")
    said = centre.log("agent").count("round fails")
    with centre.halted("slurmctld", "slurmdbd"):
        time.sleep(OUTAGE)
        until(lambda: centre.log("agent").count("round fails") > said, why="the agent does not notice")
    assert centre.running["agent"].poll() is None
    assert centre.log("agent").count("round fails") - said <= 8
    for job in jobs:
        assert len(until(lambda job=job: centre.charges(job), seconds=120)) == 1  # type: ignore[misc]
    assert "round works again" in centre.log("agent")


def test_a_session_whose_registration_lapsed_is_cancelled_and_no_other(centre: Centre) -> None:
    """Only a job of ours, by its name; a job that merely bears such a name is its user's own."""
    lapsed, stranger = secrets.token_hex(16), secrets.token_hex(16)
    gone = int(time.time()) - 600
    asked = Session(
        id=lapsed,
        person=PERSON,
        grant="MAIN",
        size="cpu",
        minutes=5,
        billing=40,
        unix_user=centre.cluster.layout.user,
        cluster="aisc",
        account="gmain",
        partition="cpu",
        asked=gone,
        ended=gone + 300,
        outcome="lapsed",
    )
    with centre.store.write() as db:
        register.register(db, asked)
    ours = centre.submit("gmain", f"--job-name=aisc-{lapsed}")
    theirs = centre.submit("gmain", f"--job-name=aisc-{stranger}")
    until(lambda: centre.state(ours) in ("", "CANCELLED", "COMPLETING"))

    assert centre.state(theirs) in ("PENDING", "RUNNING")
    centre.cluster.run("scancel", str(theirs))


def test_the_cost_on_slurm_does_not_grow_with_the_jobs(centre: Centre) -> None:
    """One squeue and one sinfo a look, however many jobs there are; sacctmgr rests while nothing changes."""

    def calls_in(seconds: float) -> dict[str, int]:
        (centre.home / "calls").write_text("")
        time.sleep(seconds)
        made = (centre.home / "calls").read_text().split()
        return {name: made.count(name) for name in COMMANDS}

    until(lambda: not centre.open_jobs())
    few = calls_in(8)
    jobs = [centre.submit("gmain", "--hold") for _ in range(30)]
    until(lambda: set(jobs) <= centre.open_jobs())
    many = calls_in(8)
    centre.cluster.run("scancel", *map(str, jobs))

    for calls in (few, many):
        assert 5 <= calls["squeue"] <= 9
        assert abs(calls["squeue"] - calls["sinfo"]) <= 1
        assert (calls["sacctmgr"], calls["scontrol"], calls["scancel"]) == (0, 0, 0)
        assert calls["sacct"] <= 1


def test_the_plan_shows_what_the_agent_would_do_and_does_nothing(centre: Centre) -> None:
    """Nothing while Slurm is as wished; after a change by hand, the call that puts it right."""
    environ = {"PATH": os.environ["PATH"], "PORTAL_SETTINGS": str(centre.home / "portal.toml")}

    def shown() -> str:
        return subprocess.run(
            [PORTAL, "slurm", "plan"], env=environ, capture_output=True, text=True, check=True
        ).stdout

    assert shown() == "0 calls, 0 faults\n"
    centre.cluster.run("sacctmgr", "-i", "modify", "qos", "ghour", "set", "GrpTRESMins=billing=7")
    assert shown() == (
        "sacctmgr -i modify qos where name=ghour set GrpTRESMins=billing=60000\n1 calls, 0 faults\n"
    )
    assert centre.limit("ghour") == "billing=7"


def test_the_agent_listens_nowhere(centre: Centre) -> None:
    """It asks and is never asked."""
    inodes = set(listeners.sockets_of(centre.running["agent"].pid))
    assert [one for one in listeners.listeners() if one.inode in inodes] == []


def test_it_ends_when_told_and_its_log_is_lines_of_json(centre: Centre) -> None:
    """SIGTERM: within a second, status 0, no command left; started again it goes on."""
    begun = time.monotonic()
    assert centre.end("agent", signal.SIGTERM) == 0
    assert time.monotonic() - begun < 5
    assert all(line.startswith("{") for line in centre.log("agent").splitlines())
    centre.start("agent")


def test_without_its_token_it_says_so_in_one_line(centre: Centre, tmp_path: Path) -> None:
    """And ends at once."""
    environ = {"PATH": os.environ["PATH"], "PORTAL_HOME": str(tmp_path)}
    (tmp_path / "portal.toml").write_text(f'home = "{tmp_path}"\n')
    done = subprocess.run(
        [PORTAL, "agent"],
        env=environ | {"PORTAL_SETTINGS": str(tmp_path / "portal.toml")},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "agent.token" in done.stderr


def test_at_the_end_the_books_are_whole(centre: Centre) -> None:
    """Every line of the chain holds, and no job of a grant was put aside.

    The cluster may have run jobs of other tests before: those belong to no grant here.
    """
    with centre.store.read() as db:
        assert list(faults(books.chain(db))) == []
        accounts = {repr(grant.account) for grant in programme.grants(db).values()}
    lines = [json.loads(line) for line in centre.log("agent").splitlines() if "job put aside" in line]
    strangers = [line for line in lines if line["why"].startswith("no grant has the account ")]
    assert [line for line in lines if line not in strangers] == []
    assert not accounts & {line["why"].removeprefix("no grant has the account ") for line in strangers}
