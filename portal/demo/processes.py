"""The processes of one home folder, as /proc shows them: which are ours, where they listen, who holds a port.

Standard library alone. A process is ours if it was started with the mark of the home folder, or an ancestor was.
slurmstepd writes its title over its environment, so it is known by the log it holds open; jobs carry the mark again.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from pathlib import Path

from portal.listeners import listeners, sockets_of

MARK = "PORTAL_PROCESS_OF"
"""Environment variable that every supervised process and its children carry; its value is the home folder."""


def holder(port: int) -> str:
    """Name the program that listens on a port, such as `python3 (process 812)`; empty where it cannot be seen."""
    inodes = {listener.inode for listener in listeners() if (listener.kind, listener.port) == ("tcp", port)}
    for pid in pids():
        if inodes & sockets_of(pid):
            return f"{_read(pid, 'comm').strip()} (process {pid})"
    return ""


def taken(port: int) -> bool:
    """Whether something already listens there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def ours(home: Path, settings: Path | None = None) -> set[int]:
    """Processes that belong to a home folder, without the one that asks and its ancestors.

    settings: a settings file; processes that were told to read it are ours as well, whoever started them.
    """
    marks = {f"{MARK}={home}".encode(), f"PORTAL_SETTINGS={settings or ''}".encode()} - {b"PORTAL_SETTINGS="}
    parents = {pid: _parent(pid) for pid in pids()}
    marked = {pid for pid in parents if marks & set(_environment(pid)) or _is_step(pid, home)}
    found = {pid for pid in parents if _lineage(pid, parents) & marked}
    return found - _lineage(os.getpid(), parents)


def _is_step(pid: int, home: Path) -> bool:
    if _read(pid, "comm").strip() != "slurmstepd":
        return False
    try:
        return any(entry.readlink().is_relative_to(home) for entry in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return False


def end(home: Path, patience: float = 5) -> None:
    """End every process of a home folder: asked first, killed after `patience` seconds."""
    _send(ours(home), signal.SIGTERM)
    deadline = time.monotonic() + patience
    while left := ours(home):
        if time.monotonic() > deadline:
            _send(left, signal.SIGKILL)
        time.sleep(0.1)
        if time.monotonic() > deadline + 10:
            return


def _send(targets: set[int], sign: signal.Signals) -> None:
    for pid in targets:
        try:
            os.kill(pid, sign)
        except (ProcessLookupError, PermissionError):
            continue


def _lineage(pid: int, parents: dict[int, int]) -> set[int]:
    line: set[int] = set()
    while pid > 1 and pid not in line:
        line.add(pid)
        pid = parents.get(pid, 0)
    return line


def _parent(pid: int) -> int:
    after_name = _read(pid, "stat").rpartition(")")[2].split()
    return int(after_name[1]) if len(after_name) > 1 and after_name[0] != "Z" else 0


def _environment(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []


def _read(pid: int, name: str) -> str:
    try:
        return Path(f"/proc/{pid}/{name}").read_text(errors="replace")
    except OSError:
        return ""
