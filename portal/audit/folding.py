"""What keeps a flood from filling the disk, and what counts the tries that make an alarm. Pure: time is an argument."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass, replace

from portal.audit import Event, event


@dataclass
class _Run:
    """Equal events within one window. held: how many were not let through yet; last: when the latest was."""

    began: int
    through: int
    held: int
    last: int


class Folding:
    """Lets the first of equal events through, and holds the others until the window ends, as one event with a count.

    Equal: everything but the time. free: how many go through at once in a window of `seconds`. most: how many different
    runs are kept; beyond, only the kind of event is counted, so that neither many addresses nor many persons make many
    lines.
    """

    def __init__(self, free: int = 1, seconds: int = 60, most: int = 30) -> None:
        self._free, self._seconds, self._most = free, seconds, most
        self._runs: dict[Event, _Run] = {}

    def take(self, new: Event, now: int) -> Event | None:
        """The event if it goes through at once, None if it is held."""
        key = replace(new, at=0)
        run = self._runs.get(key)
        if run and now - run.began >= self._seconds and not run.held:
            del self._runs[key]
            run = None
        if run is None and len(self._runs) >= self._most:
            key = event(0, "", new.what, many=True)
            run = self._runs.setdefault(key, _Run(now, self._free, 0, new.at))
        if run is None:
            self._runs[key] = _Run(now, 1, 0, new.at)
            return new
        if run.through < self._free:
            run.through += 1
            return new
        run.held, run.last = run.held + 1, new.at
        return None

    def due(self, now: int, all: bool = False) -> list[Event]:
        """One event with a count for each run whose window is over (or each at all), and a new window for it."""
        found = []
        for key, run in list(self._runs.items()):
            if not all and now - run.began < self._seconds:
                continue
            if run.held:
                found.append(counted(replace(key, at=run.last), run.held))
                self._runs[key] = _Run(now, self._free, 0, run.last)
            else:
                del self._runs[key]
        return found


def counted(one: Event, count: int) -> Event:
    """The event with how many it stands for in its detail."""
    detail = {**json.loads(one.detail), "count": count}
    return event(one.at, one.who, one.what, one.subject, one.where, **detail)


class Tries:
    """How many tries each key made within the last `seconds`. most: keys kept; the one longest unseen goes first."""

    def __init__(self, seconds: int, most: int = 10_000) -> None:
        self._seconds, self._most = seconds, most
        self._tries: dict[Hashable, deque[tuple[int, int]]] = {}

    def add(self, key: Hashable, at: int, count: int = 1) -> int:
        """Note `count` tries at `at`; the number in the window that ends there."""
        tries = self._tries.pop(key, None) or deque()
        self._tries[key] = tries  # at the end: dictionaries keep their order
        if tries and tries[-1][0] == at:  # a flood is one entry a second
            count += tries.pop()[1]
        tries.append((at, count))
        while tries and tries[0][0] <= at - self._seconds:
            tries.popleft()
        if len(self._tries) > self._most:
            del self._tries[next(iter(self._tries))]
        return sum(number for _, number in tries)
