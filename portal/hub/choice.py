"""The choice that a request for the start form carries, of a link or of a form that comes back, and why it was refused."""

from __future__ import annotations

import sys
from contextvars import ContextVar
from typing import Any

from jupyterhub.spawner import SpawnException

FIELDS = ("grant", "size", "minutes")

_choice: ContextVar[dict[str, str] | None] = ContextVar("choice", default=None)


def take(handler: Any) -> None:
    """Keep what the request asks for, for the rest of it. It is compared with what is offered, and never shown."""
    sent = {
        name: handler.get_body_argument(name, "") or handler.get_query_argument(name, "") for name in FIELDS
    }
    _choice.set({name: value for name, value in sent.items() if value})


def current() -> dict[str, str]:
    """What the request that is being answered asks for."""
    return _choice.get() or {}


class Fault(str):
    """Why a start was refused, for the person. field: the choice at fault, or empty."""

    field: str

    def __new__(cls, said: str, field: str = "") -> Fault:
        made = super().__new__(cls, said)
        made.field = field if field in FIELDS else ""
        return made

    @classmethod
    def current(cls) -> Fault | None:
        """The refusal that is being answered with the form, if there is one: to be asked while it is being handled."""
        error = sys.exc_info()[1]
        return cls(error.message, error.reason or "") if isinstance(error, SpawnException) else None
