"""A page that says no: what, why, and the next step, in the reader's language."""

from __future__ import annotations

from dataclasses import dataclass

from tornado import web


@dataclass(frozen=True)
class Step:
    """What to do next. url: a path of the hub, or an address of ours."""

    label: str
    url: str


class Refusal(web.HTTPError):
    """Shown by `error.html`. All words are for the person who reads them.

    It has no log message, because Tornado would log it with the whole address, which can hold a code of sign-in.
    """

    def __init__(self, status: int, title: str, why: str, step: Step | None = None) -> None:
        super().__init__(status)
        self.title, self.why, self.step = title, why, step

    def __str__(self) -> str:
        return f"{self.status_code} {self.title}"
