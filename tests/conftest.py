"""What tests share: a real private Slurm, the whole product on it, and the logs that explain a failure.

Each run has homes and ports of its own, so two runs at once do not meet. Everything is started as a child that ends
with pytest, however pytest ends.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, expect, sync_playwright
from sqlalchemy import Engine, create_engine, text

from portal import settings as settings_module
from portal.demo import isolation, postgresql, processes
from portal.demo.bare import Cluster
from portal.demo.cluster import current_user
from portal.demo.identity_provider import sample_people
from portal.demo.processes import taken
from portal.settings import Database, Settings
from portal.store import connect, migrate

CHECKOUT = Path(__file__).resolve().parent.parent
INSTALL = ("/usr/bin/python3", "-B", "-m", "portal.demo.install")

BLOCK = 20
"""Ports that one home may use: the base and those above it."""

LINES = 40
"""Lines of each daemon's log that a failing test shows at most."""

CHROMIUM = "/usr/bin/chromium"
CHROMIUM_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP aisc.test 127.0.0.1, MAP *.aisc.test 127.0.0.1",
)
"""`aisc.test` stands for a production domain, where all our hosts are one site."""

DATABASES = {
    "": ("sqlite",),
    "sqlite": ("sqlite",),
    "postgresql": ("postgresql",),
    "both": ("sqlite", "postgresql"),
}
"""By AISC_TEST_DB: the databases that tests of the store run on. `make test` says both, `make test DB=...` the one."""
CHOSEN = os.environ.get("AISC_TEST_DB", "")
if CHOSEN not in DATABASES:
    raise pytest.UsageError(
        f"AISC_TEST_DB (DB of make test) is {CHOSEN!r}; it can be sqlite, postgresql or both"
    )

homes = pytest.StashKey[list[Path]]()
before = pytest.StashKey[dict[Path, int]]()


@pytest.fixture(scope="session")
def ports() -> Iterator[PortBlocks]:
    """Blocks of free loopback ports, each given to one user only."""
    blocks = PortBlocks()
    yield blocks
    blocks.close()


class PortBlocks:
    """Reserve blocks among all test runs of this machine. An abstract socket is the lock: it dies with its process."""

    def __init__(self) -> None:
        self._locks: list[socket.socket] = []

    def reserve(self) -> int:
        """The base of a block in which no port is in use, below the range of outgoing connections."""
        bases = list(range(20_000, 32_000, BLOCK))
        random.shuffle(bases)
        for base in bases:
            lock = socket.socket(socket.AF_UNIX)
            try:
                lock.bind(f"\0aisc-portal-test-{base}")
            except OSError:
                lock.close()
                continue
            self._locks.append(lock)
            if not any(taken(port) for port in range(base, base + BLOCK)):
                return base
        raise RuntimeError("no block of free ports between 20000 and 32000")

    def close(self) -> None:
        for lock in self._locks:
            lock.close()


def make_home(config: pytest.Config) -> Path:
    """A new folder with a short name, which Slurm's sockets need; its logs are shown when a test fails."""
    home = Path(tempfile.mkdtemp(prefix="aisc-", dir="/tmp"))
    home.chmod(0o755)
    config.stash.setdefault(homes, []).append(home)
    return home


@pytest.fixture(scope="session")
def runtime() -> Path:
    """The Python environment that daemons run from, which the system user can read; installed once a checkout.

    AISC_TEST_RUNTIME=dev takes the developer's environment instead: quicker, where that user can read it.
    """
    if os.environ.get("AISC_TEST_RUNTIME") == "dev":
        return Path(sys.prefix)
    done = subprocess.run(
        [*INSTALL, "runtime"],
        cwd=CHECKOUT,
        env={**os.environ, "PORTAL_RUNTIME": str(_runtime_folder())},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip())


def _runtime_folder() -> Path:
    if os.geteuid() != 0:
        return CHECKOUT / ".run-test" / "runtime"
    return Path(f"/var/lib/aisc-portal-test-{hashlib.sha256(bytes(CHECKOUT)).hexdigest()[:8]}")


@pytest.fixture(scope="session")
def cluster(ports: PortBlocks, runtime: Path, pytestconfig: pytest.Config) -> Iterator[Cluster]:
    """A bare private Slurm, its nodes idle; accounts and QOS are the test's own business."""
    home = make_home(pytestconfig)
    bare = Cluster(home, ports.reserve(), python=runtime / "bin" / "python")
    try:
        bare.start()
        yield bare
    finally:
        bare.stop()
        shutil.rmtree(home)


class Databases:
    """A private PostgreSQL of this test process. `new` copies a database that has its tables already."""

    def __init__(self, home: Path) -> None:
        self.server = postgresql.Server(home, _daemons_user(home), durable=False)
        self._count = 0
        log = home / "server.log"
        with log.open("w") as out:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "portal.demo.postgresql", str(home)],
                cwd=CHECKOUT,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                preexec_fn=isolation.die_with_parent,
            )
        self._await_server(log)
        self._admin = connect(self.server.url("postgres", role=self.server.user))
        engine = connect(Settings(home=home, database=Database(url=self.server.url())).database_url)
        migrate(engine)
        engine.dispose()

    def _await_server(self, log: Path) -> None:
        deadline = time.monotonic() + 60
        while not (self.server.data.exists() and self.server.answers()):
            if self._process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"PostgreSQL does not start: {log.read_text()[-2000:]}", pytrace=False)
            time.sleep(0.05)

    @contextmanager
    def new(self, empty: bool = False) -> Iterator[Database]:
        """A database for one user alone, as settings name it."""
        self._count += 1
        name = f"test{self._count}"
        template = "template0" if empty else postgresql.NAME
        self.run(f"create database {name} owner {postgresql.NAME} template {template}")
        try:
            yield Database(url=self.server.url(name))
        finally:
            self.run(f"drop database {name} with (force)")

    def run(self, statement: str) -> list[Any]:
        """What a statement of the server's superuser answers."""
        with self._admin.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            answer = connection.execute(text(statement))
            return list(answer) if answer.returns_rows else []

    def close(self) -> None:
        self._admin.dispose()
        self._process.send_signal(signal.SIGINT)
        self._process.wait(60)


def _daemons_user(home: Path) -> str:
    return isolation.system_user(home).pw_name if os.getuid() == 0 else current_user()


@pytest.fixture(scope="session")
def databases(pytestconfig: pytest.Config) -> Iterator[Databases]:
    """A private PostgreSQL server. Who asks for it needs it: without the Debian package the test fails."""
    home = make_home(pytestconfig)
    servers = Databases(home)
    try:
        yield servers
    finally:
        servers.close()
        shutil.rmtree(home)


@pytest.fixture(params=DATABASES[CHOSEN])
def database(request: pytest.FixtureRequest) -> Iterator[Database]:
    """The setting `database` of a new database, once for each kind chosen. Call `migrate` on it."""
    with new_database(request, request.param) as setting:
        yield setting


@pytest.fixture(scope="module", params=DATABASES[CHOSEN])
def module_database(request: pytest.FixtureRequest) -> Iterator[Database]:
    """The same, shared by the tests of a module."""
    with new_database(request, request.param) as setting:
        yield setting


@pytest.fixture(scope="module")
def one_database(request: pytest.FixtureRequest) -> Iterator[Database]:
    """The same, of one kind alone."""
    with new_database(request) as setting:
        yield setting


@contextmanager
def new_database(request: pytest.FixtureRequest, kind: str = DATABASES[CHOSEN][0]) -> Iterator[Database]:
    """For fixtures that need one. kind: PostgreSQL where that alone was chosen, else SQLite."""
    if kind == "sqlite":
        yield Database()
        return
    databases: Databases = request.getfixturevalue("databases")
    with databases.new() as setting:
        yield setting


def rows(url: str, query: str, **values: object) -> list[Any]:
    """Read a database of portal or hub beside its owner; in SQLite without making a file."""
    engine = connect(url) if not url.startswith("sqlite:") else _read_only(url)
    try:
        with engine.connect() as connection:
            return [tuple(row) for row in connection.execute(text(query), values)]
    finally:
        engine.dispose()


def _read_only(url: str) -> Engine:
    return create_engine(f"sqlite:///file:{url.removeprefix('sqlite:///')}?mode=ro&uri=true")


class Stack:
    """Everything that `make run` runs, in a home of its own. output: what it printed so far."""

    def __init__(self, home: Path, base: int, runtime: Path, database: str = DATABASES[CHOSEN][0]) -> None:
        self.home, self.base, self.runtime, self.database = home, base, runtime, database
        self.url = f"http://localhost:{base}"
        self.output: list[str] = []
        self._process: subprocess.Popen[str] | None = None

    @property
    def settings(self) -> Settings:
        return settings_module.load(self.home / "portal.toml", {})

    @property
    def cluster(self) -> Cluster:
        """Slurm commands for it; `start` and `stop` are not for it."""
        return Cluster(self.home, self.base)

    @property
    def pid(self) -> int:
        """The process in the foreground."""
        assert self._process
        return self._process.pid

    def start(self, limit: float = 180) -> None:
        """Return when all is up."""
        environ = {"PORTAL_HOME": str(self.home), "PORTAL_PORT": str(self.base), "PORTAL_LEASHED": "1"}
        environ["PORTAL_DATABASE"] = self.database
        self._process = subprocess.Popen(
            self.command,
            cwd=CHECKOUT,
            env={**os.environ, **environ, "PORTAL_RUNTIME": str(self.runtime.parent)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            preexec_fn=isolation.die_with_parent,
        )
        assert self._process.stdout
        for line in self._process.stdout:
            self.output.append(line)
            if line.startswith("Logs:"):
                return
        pytest.fail("".join(self.output), pytrace=False)

    @property
    def command(self) -> list[str]:
        """What starts it: the installer, as `make run` does, or at once in a developer's environment."""
        if self.runtime == Path(sys.prefix):
            return [f"{self.runtime}/bin/portal", "demo", "up", "--leashed"]
        return [*INSTALL, "run"]

    def stop(self, sign: signal.Signals = signal.SIGINT) -> int:
        """End it as Ctrl-C does; the exit status."""
        if self._process is None:
            return 0
        self._process.send_signal(sign)
        rest, _ = self._process.communicate(timeout=120)
        self.output.append(rest)
        status = self._process.returncode
        self._process = None
        return status

    def cut_power(self) -> float:
        """Kill every process at once, jobs included; the time at which it happened."""
        assert self._process
        self._process.send_signal(signal.SIGSTOP)  # so that it cannot stop the rest in order
        now = time.time()
        while lost := processes.ours(self.home):  # again, for what was just being started
            for pid in lost | {self._process.pid}:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self._process.communicate()
        self._process = None
        return now


@pytest.fixture(scope="session")
def stack(ports: PortBlocks, runtime: Path, pytestconfig: pytest.Config) -> Iterator[Stack]:
    """The whole product, shared by all tests of a run: leave it as you found it."""
    yield from _stack(ports, runtime, pytestconfig)


@pytest.fixture
def own_stack(ports: PortBlocks, runtime: Path, pytestconfig: pytest.Config) -> Iterator[Stack]:
    """The whole product for one test alone, not started yet."""
    home = make_home(pytestconfig)
    own = Stack(home, ports.reserve(), runtime)
    try:
        yield own
    finally:
        own.stop()
        shutil.rmtree(home)


def _stack(ports: PortBlocks, runtime: Path, config: pytest.Config) -> Iterator[Stack]:
    home = make_home(config)
    shared = Stack(home, ports.reserve(), runtime)
    try:
        shared.start()
        yield shared
    finally:
        shared.stop()
        shutil.rmtree(home)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One Chromium; each test makes contexts of its own. For a module only: playwright keeps an event loop running."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=list(CHROMIUM_FLAGS))
        yield chromium
        chromium.close()


@contextmanager
def signed_in(
    browser: Browser, stack: Stack, who: str, accept: bool = True, **options: Any
) -> Iterator[BrowserContext]:
    """A browser in which this person has gone through the provider, with whatever came of it on the first page.

    accept: whether to accept the terms, where this is the person's first sign-in. options: of the browser's context.
    """
    usual: dict[str, Any] = {"locale": "en-GB", "viewport": {"width": 1280, "height": 900}}
    context = browser.new_context(**(usual | options))
    page = context.new_page()
    page.goto(f"{stack.url}/")
    page.click("#sign-in")
    page.fill("#login", who)
    page.fill("#password", {person.id: person.password for person in sample_people()}[who])
    page.click("button[type=submit]")
    confirm = page.get_by_role("heading", name="Confirm on your phone")
    expect(confirm.or_(page.get_by_role("heading", name="second factor"))).to_be_visible()
    if confirm.is_visible():
        page.click("button[type=submit]")
        page.wait_for_url("**/services/portal/**")
        if accept and page.url.partition("?")[0].endswith("/welcome"):
            page.check("#accept")
            page.locator("form", has=page.locator("#accept")).locator("button").click()
            page.wait_for_url("**/services/portal/")
    yield context
    context.close()


def _logs(config: pytest.Config) -> list[Path]:
    return [log for home in config.stash.get(homes, []) for log in sorted((home / "logs").glob("*.log"))]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None]:
    """Remember how long each log was, so that a failure shows only what was written since."""
    item.stash[before] = {log: log.stat().st_size for log in _logs(item.config)}
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what the daemons wrote during a test that failed."""
    report = yield
    if report.failed:
        seen = item.stash.get(before, {})
        for log in _logs(item.config):
            with log.open("rb") as text:
                text.seek(min(seen.get(log, 0), log.stat().st_size))
                lines = text.read().decode(errors="replace").splitlines()
            if lines:
                report.sections.append((f"{log.stem} wrote", "\n".join(lines[-LINES:])))
    return report
