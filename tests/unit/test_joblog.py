"""A job's own log, read with care, for what lies in that folder is the person's own."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from portal.settings import Slurm
from portal.slurm.joblog import HIDDEN, LOG_TAIL, clean, last_words, log_file, shared_home


def settings(folder: Path) -> Slurm:
    return Slurm(accounts="shared", people_dir=folder / "people")


def a_log(folder: Path) -> Path:
    """Where the log of job 7 lies; there is none yet."""
    path = log_file(shared_home(settings(folder), "pann"), 7)
    path.parent.mkdir(parents=True)
    return path


def test_the_last_words_of_a_job_are_its_last_lines(tmp_path: Path) -> None:
    """Printable characters of the last eight lines."""
    log = a_log(tmp_path)
    log.write_text("".join(f"line {number}\x1b\n" for number in range(20)))

    assert last_words(settings(tmp_path), "pann", 7).splitlines() == [f"line {n}" for n in range(12, 20)]


def test_what_is_no_log_is_not_read(tmp_path: Path) -> None:
    """A link to somebody else's file, a pipe that would hang, a folder, or nothing at all: no words."""
    log = a_log(tmp_path)
    (tmp_path / "secret").write_text("secret")

    assert last_words(settings(tmp_path), "pann", 7) == ""
    log.symlink_to(tmp_path / "secret")
    assert last_words(settings(tmp_path), "pann", 7) == ""
    log.unlink()
    os.mkfifo(log)
    assert last_words(settings(tmp_path), "pann", 7) == ""
    log.unlink()
    log.mkdir()
    assert last_words(settings(tmp_path), "pann", 7) == ""


@pytest.mark.parametrize(
    "line",
    [
        "JUPYTERHUB_API_TOKEN=SECRETabcdef123456",
        "GET /lab?token=SECRETabcdef&next=1",
        "Authorization: Bearer SECRETabc.def-123",
        "Authorization: token SECRETabcdef12",
        "{'password': 'SECRET'}",
        "postgresql://me:SECRET@host/db",
        "0123456789abcdef0123456789ABCDEF",
        "eyJhbGciOi.eyJzdWIiOiJ.c2lnbmF0dXJl",
    ],
)
def test_a_secret_does_not_leave_with_the_log(line: str) -> None:
    """Tokens, passwords and keys are taken out; the words around them stay."""
    shown = clean(f"before {line} after")

    assert "SECRET" not in shown and "0123456789abcdef" not in shown and "eyJ" not in shown
    assert HIDDEN in shown
    assert shown.startswith("before ")


@pytest.mark.parametrize("word", ["token", "code-", "eyJ", "a", "bearer "])
def test_no_log_keeps_the_reader_busy(word: str) -> None:
    """Whoever writes it may make it of anything; the portal and the hub answer nobody else meanwhile."""
    before = time.process_time()
    clean(word * (LOG_TAIL // len(word)))
    assert time.process_time() - before < 1


def test_a_folder_of_logs_that_leads_elsewhere_is_not_read(tmp_path: Path) -> None:
    """It is the person's own, and may be made a link to another person's."""
    log = a_log(tmp_path)
    (tmp_path / log.name).write_text("of somebody else")
    log.parent.rmdir()
    log.parent.symlink_to(tmp_path)

    assert last_words(settings(tmp_path), "pann", 7) == ""


def test_plain_words_are_left_alone() -> None:
    """What says why a job failed must stay readable."""
    said = "ImportError: No module named 'torch' (job 123 on gpu03, exit code 1)"

    assert clean(said) == said
