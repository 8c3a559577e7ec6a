"""What tests share: a real private Slurm, the whole product on it, and the logs that explain a failure.

Each run has homes and ports of its own, so two runs at once do not meet. Everything is started as a child that ends
with pytest, however pytest ends.
"""

from __future__ import annotations

import random
import shutil
import socket
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from portal.demo.cluster import Cluster
from portal.demo.processes import taken

BLOCK = 20
"""Ports that one home may use: the base and those above it."""

LINES = 40
"""Lines of each daemon's log that a failing test shows at most."""

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
def cluster(ports: PortBlocks, pytestconfig: pytest.Config) -> Iterator[Cluster]:
    """A bare private Slurm, its nodes idle; accounts and QOS are the test's own business."""
    home = make_home(pytestconfig)
    bare = Cluster(home, ports.reserve())
    try:
        bare.start()
        yield bare
    finally:
        bare.stop()
        shutil.rmtree(home)


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
