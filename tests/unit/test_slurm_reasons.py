"""Why a job waits, in words."""

import pytest

from portal.slurm.reasons import FAMILIES, REASONS, explain


@pytest.mark.parametrize("reason", [*REASONS, *FAMILIES])
def test_every_known_reason_is_one_sentence_for_people(reason: str) -> None:
    """It is no longer Slurm's word."""
    sentence = explain(reason, "en")
    assert sentence.endswith(".") and " " in sentence and "\n" not in sentence


@pytest.mark.parametrize(
    ("reason", "as_"),
    [
        ("ReqNodeNotAvail, UnavailableNodes:gpu[01-02]", "ReqNodeNotAvail"),
        ("ReqNodeNotAvail,_UnavailableNodes:gpu01", "ReqNodeNotAvail"),
        ("Nodes_required_for_job_are_DOWN,_DRAINED_or_reserved", "NodeDown"),
        (
            "Nodes required for job are DOWN, DRAINED or reserved for jobs in higher priority partitions",
            "NodeDown",
        ),
        ("launch failed requeued held", "launch_failed_requeued_held"),
        ("QOSGrpCpuLimit", "QOSGrpNodeLimit"),
        ("AssocMaxJobsLimit", "AssocMaxWallDurationPerJobLimit"),
    ],
)
def test_a_reason_with_names_behind_it_is_known_by_its_beginning(reason: str, as_: str) -> None:
    """Slurm puts nodes or resources behind some reasons."""
    assert explain(reason, "en") == explain(as_, "en") != reason


def test_an_unknown_reason_is_shown_as_it_is() -> None:
    """Better Slurm's word than none."""
    assert explain("FrontEndDown", "en") == "FrontEndDown"
