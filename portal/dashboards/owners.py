"""Who owns which kernel, and the rule that nobody else may read, steer, end or hear it."""

from __future__ import annotations

from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from jupyter_server.auth import Authorizer


@dataclass(frozen=True)
class Viewer:
    """The person for whom a page is being made, by opaque id, and the language they read."""

    person: str
    language: str


viewer: ContextVar[Viewer] = ContextVar("viewer")
"""Set by the page's handler from the hub's answer, never from the request; read where its kernel is started."""


@dataclass
class Owned:
    """A kernel's owner. token: the capability it reads the portal with. Instants are of the monotonic clock.

    connected: when a websocket was last seen open. seen: when the page last proved that its person is signed in.
    """

    person: str
    token: str
    connected: float
    seen: float


@dataclass
class Owners:
    """The map from kernel id to owner. A kernel that is not in it belongs to nobody, and nobody reaches it."""

    kernels: dict[str, Owned] = field(default_factory=dict)

    def owns(self, person: str, kernel_id: str) -> bool:
        owned = self.kernels.get(kernel_id)
        return owned is not None and owned.person == person

    def held_by(self, person: str) -> int:
        """How many kernels this person has."""
        return sum(owned.person == person for owned in self.kernels.values())

    def __iter__(self) -> Iterator[tuple[str, Owned]]:
        return iter(list(self.kernels.items()))


class OwnerAuthorizer(Authorizer):
    """Jupyter asks this before it reads a kernel or opens a websocket to it; anything else is refused."""

    def is_authorized(self, handler: Any, user: Any, action: str, resource: str) -> bool:
        kernel_id = handler.path_kwargs.get("kernel_id")
        app: Any = self.parent
        owners: Owners = app.owners
        return resource == "kernels" and kernel_id is not None and owners.owns(user.username, kernel_id)
