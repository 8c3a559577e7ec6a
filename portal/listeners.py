"""What listens: every socket of a set of processes, beside the listeners that are known and why they exist.

Standard library alone, from /proc. Whoever decides on a port or a socket says why it is there (`Known`); a listener that
nobody knows, or that can be reached from outside this machine, is called out.
"""

from __future__ import annotations

import ipaddress
import pwd
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from portal.terminal import gettext as _

TABLES = {"tcp": "0A", "tcp6": "0A", "udp": "07", "udp6": "07"}
"""Tables of /proc/net, and the state in which a socket takes what comes."""
ACCEPTING = 0x10000
"""Flag of a Unix socket that listens."""
DATAGRAM = "0002"


@dataclass(frozen=True)
class Listener:
    """A socket that takes connections, or datagrams. kind: tcp, udp or unix. port: 0 for unix.

    address: of a network, or the path of a Unix socket; an abstract one begins with @.
    """

    kind: str
    address: str
    port: int
    inode: int

    @property
    def loopback(self) -> bool:
        """Whether nobody outside this machine reaches it."""
        if self.kind == "unix":
            return True
        address = ipaddress.ip_address(self.address)
        mapped = getattr(address, "ipv4_mapped", None)
        return bool((mapped or address).is_loopback)

    @property
    def place(self) -> str:
        """As people write it: 127.0.0.1:8000, [::1]:8000, or a path."""
        if self.kind == "unix":
            return self.address
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


@dataclass(frozen=True)
class Known:
    """A listener that is meant to be. place: as `Listener.place` has it; * stands for anything.

    why: one English sentence, marked for translation. program: part of the command line of whoever holds it. open:
    whether other machines are meant to reach it.
    """

    place: str
    why: str
    program: str = ""
    open: bool = False


@dataclass(frozen=True)
class Found:
    """A listener with the process that holds it, and why it exists; or, where `why` is empty, a fault."""

    listener: Listener
    pid: int
    program: str
    owner: str
    why: str
    open: bool = False

    @property
    def well(self) -> bool:
        return bool(self.why) and not self._exposed

    @property
    def _exposed(self) -> bool:
        return not (self.listener.loopback or self.open)

    @property
    def line(self) -> str:
        """One line for people."""
        told = self.why or _(
            "Nothing of this product is known to listen here: find out what this process does."
        )
        if self._exposed:
            told = f"{told} {_('It can be reached from other machines: let it listen on loopback only.')}"
        mark = "ok  " if self.well else "FAIL"
        return f"{mark}  {self.listener.kind:4}  {self.listener.place}  {self.program} ({self.pid}, {self.owner}): {told}"


def survey(pids: Iterable[int], known: Sequence[Known]) -> list[Found]:
    """Every listener of these processes, each once, in the order of kinds and places."""
    there = {listener.inode: listener for listener in [*listeners(), *unix_listeners()]}
    found: dict[int, Found] = {}
    for pid in sorted(pids):
        for inode in sorted(sockets_of(pid) & there.keys() - found.keys()):
            listener, command = there[inode], command_line(pid)
            fits = next((one for one in known if _fits(one, listener, command)), None)
            why, meant = (_(fits.why), fits.open) if fits else ("", False)
            found[inode] = Found(listener, pid, name(pid), owner(pid), why, meant)
    return sorted(found.values(), key=lambda one: (one.listener.kind, one.listener.port, one.listener.place))


def _fits(known: Known, listener: Listener, command: str) -> bool:
    return fnmatchcase(listener.place, known.place) and known.program in command


def listeners() -> list[Listener]:
    """Every TCP and UDP socket of this machine that takes connections or datagrams."""
    found = []
    for table, state in TABLES.items():
        for fields in _rows(table):
            if fields[3] == state:
                address, port = fields[1].split(":")
                found.append(Listener(table[:3], decoded(address), int(port, 16), int(fields[9])))
    return found


def unix_listeners() -> list[Listener]:
    """Every Unix socket of this machine that takes connections, or datagrams under a name."""
    found = []
    for fields in _rows("unix", 7):
        path = fields[7] if len(fields) > 7 else ""
        if int(fields[3], 16) & ACCEPTING or (fields[4] == DATAGRAM and path):
            found.append(Listener("unix", path, 0, int(fields[6])))
    return found


def decoded(written: str) -> str:
    """An address as /proc/net writes it: hex, words of four bytes each the wrong way round."""
    words = [bytes.fromhex(written[start : start + 8])[::-1] for start in range(0, len(written), 8)]
    return str(ipaddress.ip_address(b"".join(words)))


def sockets_of(pid: int) -> set[int]:
    """Inodes of the sockets a process holds; empty where we may not look."""
    held = set()
    try:
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            target = str(entry.readlink())
            if target.startswith("socket:["):
                held.add(int(target[8:-1]))
    except OSError:
        pass
    return held


def name(pid: int) -> str:
    """The short name of a process; of its program, where it is Node, which names its thread instead."""
    short = _read(pid, "comm").strip()
    return Path(command_line(pid).split(" ")[0]).name if short == "MainThread" else short


def command_line(pid: int) -> str:
    """Its words, with spaces between them."""
    return _read(pid, "cmdline").replace("\0", " ").strip()


def owner(pid: int) -> str:
    """The Unix user it runs as; the number where there is no name for it."""
    try:
        number = Path(f"/proc/{pid}").stat().st_uid
    except OSError:
        return "?"
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def _rows(table: str, splits: int = -1) -> list[list[str]]:
    try:
        lines = Path(f"/proc/net/{table}").read_text(errors="replace").splitlines()[1:]
    except OSError:
        return []
    return [line.split(maxsplit=splits) for line in lines]


def _read(pid: int, what: str) -> str:
    try:
        return Path(f"/proc/{pid}/{what}").read_text(errors="replace")
    except OSError:
        return ""
