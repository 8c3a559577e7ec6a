"""The guides and the settings say the same."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from portal import settings_page
from portal.cli import app
from portal.settings import Settings

DOCS = Path(__file__).parents[2] / "docs"
GUIDES = sorted(DOCS.glob("*.md"))
UNITS = sorted((DOCS.parent / "etc").glob("*.service"))
MENTIONED = re.compile(r"`((?:site|web|database|slurm|identity|offer|dashboards|mail|audit)\.[a-z_]+)`")
FILES = {"slurm.conf", "database.pgpass"}
"""Names of files that look like settings; the setting slurm.conf is written with its section."""
MOST = 10


def settings_in(guide: Path) -> Iterator[str]:
    """The whole settings files that a guide shows."""
    yield from re.findall(r"```toml\n(.*?)```", guide.read_text(), flags=re.DOTALL)


def test_the_page_of_settings_is_up_to_date() -> None:
    """Every setting has its line, and no line has outlived its setting."""
    assert settings_page.PAGE.read_text() == settings_page.page(), "run: make docs"


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.name)
def test_every_setting_named_in_a_guide_exists(guide: Path) -> None:
    """Names in the text, and whole files as examples."""
    known = {name for name, _ in settings_page.names()}

    assert set(MENTIONED.findall(guide.read_text())) - FILES <= known
    for example in settings_in(guide):
        Settings.model_validate(tomllib.loads(example))


def test_a_centre_needs_at_most_ten_settings() -> None:
    """The example of the operators' guide is complete, and that short."""
    (example,) = settings_in(DOCS / "operator.md")
    written = [key for table in tomllib.loads(example).values() for key in table]

    assert len(written) <= MOST


@pytest.mark.parametrize("guide", [*GUIDES, DOCS.parent / "README.md"], ids=lambda path: path.name)
def test_what_a_guide_links_to_is_there(guide: Path) -> None:
    """Links between files of the repository; pictures are made by `make screenshots`."""
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", guide.read_text()):
        if "://" not in target and not target.endswith(".png"):
            assert (guide.parent / target).exists(), target


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_every_unit_starts_a_command_that_exists(unit: Path) -> None:
    """What systemd runs in a centre is a command of ours, or the hub with our configuration."""
    (command,) = re.findall(r"^ExecStart=(.*)$", unit.read_text(), flags=re.MULTILINE)
    program, *words = command.split()
    ours = {entry.name or getattr(entry.callback, "__name__", "") for entry in app.registered_commands}

    assert program.startswith("/opt/aisc/venv/bin/")
    assert words == ["-f", "/opt/aisc/venv/jupyterhub_config.py"] or words[0] in ours
