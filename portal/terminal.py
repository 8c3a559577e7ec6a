"""The words of the command line, in the language of the terminal: LC_ALL, LC_MESSAGES or LANG.

Standard library alone, because the installer speaks before anything is installed: so it reads the catalogue of
translations by itself, which pages and letters do through `portal.locale`.
"""

from __future__ import annotations

import ast
import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path

VARIABLES = ("LC_ALL", "LC_MESSAGES", "LANG")
"""The first that is set decides, as for every other program (locale(7))."""
CHINESE = "zh_Hant_HK"
CATALOGUE = Path(__file__).parent / "locale" / CHINESE / "LC_MESSAGES" / "portal.po"


def language(variables: Mapping[str, str]) -> str:
    """The language of a terminal with these variables: any Chinese gets ours, everything else English."""
    chosen = next((variables[name] for name in VARIABLES if variables.get(name)), "")
    return CHINESE if chosen.lower().partition(".")[0].partition("_")[0] == "zh" else "en"


def gettext(sentence: str) -> str:
    """The sentence in the terminal's language; itself where there is no translation."""
    return _sentences().get(sentence) or sentence


def ngettext(one: str, many: str, number: int) -> str:
    """The sentence for this number. Chinese has one form for all."""
    return _sentences().get(one) or (one if number == 1 else many)


def N_(sentence: str) -> str:
    """Mark a sentence for translation where it is defined; it is translated where it is shown."""
    return sentence


@cache
def _sentences() -> dict[str, str]:
    if language(os.environ) != CHINESE:
        return {}
    try:
        return read(CATALOGUE.read_text(encoding="utf-8"))
    except OSError:
        return {}


def read(catalogue: str) -> dict[str, str]:
    """Sentences and their translations in the text of a catalogue; of several forms the first."""
    found: dict[str, str] = {}
    entry: dict[str, str] = {}
    field = ""
    for line in [*catalogue.splitlines(), ""]:
        if line.startswith("msg"):
            field, _, line = line.partition(" ")
        if line.startswith('"'):
            entry[field] = entry.get(field, "") + ast.literal_eval(line)
        else:
            if entry.get("msgid"):
                found[entry["msgid"]] = entry.get("msgstr") or entry.get("msgstr[0]", "")
            entry = {}
    return found
