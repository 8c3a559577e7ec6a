"""Events not yet told to the portal: in memory, and in a file so that they outlive the hub.

Bounded. What does not fit is counted, and the count itself is told as an event. The file is for its owner alone: a sign-in
in it bears name and address until the portal has it.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import secrets
import time
from collections import deque
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from portal.audit.kinds import FLOODABLE
from portal.client import HubEvent, Told

MOST = 5_000
"""Events kept at most; a fifth of the room is closed to those that anybody can cause."""
AT_ONCE = 200


class Spool:
    """One file. `add` is quick: one short write, not waited for on the disk. `dropped`: how many did not fit."""

    def __init__(self, path: Path, log: logging.Logger, most: int = MOST) -> None:
        self._path, self._log, self._most = path, log, most
        self._stream, self._next, self._written = secrets.token_hex(16), 1, 0
        self._waiting: deque[HubEvent] = deque()
        self.dropped = 0
        self._read()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, what: str, **values: Any) -> HubEvent | None:
        """Keep an event, with its time and number; None if there is no room."""
        room = self._most * 4 // 5 if what in FLOODABLE else self._most
        if len(self._waiting) >= room:
            self.dropped += 1
            return None
        if self.dropped:
            count, self.dropped = self.dropped, 0
            self._keep(
                HubEvent(
                    number=self._next,
                    at=int(time.time()),
                    what="events.dropped",
                    who="process:hub",
                    count=count,
                )
            )
        return self._keep(HubEvent(number=self._next, what=what, **{"at": int(time.time()), **values}))

    def next(self) -> Told | None:
        """The oldest events, to be told; None if there are none."""
        events = [self._waiting[at] for at in range(min(AT_ONCE, len(self._waiting)))]
        return Told(stream=self._stream, events=events) if events else None

    def told(self, number: int) -> None:
        """Everything up to this number is known to the portal."""
        while self._waiting and self._waiting[0].number <= number:
            self._waiting.popleft()
        if not self._waiting or self._written > 2 * self._most:
            self._rewrite()

    def _keep(self, event: HubEvent) -> HubEvent:
        self._next = event.number + 1
        self._waiting.append(event)
        self._write(event.model_dump_json(exclude_defaults=True))
        return event

    def _read(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            for line in self._path.read_text(errors="replace").splitlines():
                self._read_line(line)
        if self._waiting:
            self._next = max(self._next, self._waiting[-1].number + 1)
        if self._path.exists():
            # a power cut may have taken lines that the portal knows: no number of theirs may be another event's
            self._next = max(self._next, int(time.time() * 1000))
        self._rewrite()

    def _read_line(self, line: str) -> None:
        """One line of the file; the last may be torn, if the machine went down while it was written."""
        try:
            facts = json.loads(line)
            if "stream" in facts:
                told = Told(stream=facts["stream"], events=[])
                self._stream, self._next = told.stream, int(facts["next"])
            else:
                self._waiting.append(HubEvent.model_validate(facts))
        except (ValueError, TypeError, KeyError, ValidationError):
            self._log.warning("A line of %s cannot be read and is left out", self._path)

    def _rewrite(self) -> None:
        """Begin the file anew with what is still to be told; the numbering goes on."""
        first = self._waiting[0].number if self._waiting else self._next
        lines = [json.dumps({"stream": self._stream, "next": first})]
        lines += [event.model_dump_json(exclude_defaults=True) for event in self._waiting]
        beside = self._path.with_suffix(".new")
        try:
            with open(beside, "w", opener=_private) as file:
                file.write("".join(f"{line}\n" for line in lines))
            beside.replace(self._path)
        except OSError as error:
            self._log.error("%s cannot be written: %s", self._path, error)
        self._written = len(self._waiting)

    def _write(self, line: str) -> None:
        try:
            with open(self._path, "a", opener=_private) as file:
                file.write(f"{line}\n")
        except OSError as error:
            self._log.error("%s cannot be written: %s", self._path, error)
        self._written += 1


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
