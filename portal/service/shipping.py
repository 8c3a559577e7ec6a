"""Ships every line of the audit off to another place: syslog (RFC 5424 over TCP), or a file.

Nothing is lost: a line counts as shipped only when the file is on its disk, or the receiver has read the connection to its
end and closed it; how far that is stands in a file of ours, not in the database, so that a database cut short is noticed.
After a break a receiver may get a line twice; each bears its number and its hash.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import ssl
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from portal.audit import CUT_SHORT, NOT_SHIPPED, Fault, Link, line, read_line
from portal.audit.kinds import ALARM
from portal.settings import Settings
from portal.store import Db, Store, audit

log = logging.getLogger("portal.audit")

AT_ONCE = 500
WAIT_SECONDS = 10
LOG_AUDIT = 13
"""The syslog facility "log audit"."""
NOTICE, WARNING = 5, 4


class ShippingError(Exception):
    """Lines cannot be shipped. The message says why, and what to look at."""


class Tampered(ShippingError):
    """The database no longer holds what was shipped."""


@dataclass(frozen=True)
class Mark:
    """How far was shipped: number and hash of the last line, and where to."""

    number: int
    hash: str
    ship: str


def mark(settings: Settings) -> Mark | None:
    """How far was shipped to the place that is set; None if nothing was."""
    shipped = None
    with suppress(OSError, ValueError, TypeError):
        found = Mark(**json.loads(_mark_file(settings).read_text()))
        shipped = found if found.ship == settings.audit.ship else None
    last = _last_in_file(settings)
    if last and (shipped is None or last.number > shipped.number):
        return Mark(last.number, last.hash, settings.audit.ship)
    return shipped


def _mark_file(settings: Settings) -> Path:
    return settings.home / "audit-shipped.json"


def _last_in_file(settings: Settings) -> Link | None:
    """The last whole line of the shipped file, where that is the place."""
    path = _file(settings)
    if path is None or not path.is_file():
        return None
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 100_000))
        lines = file.read().decode(errors="replace").splitlines()
    return next((found for found in map(read_line, reversed(lines)) if found), None)


def _file(settings: Settings) -> Path | None:
    ship = settings.audit.ship
    return Path(ship.removeprefix("file:")) if ship.startswith("file:") else None


def missing(db: Db, shipped: Mark | None) -> Fault | None:
    """What is wrong where the database no longer holds what was shipped."""
    if shipped is None:
        return None
    there = audit.at_number(db, shipped.number)
    if there is None:
        last = audit.head(db)
        return Fault(last.number + 1 if last else 1, CUT_SHORT)
    return None if there.hash == shipped.hash else Fault(shipped.number, NOT_SHIPPED)


@dataclass(frozen=True)
class Behind:
    """How far shipping is behind: lines that wait, seconds that the oldest of them has waited, and what is wrong."""

    waiting: int
    oldest: int = 0
    fault: Fault | None = None


def behind(settings: Settings, db: Db, now: int) -> Behind:
    shipped, last = mark(settings), audit.head(db)
    done = shipped.number if shipped else 0
    if (fault := missing(db, shipped)) or last is None or last.number <= done:
        return Behind(0, fault=fault)
    oldest = audit.at_number(db, done + 1)
    return Behind(last.number - done, max(0, now - oldest.event.at) if oldest else 0)


def ship(settings: Settings, store: Store) -> int:
    """Ship what is not shipped yet; the number of lines.

    Raises:
        ShippingError: the place cannot be reached, or the database no longer holds what was shipped.
    """
    if not settings.audit.ship:
        return 0
    sent, shipped = 0, mark(settings)
    while True:
        with store.read() as db:
            if fault := missing(db, shipped):
                raise Tampered(f"the audit was tampered with: {fault}")
            links = list(audit.chain(db, after=shipped.number if shipped else 0, most=AT_ONCE))
        if not links:
            return sent
        try:
            _send(settings, links)
            shipped = Mark(links[-1].number, links[-1].hash, settings.audit.ship)
            _keep(_mark_file(settings), json.dumps(vars(shipped)))
        except OSError as error:
            raise ShippingError(f"{settings.audit.ship}: {error}") from None
        sent += len(links)


def _send(settings: Settings, links: list[Link]) -> None:
    path = _file(settings)
    if path:
        _append(path, "".join(f"{line(item)}\n" for item in links))
    else:
        _syslog(settings, (_message(settings, item) for item in links))


def _append(path: Path, text: str) -> None:
    """Opened each time, so that a file that was moved away is begun anew; a torn line before is closed off."""
    with open(path, "ab", opener=lambda name, flags: os.open(name, flags | os.O_CREAT, 0o600)) as file:
        if path.stat().st_size and not _ends_whole(path):
            file.write(b"\n")
        file.write(text.encode())
        file.flush()
        os.fsync(file.fileno())


def _ends_whole(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


def _syslog(settings: Settings, messages: Iterable[bytes]) -> None:
    """Octet counting (RFC 6587). The receiver has read everything when it closes after we said that no more comes."""
    parts = urlsplit(settings.audit.ship)
    with socket.create_connection((parts.hostname or "", parts.port or 0), WAIT_SECONDS) as plain:
        if parts.scheme == "syslog":
            plain.sendall(b"".join(b"%d %s" % (len(one), one) for one in messages))
            plain.shutdown(socket.SHUT_WR)
            _read_to_the_end(plain)
            return
        context = ssl.create_default_context(cafile=settings.audit.ship_ca or None)
        with context.wrap_socket(plain, server_hostname=parts.hostname) as secured:
            secured.sendall(b"".join(b"%d %s" % (len(one), one) for one in messages))
            with suppress(
                ssl.SSLEOFError
            ):  # it closes without a farewell of TLS: closed in order all the same
                secured.unwrap()


def _read_to_the_end(plain: socket.socket) -> None:
    while plain.recv(4096):
        pass


def _message(settings: Settings, item: Link) -> bytes:
    severity = WARNING if item.event.what.startswith(ALARM) else NOTICE
    at = datetime.fromtimestamp(item.event.at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    host = (urlsplit(settings.web.url).hostname or "-")[:255]
    kind = item.event.what[:32] or "-"
    return f"<{LOG_AUDIT * 8 + severity}>1 {at} {host} aisc-portal - {kind} - {line(item)}".encode()


def _keep(path: Path, text: str) -> None:
    beside = path.with_suffix(".new")
    with open(beside, "w", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
