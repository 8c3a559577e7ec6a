"""What the audit learns from the hub: where a request came from, who stops whose session, bad tokens.

JupyterHub has no hooks of its own for these, so the methods that every request goes through are wrapped, once.
"""

from __future__ import annotations

import time
from contextvars import ContextVar
from typing import Any

from jupyterhub.handlers.base import BaseHandler
from tornado import web

from portal.audit import origin
from portal.audit.folding import Tries
from portal.hub.refusal import Refusal

TOKEN_SECONDS = 300
PORTAL_SERVICE = "portal"
"""It stops sessions for people and writes down itself who asked."""

_where: ContextVar[str] = ContextVar("where", default="")
_bad_tokens = Tries(TOKEN_SECONDS)


def where() -> str:
    """The network address that the request being answered came from; empty outside of a request."""
    return _where.get()


def install() -> None:
    """Wrap what every request, start and stop goes through. Safe to call twice; after `pages.install`."""
    if getattr(BaseHandler.prepare, "tells_events", False):
        return
    prepare, start, stop = BaseHandler.prepare, BaseHandler.spawn_single_user, BaseHandler.stop_single_user

    async def our_prepare(self: Any) -> None:
        _where.set(_address(self))
        try:
            await prepare(self)
        except Refusal as refusal:
            if refusal.code:
                denied(self, "hub", refusal.code)
            raise
        except web.HTTPError:
            _check_token(self)
            raise
        _check_token(self)

    async def our_start(self: Any, user: Any, *args: Any, **kwargs: Any) -> Any:
        if _by(self, user) == "other":
            self.authenticator.watch.note("session.started", _who(self), user.name, where())
        return await start(self, user, *args, **kwargs)

    async def our_stop(self: Any, user: Any, server_name: str = "") -> Any:
        stopped(self, user, server_name)
        return await stop(self, user, server_name)

    our_prepare.is_ours = getattr(prepare, "is_ours", False)  # type: ignore[attr-defined]
    our_prepare.tells_events = True  # type: ignore[attr-defined]
    BaseHandler.prepare = our_prepare
    BaseHandler.spawn_single_user = our_start
    BaseHandler.stop_single_user = our_stop


def refused(handler: Any, reason: str, who: str = "") -> None:
    """A sign-in was refused. reason: one of `portal.audit.kinds.REASONS`."""
    handler.authenticator.watch.note("sign-in.refused", who, where=where(), reason=reason)


def denied(handler: Any, subject: str, reason: str) -> None:
    """Something was asked for that the asker may not do."""
    handler.authenticator.watch.note("access.denied", _who(handler), subject, where(), reason)


def stopped(handler: Any, user: Any, server_name: str = "") -> None:
    """Somebody stops a session, their own or another's."""
    by = _by(handler, user)
    if by != PORTAL_SERVICE and server_name in user.spawners and user.spawners[server_name].active:
        subject = _session(user.spawners[server_name]) or user.name
        handler.authenticator.watch.note("session.stopped", _who(handler), subject, where(), by=by)


def _by(handler: Any, user: Any) -> str:
    asker = handler.current_user
    if asker is None or asker.name == user.name:
        return "self"
    is_portal = asker.kind == "service" and asker.name == PORTAL_SERVICE
    return PORTAL_SERVICE if is_portal else "other"


def _who(handler: Any) -> str:
    asker = handler.current_user
    if asker is None:
        return ""
    return f"process:{asker.name}"[:64] if asker.kind == "service" else str(asker.name)


def _session(spawner: Any) -> str:
    """The id of the session that a spawner of ours has; empty where it has none yet."""
    child = getattr(spawner, "child_spawner", None) or spawner
    return str(getattr(getattr(child, "session", None), "id", "") or "")


def _address(handler: Any) -> str:
    return origin.address(
        handler.request.headers.get("X-Forwarded-For", ""),
        _peer(handler),
        handler.authenticator.portal.web.hops,
    )


def _peer(handler: Any) -> str:
    """Who opened the connection, which JupyterHub replaces by what any client can write into X-Real-Ip."""
    address = getattr(getattr(handler.request.connection, "context", None), "address", None)
    return str(address[0]) if isinstance(address, tuple) else ""


def _check_token(handler: Any) -> None:
    """Write down a bad token, and after many from one address answer 429.

    A good token is always served, whatever came from the same address: many people share one, and the sessions of one
    node do as well. A process of ours that asks about a sign-in which has ended is nobody trying.
    """
    token = handler.get_auth_token()
    local = "X-Forwarded-For" not in handler.request.headers and where() in ("127.0.0.1", "::1")
    if not token or local or getattr(handler, "_jupyterhub_user", None) is not None:
        return
    denied(handler, "hub-api", "token")
    limit = handler.authenticator.portal.audit.bad_tokens
    if _bad_tokens.add(where(), int(time.time())) > limit:
        handler.set_header("Retry-After", str(TOKEN_SECONDS))
        raise web.HTTPError(429, "Too many bad tokens from this address")
