"""When a grant runs out, at the pace of its latest use. Pure, in integers; time is an argument.

The rule, which whoever reads the date can follow by hand:

1. Only whole days count: today is not over, so what it has used so far is left out.
2. The *recent* pace is the mean of the last 14 days, the *longer* pace the mean of the last 42; a grant younger than
   that has the mean of the days since its first. Weekends and days without use count as they are: they come again.
3. What is left divided by the mean of the two paces gives the day; by the faster one the earliest day, by the slower
   one the latest.
4. Without use in the last 14 days there is no forecast. A day at or after the end of the grant is "beyond its end".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

from portal.locale import N_

DAY = 86_400
RECENT_DAYS = 14
LONGER_DAYS = 42
FARTHEST_DAYS = 100_000
"""A pace next to nothing lasts practically for ever; dates have an end."""


class Outlook(Enum):
    UNUSED = "unused"
    """No use in the last 14 days, or the grant is not a day old: nothing to judge by."""
    BEYOND = "beyond"
    RUNS_OUT = "runs-out"
    OVER = "over"
    """Nothing is left."""


@dataclass(frozen=True)
class Forecast:
    """recent, longer: paces in milli-GPU-seconds a day. day, earliest, latest: seconds since 1970; None: not reached.

    latest is None too where the slower pace lasts beyond the grant's end.
    """

    outlook: Outlook
    recent: int = 0
    longer: int = 0
    day: int | None = None
    earliest: int | None = None
    latest: int | None = None


def forecast(
    history: Sequence[tuple[int, int]], left: int, starts: int, ends: int, now: int, day_seconds: int = DAY
) -> Forecast:
    """How long `left` milli-GPU-seconds last.

    history: first second of a day and what was spent on it, one for each day, the last ones of the grant.
    """
    if left <= 0:
        return Forecast(Outlook.OVER)
    whole = [
        (day, spent) for day, spent in history if day + day_seconds <= now and day + day_seconds > starts
    ]
    days = [spent for _day, spent in sorted(whole)]
    recent, longer = _pace(days[-RECENT_DAYS:]), _pace(days[-LONGER_DAYS:])
    if recent <= 0:
        return Forecast(Outlook.UNUSED, 0, max(0, longer))
    slower, faster = sorted((recent, max(1, longer)))
    day, earliest, latest = (
        now + min(left * day_seconds * parts // pace, FARTHEST_DAYS * day_seconds)
        for parts, pace in ((2, slower + faster), (1, faster), (1, slower))
    )
    return Forecast(
        outlook=Outlook.RUNS_OUT if day < ends else Outlook.BEYOND,
        recent=recent,
        longer=longer,
        day=day if day < ends else None,
        earliest=earliest if earliest < ends else None,
        latest=latest if latest < ends else None,
    )


def _pace(days: Sequence[int]) -> int:
    return sum(days) // len(days) if days else 0


SENTENCES = {
    Outlook.RUNS_OUT: N_("At this pace it lasts until about {day}."),
    Outlook.BEYOND: N_("At this pace it lasts beyond its last day."),
    Outlook.UNUSED: N_("No use in the last two weeks, so no forecast."),
    Outlook.OVER: "",
}
PACES = N_("{recent} GPU-hours a day in the last two weeks, {longer} in the last six.")
RANGE = N_(
    "Between {earliest} and {latest}, by {recent} GPU-hours a day in the last two weeks and {longer} in the last six."
)
FROM = N_(
    "{earliest} at the earliest, by {recent} GPU-hours a day in the last two weeks and {longer} in the last six."
)


def told(
    found: Forecast, say: Callable[[str], str], hours: Callable[[int], str], date: Callable[[int], str]
) -> tuple[str, str]:
    """The forecast as one sentence, and how it was worked out; both empty where there is nothing to say.

    say, hours, date: as one reader sees them.
    """
    if found.outlook is Outlook.OVER:
        return "", ""
    values = {"recent": hours(found.recent), "longer": hours(found.longer)}
    for name, at in (("day", found.day), ("earliest", found.earliest), ("latest", found.latest)):
        values[name] = date(at) if at is not None else ""
    if found.outlook is Outlook.UNUSED:
        how = ""
    elif found.earliest is None or (found.latest is not None and values["earliest"] == values["latest"]):
        how = PACES
    else:
        how = FROM if found.latest is None else RANGE
    sentence = say(SENTENCES[found.outlook]).format(**values)
    return sentence, say(how).format(**values) if how else ""
