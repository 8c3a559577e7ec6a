"""What a look at the queue says of a session, and what it does not."""

import pytest

from spawners.queue import Look, Phase, Row, Watch, read

SINCE = 100.0


def look(began: float, state: str = "", answered: bool = True, gone: frozenset[int] = frozenset()) -> Look:
    rows = {7: Row(7, state, "gpu01", "2026-01-01T00:00:00", "None")} if state else {}
    return Look(began, answered, rows, gone)


@pytest.mark.parametrize(
    ("state", "phase"),
    [
        ("PENDING", Phase.WAITING),
        ("CONFIGURING", Phase.WAITING),
        ("REQUEUED", Phase.WAITING),
        ("RUNNING", Phase.RUNNING),
        ("SUSPENDED", Phase.RUNNING),
        ("STOPPED", Phase.RUNNING),
        ("SIGNALING", Phase.RUNNING),
        ("RESIZING", Phase.RUNNING),
        ("STAGE_OUT", Phase.RUNNING),
        ("A_STATE_OF_TOMORROW", Phase.RUNNING),
        ("COMPLETING", Phase.ENDED),
        ("COMPLETED", Phase.ENDED),
        ("CANCELLED", Phase.ENDED),
        ("FAILED", Phase.ENDED),
        ("TIMEOUT", Phase.ENDED),
        ("NODE_FAIL", Phase.ENDED),
        ("OUT_OF_MEMORY", Phase.ENDED),
        ("PREEMPTED", Phase.ENDED),
    ],
)
def test_only_a_state_that_ends_processes_ends_a_session(state: str, phase: Phase) -> None:
    """Suspended, stopped and unheard-of states are alive (stock: R5, they drop the server)."""
    assert Watch(7, SINCE).judge(look(101, state)) is phase


def test_a_job_that_is_missing_once_is_not_gone() -> None:
    """One look without the job may be an accident; two are an end."""
    watch = Watch(7, SINCE)

    assert watch.judge(look(101)) is Phase.UNKNOWN
    assert watch.judge(look(101)) is Phase.UNKNOWN, "the same look again counts once"
    assert watch.judge(look(102)) is Phase.ENDED


def test_a_job_that_comes_back_starts_the_count_again() -> None:
    """Missing, there, missing: still only one miss."""
    watch = Watch(7, SINCE)
    watch.judge(look(101))
    watch.judge(look(102, "RUNNING"))

    assert watch.judge(look(103)) is Phase.UNKNOWN


def test_a_look_older_than_the_submission_says_nothing() -> None:
    """squeue may have been asked before sbatch returned."""
    watch = Watch(7, SINCE)

    assert [watch.judge(look(at)) for at in (97, 98, 99)] == [Phase.UNKNOWN] * 3


def test_no_answer_says_nothing_however_often() -> None:
    """slurmctld may be away for minutes."""
    watch = Watch(7, SINCE)

    assert {watch.judge(look(101 + n, answered=False)) for n in range(50)} == {Phase.UNKNOWN}
    assert watch.judge(None) is Phase.UNKNOWN


def test_no_such_job_is_an_end_at_once() -> None:
    """Slurm's own "Invalid job id" is the one error that ends a session."""
    assert Watch(7, SINCE).judge(Look(101, True, {}, frozenset({7}))) is Phase.ENDED


def test_squeues_lines_become_rows() -> None:
    """A reason may hold blanks and bars; what is no row is skipped."""
    text = "7|RUNNING|gpu01|2026-01-01T00:00:00|None\n8|PENDING|n/a|N/A|(Nodes: a|b)\nslurm_load_jobs error\n\n|||\n"

    assert read(text) == {
        7: Row(7, "RUNNING", "gpu01", "2026-01-01T00:00:00", "None"),
        8: Row(8, "PENDING", "", "N/A", "(Nodes: a|b)"),
    }


@pytest.mark.parametrize("node", ["$(id)", "a b", "-x", "a;b", "../x"])
def test_a_name_that_is_no_node_is_not_taken_for_one(node: str) -> None:
    """It would become an argument of scontrol."""
    assert read(f"7|RUNNING|{node}|x|None")[7].node == ""
