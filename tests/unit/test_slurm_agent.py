"""The parts of the agent that need neither Slurm nor the portal."""

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.agent import SLICE_SECONDS, Agent, Missing, Progress, slices
from portal.client import Client, LiveJob, Unbooked, View, Wish
from portal.settings import Settings, Slurm
from portal.slurm.commands import SlurmError


def test_a_missing_job_is_asked_for_at_once_and_then_less_and_less_often() -> None:
    """One that never gets a record costs a call every five minutes in the end, not one a look."""
    missing = Missing()
    missing.are([Unbooked(id=1, submit=2, gone=1000)])
    asked = []
    for now in range(1000, 1000 + 86_400, 3):
        if due := missing.due(now):
            asked.append(now)
            missing.asked(due, now)

    assert asked[:2] == [1000, 1003]
    assert len(asked) < 400
    assert asked[-1] - asked[-2] <= 303


def test_a_job_that_is_booked_is_no_longer_asked_for() -> None:
    """The portal's answer to each view says what is still missing."""
    missing = Missing()
    missing.are([Unbooked(id=1, submit=2, gone=0), Unbooked(id=3, submit=4, gone=0)])
    missing.are([Unbooked(id=3, submit=4, gone=0)])
    assert missing.due(1) == [(3, 4)]


def test_with_many_missing_each_has_its_turn() -> None:
    """Those never asked for come before those asked for lately."""
    missing = Missing()
    missing.are([Unbooked(id=id, submit=1, gone=0) for id in range(250)])
    seen: set[int] = set()
    for now in (1, 2, 3):
        due = missing.due(now)[:100]
        missing.asked(due, now)
        seen |= {id for id, _ in due}

    assert seen == set(range(250))


def test_progress_survives_a_restart_and_a_damaged_file(tmp_path: Path) -> None:
    """Without a readable file the sweep starts far back: jobs are told twice rather than not at all."""
    file = tmp_path / "agent.json"
    assert Progress(file).swept(7, 500) == 7
    Progress(file).set(100)
    assert Progress(file).swept(7, 500) == 100
    assert Progress(file).swept(7, 50) == 50, "the clock was put back"
    for damaged in ("", "{", "[]", '{"swept": null}'):
        file.write_text(damaged)
        assert Progress(file).swept(7, 500) == 7


async def test_a_job_that_slurm_does_not_cancel_leaves_no_limit_unset(tmp_path: Path) -> None:
    """The round fails, and is told; but what is enforced does not wait for it."""
    for name, script in (("scancel", "exit 1"), ("sacctmgr", f"echo x >> {tmp_path}/asked; exit 1")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    slurm = Slurm(cluster="c", bin=tmp_path, conf=tmp_path / "slurm.conf")
    job = LiveJob(
        id=7, submit=1, name="aisc-x", user="u", account="a", qos="q", partition="p", state="RUNNING",
        reason="", nodes="", tres="",
    )  # fmt: skip
    async with Client("http://127.0.0.1:1", "token") as portal:
        agent = Agent(Settings(home=tmp_path, slurm=slurm), portal)
        agent._view = View(cluster="c", at=1, jobs=[job], nodes=[])
        with pytest.raises(SlurmError):
            await agent._fulfil(Wish(cluster="c", grants=[], cancel=[7]))
    assert (tmp_path / "asked").exists()


@given(begin=st.integers(0, 10**7), length=st.integers(0, 10**6))
def test_slices_cover_the_time_without_a_gap(begin: int, length: int) -> None:
    """Each begins where the one before it ended."""
    pieces = list(slices(begin, begin + length))

    assert (pieces[0][0], pieces[-1][1]) == (begin, begin + length)
    assert all(before[1] == after[0] for before, after in pairwise(pieces))
    assert all(end - start <= SLICE_SECONDS for start, end in pieces)
