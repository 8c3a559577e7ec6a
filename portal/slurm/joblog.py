"""The end of a session's own log, as far as it may be read, cleaned of what could open anything."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from portal.settings import Slurm

LOG_FOLDER = ".aisc"
"""Folder of the sessions' logs in a person's home, for nobody else's eyes."""
LOG_TAIL = 1500
"""Bytes of a log that are looked at."""
LOG_LINES = 8

# nothing may stand open-ended before a word: a log of one long word would take minutes, and is its writer's to choose
_SECRETS = (
    re.compile(r"(?i)\b(bearer|token|basic)\s+[\w.~+/=-]{8,}"),
    re.compile(
        r"(?i)((?:token|secret|password|passwd|api[_-]?key|code|state)[\w-]{0,60}[\"']?\s*[=:]\s*)[^\s&,;]+"
    ),
    re.compile(r"(://[^/\s:@]+:)[^/\s@]+(?=@)"),
    re.compile(r"\b()eyJ[\w-]{5,}(?:\.[\w-]+){1,2}"),
    re.compile(r"\b()[0-9a-fA-F]{32,}\b"),
)
HIDDEN = "[removed]"


def log_file(home: Path, job: int) -> Path:
    return home / LOG_FOLDER / f"session-{job}.log"


def shared_home(settings: Slurm, person: str) -> Path:
    """A person's folder, where everybody shares one Unix account."""
    return settings.people_dir.absolute() / person


def last_words(settings: Slurm, person: str, job: int) -> str:
    """The last lines of the job's own log, printable characters only, without secrets; empty if it cannot be read.

    With Unix accounts of their own, only the person may read it. The folder is the person's: what lies there may be a
    link, a pipe or a device, and is not opened then.
    """
    if settings.accounts != "shared":
        return ""
    try:
        descriptor = _open(log_file(shared_home(settings, person), job))
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
    return clean("\n".join(lines[-LOG_LINES:]))


def _open(log: Path) -> int:
    """A descriptor of the log. Neither it nor its folder is followed elsewhere: both names are in the person's hands.

    Raises:
        OSError.
    """
    folder = os.open(log.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        return os.open(log.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    finally:
        os.close(folder)


def clean(text: str) -> str:
    """The text without tokens, passwords and keys: what looks like one is taken out, rather once too often."""
    for pattern in _SECRETS:
        text = pattern.sub(_hidden, text)
    return text


def _hidden(found: re.Match[str]) -> str:
    kept = found.group(1)
    return f"{kept} {HIDDEN}" if kept.isalpha() else f"{kept}{HIDDEN}"
