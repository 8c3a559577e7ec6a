"""Runs Slurm's commands: argv only, an environment of four variables, a time limit, nothing left behind.

Every call is a coroutine that waits without blocking the event loop, and raises `SlurmError` when the command fails,
does not exist or takes too long. A cancelled call kills its command and stays cancelled: cancellation never becomes
another error, or a caller would take "I was told to stop" for "Slurm has no such job" (facts-stack.md R2).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from portal import settings as portal_settings

SHORT_SECONDS = 20.0
"""Time limit of a command that reads slurmctld."""
LONG_SECONDS = 120.0
"""Time limit of a command that reads or changes slurmdbd, which may scan weeks of jobs."""
_JOB = re.compile(r"[0-9]+(_[0-9]+)?")
MESSAGE_LENGTH = 300
MAX_ARGUMENT_BYTES = 100_000
"""Longest argument we hand over; the kernel refuses one of 128 KiB."""


class SlurmError(Exception):
    """A Slurm command failed. The message is one short line; it holds no argument and no environment.

    argv0: the command's name. rc: its exit status, None if it never ended by itself. stderr: all that it said.
    """

    def __init__(self, argv0: str, rc: int | None, stderr: str) -> None:
        self.argv0, self.rc, self.stderr = argv0, rc, stderr
        said = next((line.strip() for line in stderr.splitlines() if line.strip()), "said nothing")
        clean = "".join(char if char.isprintable() else "?" for char in said)[:MESSAGE_LENGTH]
        super().__init__(f"{argv0} failed ({'no exit status' if rc is None else rc}): {clean}")


class SlurmTimeout(SlurmError):
    """A Slurm command did not end in time and was killed: what it did is unknown."""

    def __init__(self, argv0: str, seconds: float) -> None:
        super().__init__(argv0, None, f"no answer within {seconds:g} s")


@dataclass(frozen=True)
class Slurm:
    """One cluster's commands. conf: its slurm.conf. bin: folder of the commands."""

    conf: Path
    bin: Path = Path("/usr/bin")

    @classmethod
    def of(cls, settings: portal_settings.Slurm) -> Self:
        return cls(conf=settings.conf.absolute(), bin=settings.bin.absolute())

    async def squeue(self, *arguments: str) -> str:
        return await self.run("squeue", *arguments)

    async def sinfo(self, *arguments: str) -> str:
        return await self.run("sinfo", *arguments)

    async def scontrol(self, *arguments: str) -> str:
        return await self.run("scontrol", *arguments)

    async def sdiag(self) -> str:
        return await self.run("sdiag")

    async def sacct(self, *arguments: str) -> str:
        """Run sacct; its times are whole seconds since 1970."""
        return await self.run("sacct", *arguments, extra={"SLURM_TIME_FORMAT": "%s"}, seconds=LONG_SECONDS)

    async def sacctmgr_show(self, *arguments: str) -> str:
        """Run `sacctmgr -nP show ...`: no header, fields divided by `|`."""
        return await self.run("sacctmgr", "-nP", "show", *arguments, seconds=LONG_SECONDS)

    async def sacctmgr_change(self, *arguments: str) -> str:
        """Run `sacctmgr -i add|modify ...`: at once, without a question."""
        return await self.run("sacctmgr", "-i", *arguments, seconds=LONG_SECONDS)

    async def scancel(self, ids: Iterable[int | str], *arguments: str) -> None:
        """Cancel these jobs, or tasks of arrays named `7_3`. One that has ended already is no error.

        The number of an array stands for all its tasks, those that run too.
        """
        named = [str(id) for id in ids]
        if wrong := [name for name in named if not _JOB.fullmatch(name)]:
            raise ValueError(f"{wrong[0][:40]!r} does not name a job")
        if named:
            await self.run("scancel", "--quiet", *arguments, *named)

    async def sbatch(
        self, arguments: Sequence[str], script: bytes, variables: Mapping[str, str] | None = None
    ) -> str:
        """Submit a script and return what sbatch prints (with `--parsable`: the job id).

        variables: what the job may see besides, to be named in `--export`. Not those that steer Slurm's commands.

        If this call is cancelled nobody knows whether the job was accepted: shield it, or look for the job's name.
        """
        extra = dict(variables or {})
        steering = [name for name in extra if name.startswith(("SBATCH_", "SLURM_")) or name in self._base()]
        if steering:
            raise ValueError(f"sbatch may not be given {', '.join(sorted(steering))}")
        return await self.run("sbatch", *arguments, extra=extra, stdin=script)

    async def run(
        self,
        program: str,
        *arguments: str,
        stdin: bytes = b"",
        extra: Mapping[str, str] | None = None,
        seconds: float = SHORT_SECONDS,
    ) -> str:
        """Run one command to its end and return what it printed; bytes that are not UTF-8 become U+FFFD.

        Raises:
            SlurmError: exit status other than 0, or no such command.
            SlurmTimeout: not ended within `seconds`; it was killed.
        """
        argv = [str(self.bin / program), *arguments]
        if any("\0" in word or len(word.encode()) > MAX_ARGUMENT_BYTES for word in argv):
            raise ValueError(f"{program}: an argument is too long or contains a null character")
        try:
            process = await asyncio.create_subprocess_exec(
                *argv,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=self._base() | dict(extra or {}),
                cwd="/",
                start_new_session=True,
            )
        except OSError as error:
            raise SlurmError(program, None, f"cannot run {argv[0]}: {error.strerror}") from None
        out, err = await _finish(process, stdin, program, seconds)
        if process.returncode != 0:
            raise SlurmError(program, process.returncode, err.decode(errors="replace"))
        return out.decode(errors="replace")

    def _base(self) -> dict[str, str]:
        return {
            "PATH": f"{self.bin}:/usr/bin:/bin",
            "SLURM_CONF": str(self.conf),
            "TZ": "UTC",
            "LC_ALL": "C.UTF-8",
        }


async def _finish(
    process: asyncio.subprocess.Process, stdin: bytes, program: str, seconds: float
) -> tuple[bytes, bytes]:
    """Wait for the end; whatever cuts the wait short, the command is killed and reaped before this returns."""
    talk = asyncio.ensure_future(process.communicate(stdin))
    try:
        await asyncio.wait({talk}, timeout=seconds)
        if talk.done():
            return talk.result()
    finally:
        if not talk.done():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await asyncio.shield(talk)
    raise SlurmTimeout(program, seconds)
