"""Pieces of HTML that both dashboards are made of. Every value that comes from outside passes through `text`.

Pure. Names, titles and reasons are hostile until escaped; numbers are formatted by type and cannot carry markup.
"""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from portal.locale import translator
from portal.units import date_words, gpu_hours

MINUTE, HOUR, DAY = 60, 3600, 86_400


@dataclass(frozen=True)
class Reader:
    """Who reads: language, time zone, the sign written before money, whom they may ask, and where reasons are explained."""

    language: str = "en"
    timezone: str = "Asia/Hong_Kong"
    currency: str = "HK$"
    contact: str = ""
    help: str = ""

    def say(self, sentence: str) -> str:
        """The sentence in the reader's language. Callers name it `_`, so that it is found for translation."""
        return str(translator(self.language).gettext(sentence))


def text(value: object) -> str:
    """Anything from outside, as text that cannot become markup, in an attribute either."""
    return html.escape(str(value), quote=True)


def figure(value: str, unit: str, label: str, kind: str = "", part: str = "") -> str:
    """One figure with its unit and what it is. kind: further classes of our own; part: of the bar that it is the key to."""
    mark = f'<svg class="key-mark" viewBox="0 0 10 10" aria-hidden="true">{_rect(part, 0, 10)}</svg>'
    return (
        f'<div class="figure {kind}"><span class="figure-value">{text(value)}'
        f'<span class="figure-unit">{text(unit)}</span></span>'
        f'<span class="figure-label{" key" if part else ""}">{mark if part else ""}{text(label)}</span></div>'
    )


def bar(parts: Mapping[str, int]) -> str:
    """Shares of a whole, drawn; empty where there is nothing to share. The figures beside it say the same in words."""
    whole = sum(parts.values())
    if not whole:
        return ""
    drawn, start = "", 0.0
    for part, amount in parts.items():
        width = 1000 * amount / whole
        drawn += _rect(part, start, width) if amount else ""
        start += width
    return (
        f'<svg class="bar" viewBox="0 0 1000 10" preserveAspectRatio="none" aria-hidden="true">{drawn}</svg>'
    )


def _rect(part: str, x: float, width: float) -> str:
    return f'<rect class="part-{part}" x="{x:.1f}" width="{width:.1f}" height="10"/>'


def status(meaning: str, word: str) -> str:
    """meaning: running, waiting, attention or stopped."""
    return f'<span class="status status-{meaning}">{text(word)}</span>'


def hours_figure(amount: int, reader: Reader, label: str, kind: str = "", part: str = "") -> str:
    """Milli-GPU-seconds as a figure in GPU-hours."""
    _ = reader.say
    return figure(gpu_hours(amount), _("GPU-hours"), label, kind, part)


def as_at(instant: int | None, reader: Reader) -> str:
    """How old the figures are. The page's script adds to it once they are too old (`data-as-at`)."""
    _ = reader.say
    if instant is None:
        return f'<p class="as-at stale">{text(_("No look at the cluster yet"))}</p>'
    clock = datetime.fromtimestamp(instant, ZoneInfo(reader.timezone)).strftime("%H:%M:%S")
    words = text(_("As at %(time)s") % {"time": clock})
    return f'<p class="as-at" data-as-at="{int(instant)}">{words}</p>'


def last_day(ends: int, reader: Reader) -> str:
    """The last day of a window that ends at 24:00, such as 30 Jun 2027."""
    return date_words(ends - 1, reader.timezone, reader.language)


def duration(seconds: int, reader: Reader) -> str:
    """A length of time in two units at most: `2 h 10 min`."""
    _ = reader.say
    minutes = max(0, seconds) // MINUTE
    if minutes < 1:
        return _("under 1 min")
    if minutes < 60:
        return _("%(minutes)d min") % {"minutes": minutes}
    if minutes < 24 * 60:
        return _("%(hours)d h %(minutes)d min") % {"hours": minutes // 60, "minutes": minutes % 60}
    return _("%(days)d d %(hours)d h") % {"days": minutes // (24 * 60), "hours": minutes // 60 % 24}


def gpus(number: float) -> str:
    """A number of GPUs, whole or in quarters: `2`, `0.25`."""
    return f"{number:,.2f}".rstrip("0").rstrip(".")


def notice(title: str, sentence: str) -> str:
    return (
        f'<div class="notice notice-attention"><p class="notice-title">{text(title)}</p>'
        f"<p>{text(sentence)}</p></div>"
    )
