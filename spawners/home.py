"""A person's folder on the nodes: made before the job that needs it, and read for what the job said last."""

from __future__ import annotations

import os
import pwd
import re
import stat
from pathlib import Path

from portal.settings import Slurm
from spawners.submission import LOG_FOLDER, Unsubmittable, log_file

_PERSON = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
LOG_TAIL = 1500
"""Bytes of a log that are looked at."""
LOG_LINES = 8


def prepare(settings: Slurm, person: str, unix_user: str) -> Path:
    """The person's folder, made where everybody shares one Unix account.

    Raises:
        Unsubmittable: this process cannot submit as that Unix user, or the person's name cannot be a folder's.
    """
    if unix_user != pwd.getpwuid(os.geteuid()).pw_name:
        raise Unsubmittable(f"unix_user {unix_user!r}")
    if settings.accounts == "own":
        return Path(pwd.getpwnam(unix_user).pw_dir)
    if not _PERSON.fullmatch(person):
        raise Unsubmittable(f"person {person!r}")
    home = _shared(settings, person)
    for folder in (home, home / LOG_FOLDER):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return home


def last_words(settings: Slurm, person: str, job: int) -> str:
    """The last lines of the job's own log, printable characters only; empty if it cannot be read.

    The folder is the person's own: what lies there may be a link, a pipe or a device, and is not opened then.
    """
    if settings.accounts != "shared":
        return ""
    try:
        descriptor = os.open(
            log_file(_shared(settings, person), job), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
        )
    except OSError:
        return ""
    try:
        about = os.fstat(descriptor)
        if not stat.S_ISREG(about.st_mode):
            return ""
        text = os.pread(descriptor, LOG_TAIL, max(0, about.st_size - LOG_TAIL)).decode(errors="replace")
    finally:
        os.close(descriptor)
    lines = ["".join(char for char in line if char.isprintable()) for line in text.splitlines()]
    return "\n".join(lines[-LOG_LINES:])


def _shared(settings: Slurm, person: str) -> Path:
    return settings.people_dir.absolute() / person
