"""What the page on which one waits says, and the place in line."""

from datetime import UTC, datetime

import pytest

from portal import reasons
from portal.locale import CHINESE, ENGLISH
from spawners import situation
from spawners.queue import Row, line


def row(state: str = "PENDING", node: str = "", reason: str = "Priority") -> Row:
    return Row(7, state, node, "Unknown", reason)


def test_before_there_is_a_job_it_is_being_submitted() -> None:
    """And costs nothing."""
    now = situation.of(ENGLISH, watched=False, row=None, called_back=False, place=None)

    assert (now.state, now.title) == ("asking", "Submitting")
    assert "costs nothing" in now.cost


@pytest.mark.parametrize("language", [ENGLISH, CHINESE])
def test_a_waiting_job_says_why_the_next_step_and_its_place(language: str) -> None:
    """In the words of the table of reasons; the tab shows state and place."""
    now = situation.of(language, watched=True, row=row(), called_back=False, place=3)

    assert now.state == "waiting"
    assert now.message == reasons.explain("Priority", language)
    assert now.title == {ENGLISH: "Waiting · 3rd in line", CHINESE: "輪候中 · 第 3 位"}[language]


def test_a_waiting_job_says_when_slurm_expects_it_to_start() -> None:
    """On the reader's clock; the reason follows."""
    now = datetime(2026, 11, 21, 16, 0, tzinfo=UTC).timestamp()
    expected = situation.when("2026-11-21T17:12:09", "Asia/Hong_Kong", ENGLISH, now)
    said = situation.of(ENGLISH, watched=True, row=row(), called_back=False, place=3, expected=expected)

    assert said.message.startswith("Slurm expects it to start at about 01:12. ")
    assert said.message.endswith(reasons.explain("Priority", ENGLISH))


@pytest.mark.parametrize("start", ["Unknown", "N/A", "", "2026-11-21T15:59:00"])
def test_no_estimate_is_shown_where_slurm_gives_none_or_an_old_one(start: str) -> None:
    """A promise that has passed is none."""
    now = datetime(2026, 11, 21, 16, 0, tzinfo=UTC).timestamp()

    assert situation.when(start, "Asia/Hong_Kong", ENGLISH, now) == ""


def test_where_the_place_is_not_known_none_is_shown() -> None:
    """Such as a job that is held."""
    now = situation.of(ENGLISH, watched=True, row=row(reason="JobHeldAdmin"), called_back=False, place=None)

    assert (now.title, now.place) == ("Waiting", "")


@pytest.mark.parametrize("called_back", [False, True])
def test_once_it_runs_its_time_is_charged(called_back: bool) -> None:
    """Said on the page; the node is named until JupyterLab starts on it."""
    running = row("RUNNING", "gpu03")
    now = situation.of(ENGLISH, watched=True, row=running, called_back=called_back, place=None)

    assert (now.state, now.title) == ("starting", "Starting")
    assert "charged" in now.cost
    assert ("gpu03" in now.message) is not called_back


@pytest.mark.parametrize(
    ("place", "said"),
    [
        (1, "next in line"),
        (2, "2nd in line"),
        (11, "11th in line"),
        (23, "23rd in line"),
        (112, "112th in line"),
    ],
)
def test_a_place_is_said_as_people_say_it(place: int, said: str) -> None:
    """Ordinals as English writes them."""
    assert situation.in_line(place, ENGLISH) == said


def test_the_line_is_by_priority_then_by_age_in_each_partition() -> None:
    """Jobs that wait for something else first, such as a release or another job, do not stand in it."""
    places = line(
        "12|gpu|100|Priority\n"
        "11|gpu|100|Resources\n"
        "13|gpu|900|Priority\n"
        "14|cpu|1|Resources\n"
        "15|gpu|999|JobHeldUser\n"
        "16|gpu,cpu|50|ReqNodeNotAvail, UnavailableNodes:gpu[01-04]\n"
        "17|gpu|999|Dependency\n"
        "nonsense\n"
        "|||\n"
    )

    assert places == {13: 1, 11: 2, 12: 3, 16: 4, 14: 1}
