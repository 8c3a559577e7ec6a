"""A person's folder on the nodes: made before the job that needs it."""

from __future__ import annotations

import os
import pwd
import re
from pathlib import Path

from portal.settings import Slurm
from portal.slurm.joblog import LOG_FOLDER, shared_home
from spawners.submission import Unsubmittable

_PERSON = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


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
    home = shared_home(settings, person)
    for folder in (home, home / LOG_FOLDER):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return home
