"""The home folder of a demonstration: where, whose it is, at which port, and that one process at a time uses it.

Standard library alone: needed before anything is installed.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from portal.terminal import gettext as _

FOR_ROOT = Path("/var/lib/aisc-portal")
MARK = ".aisc-portal"
"""A file in every home folder of ours, so that `make clean` never removes another folder."""

LONGEST = 60
"""Characters. Slurm puts sockets a few levels below, and a socket's path holds no more than 107."""


DEFAULT_PORT = 8000
LAST_PORT = 65_000


class HomeError(Exception):
    """The folder cannot be used. The message is one sentence with the fix."""


def chosen(checkout: Path, environ: dict[str, str]) -> Path:
    """PORTAL_HOME, or the home of the demonstration whose settings PORTAL_SETTINGS names, or .run in the checkout, or for
    root a folder that others can reach as well."""
    if environ.get("PORTAL_HOME"):
        return Path(environ["PORTAL_HOME"]).absolute()
    settings = Path(environ.get("PORTAL_SETTINGS") or "/").absolute()
    if settings.name == "portal.toml" and (settings.parent / "identity-provider").is_dir():
        return settings.parent
    return FOR_ROOT if os.geteuid() == 0 else checkout.absolute() / ".run"


def port(environ: dict[str, str]) -> int:
    """PORTAL_PORT, the first of the ports used, or the usual one.

    Raises:
        HomeError: not a number, or out of range.
    """
    written = environ.get("PORTAL_PORT") or str(DEFAULT_PORT)
    if not (written.isascii() and written.isdecimal() and 1024 <= int(written) <= LAST_PORT):
        raise HomeError(
            _("PORTAL_PORT={value} is not a port: choose a number from 1024 to {last}.").format(
                value=written, last=LAST_PORT
            )
        )
    return int(written)


def database(home: Path, environ: dict[str, str]) -> str:
    """PORTAL_DATABASE, or what the home folder has already: `sqlite` or `postgresql`.

    Raises:
        HomeError: neither of the two, or the home folder has the other one.
    """
    there = (
        "postgresql" if (home / "postgresql").exists() else "sqlite" if (home / "portal.db").exists() else ""
    )
    asked = environ.get("PORTAL_DATABASE") or there or "sqlite"
    if asked not in ("sqlite", "postgresql"):
        raise HomeError(
            _("PORTAL_DATABASE={value} is not known: choose sqlite or postgresql.").format(value=asked)
        )
    if asked != (there or asked):
        raise HomeError(
            _(
                "The folder {folder} keeps its state in {database}: remove it with make clean, or set PORTAL_HOME to"
                " another folder."
            ).format(folder=home, database=there)
        )
    return asked


def make(home: Path) -> None:
    """Make a home folder, or accept one that is ours.

    Raises:
        HomeError: too long a name, somebody else's, or not writable.
    """
    if len(str(home)) > LONGEST:
        raise HomeError(
            _(
                "The folder {folder} has too long a name for Slurm's sockets: set PORTAL_HOME to one of at most"
                " {longest} characters."
            ).format(folder=home, longest=LONGEST)
        )
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o755)
        if not (home / MARK).exists():
            if any(home.iterdir()):
                raise HomeError(
                    _(
                        "The folder {folder} holds other things: set PORTAL_HOME to a new or an empty folder."
                    ).format(folder=home)
                )
            (home / MARK).touch()
    except OSError as error:
        raise _unusable(home, error) from None


def remove(home: Path) -> bool:
    """Remove a home folder with all its state; False if there is none.

    Raises:
        HomeError: something runs in it, or it is not ours.
    """
    if not home.exists():
        return False
    if not (home / MARK).exists():
        raise HomeError(
            _(
                "The folder {folder} is not one of ours, so it stays: remove it by hand if you mean to."
            ).format(folder=home)
        )
    try:
        with locked(home):
            shutil.rmtree(home)
    except OSError as error:
        raise HomeError(
            _("{path} cannot be removed ({reason}): try again as its owner.").format(
                path=error.filename, reason=error.strerror
            )
        ) from None
    return True


def _unusable(home: Path, error: OSError) -> HomeError:
    return HomeError(
        _("The folder {folder} cannot be used ({reason}): set PORTAL_HOME to a folder of yours.").format(
            folder=home, reason=error.strerror
        )
    )


@contextmanager
def locked(home: Path) -> Iterator[None]:
    """Hold the home folder for this process alone; the lock dies with the process.

    Raises:
        HomeError: another process holds it, or it cannot be written.
    """
    try:
        descriptor = os.open(home / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise _unusable(home, error) from None
    with os.fdopen(descriptor, "r+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise HomeError(
                _(
                    "It already runs in {folder} (process {process}): stop that one first, or set PORTAL_HOME to"
                    " another folder and PORTAL_PORT to another port."
                ).format(folder=home, process=lock.read().strip() or "?")
            ) from None
        lock.seek(0)
        lock.truncate()
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield


def running(home: Path) -> bool:
    """Whether a foreground process holds this home folder."""
    try:
        with (home / "lock").open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
