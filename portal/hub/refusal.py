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
    code: the reason for the audit (`portal.audit.kinds.REASONS`). who: opaque id of whom it refuses, where that is known.
    """

    def __init__(
        self, status: int, title: str, why: str, step: Step | None = None, code: str = "", who: str = ""
    ) -> None:
        super().__init__(status)
        self.title, self.why, self.step, self.code, self.who = title, why, step, code, who

    def __str__(self) -> str:
        return f"{self.status_code} {self.title}"
