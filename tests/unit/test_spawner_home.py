"""A person's folder: made for nobody else's eyes, and read with care, for what lies in it is the person's own."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from portal.settings import Slurm
from spawners import home
from spawners.submission import Unsubmittable, log_file

ME = pwd.getpwuid(os.geteuid()).pw_name


def settings(folder: Path) -> Slurm:
    return Slurm(accounts="shared", people_dir=folder / "people")


def test_a_folder_is_made_once_and_closed_to_others(tmp_path: Path) -> None:
    """Where people share one Unix account each has a folder; a second start finds it."""
    made = home.prepare(settings(tmp_path), "pann", ME)

    assert made == home.prepare(settings(tmp_path), "pann", ME)
    assert made.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("person", ["", "..", "a/b", "Pann", "-p", "a" * 64])
def test_a_name_that_is_no_folders_is_refused(tmp_path: Path, person: str) -> None:
    """Nothing is made outside the folder of all people."""
    with pytest.raises(Unsubmittable, match="person"):
        home.prepare(settings(tmp_path), person, ME)

    assert list(tmp_path.iterdir()) == []


def test_a_job_of_another_unix_account_is_refused(tmp_path: Path) -> None:
    """This process submits as itself, or not at all."""
    with pytest.raises(Unsubmittable, match="unix_user"):
        home.prepare(settings(tmp_path), "pann", "nobody-else")


def test_the_last_words_of_a_job_are_its_last_lines(tmp_path: Path) -> None:
    """Printable characters of the last eight lines."""
    log = log_file(home.prepare(settings(tmp_path), "pann", ME), 7)
    log.write_text("".join(f"line {number}\x1b\n" for number in range(20)))

    assert home.last_words(settings(tmp_path), "pann", 7).splitlines() == [f"line {n}" for n in range(12, 20)]


def test_what_is_no_log_is_not_read(tmp_path: Path) -> None:
    """A link to somebody else's file, a pipe that would hang, a folder, or nothing at all: no words."""
    log = log_file(home.prepare(settings(tmp_path), "pann", ME), 7)
    (tmp_path / "secret").write_text("secret")

    assert home.last_words(settings(tmp_path), "pann", 7) == ""
    log.symlink_to(tmp_path / "secret")
    assert home.last_words(settings(tmp_path), "pann", 7) == ""
    log.unlink()
    os.mkfifo(log)
    assert home.last_words(settings(tmp_path), "pann", 7) == ""
    log.unlink()
    log.mkdir()
    assert home.last_words(settings(tmp_path), "pann", 7) == ""
