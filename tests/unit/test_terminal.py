"""Which language the command line speaks, and that it reads the same catalogue as the pages."""

from __future__ import annotations

import pytest

from portal import terminal
from portal.locale import CHINESE, catalogue


@pytest.mark.parametrize(
    ("variables", "chosen"),
    [
        ({}, "en"),
        ({"LANG": "zh_HK.UTF-8"}, CHINESE),
        ({"LANG": "zh_TW"}, CHINESE),
        ({"LANG": "zh"}, CHINESE),
        ({"LANG": "en_GB.UTF-8"}, "en"),
        ({"LANG": "C.UTF-8", "LC_MESSAGES": "zh_HK.UTF-8"}, CHINESE),
        ({"LANG": "zh_HK.UTF-8", "LC_ALL": "C"}, "en"),
        ({"LANG": "zh_HK.UTF-8", "LC_ALL": ""}, CHINESE),
        ({"LANG": "zhx_XX"}, "en"),
    ],
)
def test_the_first_variable_that_is_set_decides(variables: dict[str, str], chosen: str) -> None:
    """As for every other program of the terminal; any Chinese gets ours."""
    assert terminal.language(variables) == chosen


def test_the_catalogue_is_read_as_the_pages_read_it() -> None:
    """The few lines that read it without a library find every sentence, escapes and long ones included."""
    found = terminal.read(terminal.CATALOGUE.read_text(encoding="utf-8"))
    first = {
        _one(message.id): _one(message.string) for message in catalogue.read(CHINESE) if _one(message.id)
    }

    assert found == first


def _one(text: object) -> str:
    """A string, or the first of its forms."""
    return str(text[0] if isinstance(text, list | tuple) else text or "")
