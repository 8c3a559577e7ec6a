"""Waiting for what happens in other processes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def until(what: Callable[[], T | None], seconds: float = 60, why: str = "it did not come") -> T:
    """What the question answers, as soon as that is true or full; fail with `why` after so many seconds."""
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline, f"{why}, not within {seconds:g} s"
        time.sleep(0.1)
    return found
