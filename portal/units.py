"""Units of the product and how people read them.

Compute is an integer of milli-GPU-seconds of the reference accelerator; money an integer of cents; time whole seconds
since 1970 in UTC. Nothing here is a float, so sums are exact (accounting.md, "Units").
"""

from __future__ import annotations

from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from babel.dates import format_date

GPU_HOUR = 3_600_000
"""Milli-GPU-seconds in one GPU-hour."""

LOCALES = {"en": "en_HK", "zh_Hant_HK": "zh_Hant_HK"}
"""How dates are written, by language."""

MINUS = "\u2212"
"""The sign of an amount below zero as people read it: as wide as a figure, and no break of a line after it."""

SHARE_WHOLE = 10_000
"""A subsidy share is in basis points: 7,000 is 70 %."""


def rounded(numerator: int, denominator: int) -> int:
    """Divide and round to the nearest integer, halves away from zero. The denominator is positive."""
    sign = -1 if numerator < 0 else 1
    return sign * ((2 * abs(numerator) + denominator) // (2 * denominator))


def gpu_hours(amount: int) -> str:
    """Milli-GPU-seconds as people read them: `1,204.5` (GPU-hours, one decimal)."""
    tenths = rounded(amount, GPU_HOUR // 10)
    sign = MINUS if tenths < 0 else ""
    return f"{sign}{abs(tenths) // 10:,}.{abs(tenths) % 10}"


def money(cents: int, currency: str) -> str:
    """Cents as people read them: `HK$1,204.50`, and `−HK$84.00`; in both languages alike."""
    sign = MINUS if cents < 0 else ""
    return f"{sign}{currency}{abs(cents) // 100:,}.{abs(cents) % 100:02d}"


def percent(part: int, whole: int) -> int:
    """Return `part` as whole percent of `whole`, between 0 and 100."""
    return 0 if whole <= 0 else min(100, max(0, rounded(100 * part, whole)))


def date_words(at: int, timezone: str, language: str) -> str:
    """The day of an instant as people read it: `21 Nov 2026`, or `2026\u5e7411\u670821\u65e5`."""
    return str(format_date(day_of(at, timezone), "medium", locale=LOCALES.get(language, LOCALES["en"])))


def clock(at: float, timezone: str) -> str:
    """The time of day, of 24 hours everywhere: `14:05`."""
    return datetime.fromtimestamp(at, ZoneInfo(timezone)).strftime("%H:%M")


def moment(at: int, timezone: str, language: str) -> str:
    """Day and time of an instant."""
    return f"{date_words(at, timezone, language)} {clock(at, timezone)}"


def day_starts(day: date, timezone: str) -> int:
    """The first second of a day in that time zone."""
    return int(datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(timezone)).timestamp())


def day_ends(day: date, timezone: str) -> int:
    """24:00 of a day in that time zone: "ends 30 June" means this second of 30 June."""
    return day_starts(day + timedelta(days=1), timezone)


def day_of(at: int, timezone: str) -> date:
    """The calendar day of an instant in that time zone."""
    return datetime.fromtimestamp(at, ZoneInfo(timezone)).date()
