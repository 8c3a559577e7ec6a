"""Where a start has got to, in the words of one reader. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from portal import reasons
from portal.locale import CHINESE, translator
from portal.units import clock, moment
from spawners.queue import Phase, Row


@dataclass(frozen=True)
class Situation:
    """state: asking, waiting or starting. percent: for the bar. word: the state as the tab shows it, with the place.

    heading, message: what is going on, and why with the next step. place: in line, or empty. cost: what is charged now.
    """

    state: str
    percent: int
    word: str
    heading: str
    message: str
    place: str = ""
    cost: str = ""

    @property
    def title(self) -> str:
        return f"{self.word} · {self.place}" if self.place else self.word

    def event(self) -> dict[str, Any]:
        """As the hub sends it to a page that watches."""
        return {
            "progress": self.percent,
            "message": self.message,
            "state": self.state,
            "title": self.title,
            "heading": self.heading,
            "place": self.place,
            "cost": self.cost,
        }


def of(
    language: str,
    watched: bool,
    row: Row | None,
    called_back: bool,
    place: int | None,
    expected: str = "",
) -> Situation:
    """watched: its job is known. row: as the latest look shows it. place: in line, where that is known.

    expected: when Slurm expects a waiting job to start, in words.
    """
    _ = translator(language).gettext
    free = _("It costs nothing until it runs. You may close this page: the session keeps its place.")
    charged = _("It runs, so its time is charged. You may close this page.")
    if not watched:
        return Situation(
            *("asking", 10, _("Submitting"), _("Your session is being submitted")),
            _("Checking your grant and asking Slurm."),
            cost=free,
        )
    if called_back:
        message = _("JupyterLab is starting.")
        return Situation("starting", 70, _("Starting"), _("Your session is starting"), message, "", charged)
    if row is None or row.phase is Phase.WAITING:
        why = reasons.explain(row.reason, language) if row else _("Your session is in the queue.")
        if expected:
            why = reasons.joined([expectation(expected, language), why], language)
        return Situation(
            *("waiting", 30 if row else 20, _("Waiting"), _("Your session waits in the queue"), why),
            *(in_line(place, language) if place else "", free),
        )
    message = _("Node %s is starting your session.") % row.node if row.node else _("A node was found.")
    return Situation("starting", 50, _("Starting"), _("Your session is starting"), message, "", charged)


def expectation(time: str, language: str) -> str:
    return translator(language).gettext("Slurm expects it to start at about {time}.").format(time=time)


def when(start: str, timezone: str, language: str, now: float) -> str:
    """Slurm's estimate (`2026-11-21T17:12:09`, UTC) on the reader's clock; empty where there is none, or it is past."""
    try:
        at = int(datetime.fromisoformat(start).replace(tzinfo=UTC).timestamp())
    except ValueError:
        return ""
    if at <= now:
        return ""
    return clock(at, timezone) if at - now < 12 * 3600 else moment(at, timezone, language)


def in_line(place: int, language: str) -> str:
    """`next in line`, `3rd in line`."""
    _ = translator(language).gettext
    if place == 1:
        return _("next in line")
    return _("{place} in line").format(place=place if language == CHINESE else ordinal(place))


def ordinal(number: int) -> str:
    """As English writes it: 1st, 2nd, 3rd, 11th."""
    teens = number % 100 in (11, 12, 13)
    return f"{number}{'th' if teens else {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th')}"
