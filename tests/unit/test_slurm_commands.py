"""How Slurm's commands are run. The programs here are small stand-ins on a path of their own."""

import asyncio
import os
import time
from pathlib import Path

import pytest

from portal.slurm.commands import Slurm, SlurmError, SlurmTimeout


def slurm(tmp_path: Path, program: str, script: str) -> Slurm:
    path = tmp_path / program
    path.write_text(f"#!/bin/bash\n{script}\n")
    path.chmod(0o755)
    return Slurm(conf=tmp_path / "slurm.conf", bin=tmp_path)


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


async def started(pid_file: Path) -> int:
    while not pid_file.exists() or not pid_file.read_text():
        await asyncio.sleep(0.01)
    return int(pid_file.read_text())


async def test_a_command_sees_four_variables_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of our own environment, such as a secret, reaches squeue."""
    monkeypatch.setenv("JUPYTERHUB_CRYPT_KEY", "secret")
    seen = await slurm(tmp_path, "squeue", "env | grep -v -e ^_= -e ^PWD= -e ^SHLVL= | sort").squeue()

    assert seen.split() == [
        "LC_ALL=C.UTF-8",
        f"PATH={tmp_path}:/usr/bin:/bin",
        f"SLURM_CONF={tmp_path / 'slurm.conf'}",
        "TZ=UTC",
    ]


async def test_sacct_tells_times_as_seconds(tmp_path: Path) -> None:
    """sacct, and only sacct, is told to print epoch seconds."""
    assert await slurm(tmp_path, "sacct", "echo $SLURM_TIME_FORMAT").sacct() == "%s\n"


async def test_arguments_reach_the_command_as_they_are(tmp_path: Path) -> None:
    """No shell reads them."""
    hostile = "$(touch x); `id` \n'\"*"
    assert await slurm(tmp_path, "squeue", 'printf %s "$1"').squeue(hostile) == hostile


async def test_sbatch_gets_the_script_and_the_variables_of_the_session(tmp_path: Path) -> None:
    """The script comes through standard input, the variables through the environment."""
    cluster = slurm(tmp_path, "sbatch", "cat; echo $TOKEN")
    assert await cluster.sbatch(["--parsable"], b"#!/bin/sh\n", {"TOKEN": "t"}) == "#!/bin/sh\nt\n"


@pytest.mark.parametrize("name", ["SBATCH_QOS", "SLURM_CONF", "PATH", "TZ"])
async def test_a_session_variable_that_would_steer_sbatch_is_refused(tmp_path: Path, name: str) -> None:
    """A variable such as SBATCH_QOS would change what is submitted."""
    with pytest.raises(ValueError, match=name):
        await slurm(tmp_path, "sbatch", "true").sbatch([], b"", {name: "x"})


async def test_a_failure_is_told_in_one_line(tmp_path: Path) -> None:
    """The message is the first line that the command said, without control characters."""
    with pytest.raises(SlurmError) as caught:
        await slurm(tmp_path, "scancel", r"printf '\n bad\033[2Jthing\nmore\n' >&2; exit 3").scancel([7])

    assert str(caught.value) == "scancel failed (3): bad?[2Jthing"
    assert (caught.value.argv0, caught.value.rc) == ("scancel", 3)
    assert "more" in caught.value.stderr


async def test_a_missing_command_is_a_slurm_error(tmp_path: Path) -> None:
    """Slurm not being installed looks like any other failure of Slurm."""
    with pytest.raises(SlurmError, match=r"cannot run .*squeue: No such file"):
        await Slurm(conf=tmp_path, bin=tmp_path).squeue()


async def test_a_command_that_hangs_is_killed_with_its_children(tmp_path: Path) -> None:
    """After the time limit nothing of it is left."""
    pid_file = tmp_path / "pid"
    cluster = slurm(tmp_path, "squeue", f"sleep 60 & echo $! > {pid_file}; wait")
    with pytest.raises(SlurmTimeout, match=r"no answer within 0\.5 s"):
        await cluster.run("squeue", seconds=0.5)
    child = await started(pid_file)
    for _ in range(100):
        if gone(child):
            break
        await asyncio.sleep(0.01)

    assert gone(child) or Path(f"/proc/{child}/stat").read_text().split()[2] == "Z"


async def test_a_cancelled_call_stays_cancelled_and_its_command_is_reaped(tmp_path: Path) -> None:
    """Cancellation is never turned into an answer or another error."""
    pid_file = tmp_path / "pid"
    call = asyncio.create_task(slurm(tmp_path, "squeue", f"echo $$ > {pid_file}; exec sleep 60").squeue())
    pid = await started(pid_file)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call

    assert gone(pid)


async def test_the_event_loop_goes_on_while_a_command_runs(tmp_path: Path) -> None:
    """Sixteen slow commands do not add up, and other work is not held up."""
    cluster = slurm(tmp_path, "squeue", "sleep 0.3")
    begun = time.monotonic()
    calls = asyncio.gather(*(cluster.squeue() for _ in range(16)))
    longest, last = 0.0, begun
    while not calls.done():
        await asyncio.sleep(0.01)
        longest, last = max(longest, time.monotonic() - last), time.monotonic()
    await calls

    assert time.monotonic() - begun < 3
    assert longest < 0.25


async def test_much_output_is_read_whole(tmp_path: Path) -> None:
    """A queue of tens of megabytes does not deadlock on a pipe."""
    assert (
        len(await slurm(tmp_path, "squeue", "head -c 20000000 /dev/zero | tr '\\0' x").squeue()) == 20_000_000
    )


async def test_nothing_to_cancel_runs_nothing(tmp_path: Path) -> None:
    """scancel without a job id would be an error."""
    await slurm(tmp_path, "scancel", "exit 1").scancel([])
