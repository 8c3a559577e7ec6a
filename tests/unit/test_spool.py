"""What the hub keeps for the portal: bounded, numbered, and still there after a crash."""

import logging
from pathlib import Path

import pytest

from portal.hub.spool import Spool

LOG = logging.getLogger("test")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "hub-events.jsonl"


def waiting(spool: Spool) -> list[tuple[int, str]]:
    told = spool.next()
    return [(one.number, one.what) for one in told.events] if told else []


def test_what_was_not_told_is_there_after_a_crash(path: Path) -> None:
    """In its order and under its numbers, even if the last line was torn; what was told does not come back."""
    spool = Spool(path, LOG)
    for what in ("sign-in", "sign-out", "session.stopped"):
        spool.add(what)
    with path.open("a") as file:
        file.write('{"number":4,"wh')
    again = Spool(path, LOG)
    assert waiting(again) == [(1, "sign-in"), (2, "sign-out"), (3, "session.stopped")]
    again.told(3)
    later = Spool(path, LOG)
    later.add("sign-in")
    ((number, what),) = waiting(later)
    assert number > 3 and what == "sign-in"
    assert [one.next().stream for one in (spool, later) if one.next()] == [spool.next().stream] * 2  # type: ignore[union-attr]


def test_a_number_is_not_used_again_after_a_power_cut(path: Path) -> None:
    """The last lines may never have reached the disk, though the portal heard them: another event must not be theirs."""
    spool = Spool(path, LOG)
    spool.add("sign-in")
    on_disk = path.read_text()
    for _lost in range(5):
        spool.add("sign-out")
    heard = spool.next()
    path.write_text(on_disk)

    after = Spool(path, LOG)
    after.add("session.stopped")
    assert heard and waiting(after)[-1][0] > heard.events[-1].number


def test_what_does_not_fit_is_counted(path: Path) -> None:
    """Refusals leave a fifth of the room to what matters; the count of the lost is told as an event."""
    spool = Spool(path, LOG, most=10)
    for _try in range(20):
        spool.add("sign-in.refused")
    assert len(spool) == 8
    assert spool.add("sign-in") is not None
    told = spool.next()
    assert told and [(one.what, one.count) for one in told.events[-2:]] == [
        ("events.dropped", 12),
        ("sign-in", 1),
    ]
    assert spool.add("sign-in") is None


def test_a_full_disk_does_not_stop_sign_ins(tmp_path: Path) -> None:
    """What cannot be written is kept in memory."""
    spool = Spool(tmp_path / "missing" / "hub-events.jsonl", LOG)
    spool.add("sign-in")
    assert [what for _number, what in waiting(spool)] == ["sign-in"]


def test_the_file_is_for_its_owner_alone_and_stays_small(path: Path) -> None:
    """It may hold names until the portal has them."""
    spool = Spool(path, LOG)
    for number in range(1, 100):
        spool.add("sign-in")
        spool.told(number)
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(path.read_text().splitlines()) == 1
