"""A notice in the words of one reader: values are formatted at the moment it is shown or sent."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import quote

from portal.notices.kinds import ALARMS, CAUSES, KINDS
from portal.reasons import explain
from portal.service.access import BASE
from portal.service.words import Words
from portal.settings import Settings
from portal.store.notices import Notice, Values

Format = Callable[[Words, str | int], str]


@dataclass(frozen=True)
class Told:
    """What one reader reads. path: where its link leads, on the portal's own host. attached: as somebody wrote it."""

    title: str
    body: str
    path: str
    action: str
    attached: str = ""


def told(settings: Settings, notice: Notice, words: Words) -> Told:
    """Put a notice into words. KeyError if its kind is no longer known."""
    kind = KINDS[notice.kind]
    texts = {name: _text(words, name, value) for name, value in notice.values.items()}
    texts["contact"] = plain(settings.site.contact)
    return Told(
        words.gettext(kind.title).format(**texts),
        words.gettext(kind.body).format(**texts),
        BASE + kind.path.format(**_quoted(notice.values)),
        words.gettext(kind.action),
        block(str(notice.values.get(kind.attached, ""))) if kind.attached else "",
    )


def _text(words: Words, name: str, value: str | int) -> str:
    form = FORMATS.get(name)
    return form(words, value) if form else plain(str(value)) or "–"


def _hours(words: Words, value: str | int) -> str:
    return words.hours(int(value))


def _money(words: Words, value: str | int) -> str:
    return words.money(int(value))


FORMATS: dict[str, Format] = {
    **dict.fromkeys(("left", "used", "awarded", "committed"), _hours),
    **dict.fromkeys(("list", "subsidy", "own"), _money),
    "at": lambda words, value: words.moment(int(value)),
    "ends": lambda words, value: words.last_day(int(value)),
    "waited": lambda words, value: words.duration(int(value)),
    "cause": lambda words, value: words.gettext(CAUSES[str(value)]),
    "alarm": lambda words, value: words.gettext(ALARMS[str(value)]),
    "reason": lambda words, value: plain(explain(str(value), words.language)),
}
"""How a value is written, by its name: milli-GPU-seconds, cents, instants, seconds. All others are plain text."""


def plain(text: str) -> str:
    """One line of text without anything that steers a terminal, a header or the direction of writing."""
    line = " ".join(text.split())
    return "".join(letter for letter in line if unicodedata.category(letter)[0] != "C")


def block(text: str) -> str:
    """Text of several lines, cleaned in the same way."""
    lines = (line.expandtabs(4).rstrip() for line in text.splitlines())
    return "\n".join(
        "".join(letter for letter in line if unicodedata.category(letter)[0] != "C") for line in lines
    )


def _quoted(values: Values) -> dict[str, str]:
    return {name: quote(str(value), safe="") for name, value in values.items()}
