"""What the hub keeps of a session: read back as it was, and enough to see that a job can no longer be reached."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from portal.locale import CHINESE
from spawners.queue import Row
from spawners.session import Session, digest

STARTED = "2026-01-01T12:00:00"
READY = Session(
    id="0123456789abcdef",
    job=7,
    token_hash=digest("secret"),
    token_id=3,
    port=5000,
    address=("127.0.0.1", 5000),
    node="gpu01",
    started=STARTED,
    language=CHINESE,
    told={"ready", "job"},
)
RUNNING = Row(7, "RUNNING", "gpu01", STARTED, "None")


@pytest.mark.parametrize(
    "session",
    [READY, Session(id="0123456789abcdef"), replace(READY, address=None, told=set()), Session()],
    ids=["ready", "registered", "waiting", "none"],
)
def test_a_session_is_read_back_as_it_was_kept(session: Session) -> None:
    """The hub keeps JSON; nothing is lost in it."""
    assert Session.read(json.loads(json.dumps(session.state()))) == session


def test_without_a_session_nothing_is_kept() -> None:
    """JupyterHub takes a spawner without state for one that does not run."""
    assert Session(language=CHINESE).state() == {}


def test_only_the_servers_own_token_is_the_sessions() -> None:
    """A session whose token is not known belongs to no token, not to the empty one."""
    assert READY.owns("secret")
    assert not READY.owns("other")
    assert not Session().owns("")


@pytest.mark.parametrize(
    ("change", "lost"),
    [
        ({}, False),
        ({"state": "SUSPENDED"}, False),
        ({"state": "PENDING", "node": ""}, True),
        ({"node": "gpu02"}, True),
        ({"start": "2026-01-01T13:00:00"}, True),
        ({"node": ""}, False),
    ],
    ids=str,
)
def test_a_ready_job_that_was_started_again_is_lost(change: dict[str, Any], lost: bool) -> None:
    """Back in the queue, on another node or at another time (R13); where Slurm names no node, nothing is known."""
    assert READY.is_lost(replace(RUNNING, **change)) is lost


def test_a_job_that_was_never_ready_is_not_lost() -> None:
    """It may wait and move as Slurm likes."""
    assert not replace(READY, address=None).is_lost(replace(RUNNING, state="PENDING", node=""))
