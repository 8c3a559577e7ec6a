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
    """Shown by `error.html`. All words are for the person who reads them."""

    def __init__(self, status: int, title: str, why: str, step: Step | None = None) -> None:
        super().__init__(status, "%s", title)
        self.title, self.why, self.step = title, why, step
