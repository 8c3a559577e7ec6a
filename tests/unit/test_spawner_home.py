"""A person's folder: made for nobody else's eyes."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from portal.settings import Slurm
from spawners import home
from spawners.submission import Unsubmittable

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
