"""A registered session to the arguments of sbatch. Pure, but for reading the batch script once at import.

The script is the same for everybody. A value reaches Slurm only as one argument of its own, and only if it has the
shape it should have, so that what the portal answers cannot become an option or a second line (facts-stack R10).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from portal.client import SESSION_NAME, Admitted
from portal.slurm.joblog import LOG_FOLDER

_HERE = Path(__file__).parent
SCRIPT = (_HERE / "session.sh").read_text().replace("@node.py@", (_HERE / "node.py").read_text()).encode()
"""The batch script of every session."""
WARNING_SECONDS = 600

_SHAPES = {
    "id": re.compile(r"[A-Za-z0-9_-]{8,64}"),
    "account": re.compile(r"[a-z0-9][a-z0-9_-]{0,63}"),
    "qos": re.compile(r"[a-z0-9][a-z0-9_-]{0,63}"),
    "partition": re.compile(r"[a-z][a-z0-9_-]{0,63}"),
    "gres": re.compile(r"(|(gpu|shard)(:[a-z0-9_-]{1,32})?:[1-9][0-9]{0,4})"),
}
_RANGES = {"cores": 4096, "memory_mb": 64_000_000, "minutes": 366 * 24 * 60}
_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")
_FOLDER = re.compile(r"/[A-Za-z0-9/._-]{1,200}")


class Unsubmittable(Exception):
    """The portal admitted what cannot be submitted here. The message names the field, for the log."""


def job_name(session: str) -> str:
    return f"{SESSION_NAME}{session}"


def arguments(session: Admitted, home: Path, variables: Iterable[str]) -> list[str]:
    """The options of sbatch for a session. home: the person's folder. variables: names to export.

    Raises:
        Unsubmittable: a value is not of the shape it must have.
    """
    _check(session)
    if not _FOLDER.fullmatch(str(home)) or ".." in home.parts:
        raise Unsubmittable(f"home folder {str(home)!r}")
    names = sorted(variables)
    if wrong := [name for name in names if not _VARIABLE.fullmatch(name)]:
        raise Unsubmittable(f"variables {wrong!r}")
    options = {
        "job-name": session.job_name,
        "account": session.account,
        "qos": session.qos,
        "partition": session.partition,
        "gres": session.gres,
        "nodes": "1",
        "ntasks": "1",
        "cpus-per-task": str(session.cores),
        "mem": f"{session.memory_mb}M",
        "time": str(session.minutes),
        "signal": f"B:USR1@{WARNING_SECONDS}",
        "chdir": str(home),
        "output": f"{home}/{LOG_FOLDER}/session-%j.log",
        "open-mode": "append",
        "export": ",".join(names),
    }
    return ["--parsable", "--no-requeue", *(f"--{name}={value}" for name, value in options.items() if value)]


def variables(session: Admitted, home: Path, python: Path) -> dict[str, str]:
    """What the job gets by name, beside the hub's own variables for a server: whose it is. No secret of the hub.

    python: the interpreter of the environment that JupyterLab runs from.
    """
    return {
        "HOME": str(home),
        "USER": session.unix_user,
        "LOGNAME": session.unix_user,
        "SHELL": "/bin/bash",
        "LANG": "C.UTF-8",
        "JUPYTERHUB_ROOT_DIR": str(home),
        "AISC_SESSION": session.id,
        "AISC_PYTHON": str(python),
    }


def job_id(printed: str) -> int | None:
    """The job id in what `sbatch --parsable` printed (`1234` or `1234;cluster`), None if there is none."""
    last = printed.strip().splitlines()[-1:] or [""]
    found = re.fullmatch(r"([1-9][0-9]{0,9})(;[A-Za-z0-9_-]+)?", last[0].strip())
    return int(found[1]) if found else None


def complaint(stderr: str) -> str:
    """What Slurm itself said last, fit to show: one line, without the name of the command."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    last = re.sub(r"^\S*sbatch: (error: )?", "", lines[-1]) if lines else ""
    return "".join(char for char in last if char.isprintable())[:200]


def _check(session: Admitted) -> None:
    for field, shape in _SHAPES.items():
        if not shape.fullmatch(getattr(session, field)):
            raise Unsubmittable(f"{field} {getattr(session, field)!r}")
    for field, most in _RANGES.items():
        if not 0 < getattr(session, field) <= most:
            raise Unsubmittable(f"{field} {getattr(session, field)!r}")
    if session.job_name != job_name(session.id):
        raise Unsubmittable(f"job_name {session.job_name!r}")
