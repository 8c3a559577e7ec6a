"""The call back of a session's job: one port, once, while its start waits for it.

Replaces batchspawner's handler, which lets any notebook set any attribute of its spawner and so run commands on the
hub's host (facts-stack R1). It stays at the same path, so nothing else can answer there.
"""

from __future__ import annotations

import json
from typing import Any, Protocol

import batchspawner.api  # it adds its handler when imported; only afterwards can it be taken out
from jupyterhub.apihandlers import APIHandler, default_handlers
from tornado import web

from portal.hub.language import current
from portal.reasons import say

PATH = r"/api/batchspawner"
LOWEST, HIGHEST = 1024, 65535
LONGEST_BODY = 100


class Waiting(Protocol):
    """A spawner whose job calls back."""

    def owns(self, token: str) -> bool: ...
    def take_port(self, port: int) -> bool: ...


class PortHandler(APIHandler):
    """POST exactly `{"port": n}` with the server's own token: 201. Anything else: 400, 403 or 409, and no effect."""

    def check_xsrf_cookie(self) -> None:
        """Not needed: only the Authorization header counts here, and no browser sends that by itself."""

    async def post(self) -> None:
        spawner = self._spawner()
        port = read_port(self.request.body)
        if port is None:
            raise web.HTTPError(400, say("port-shape", current(), lowest=LOWEST, highest=HIGHEST))
        if not spawner.take_port(port):
            raise web.HTTPError(409, say("port-unexpected", current()))
        self.set_status(201)
        self.finish(json.dumps({"message": "taken"}))

    def _spawner(self) -> Waiting:
        token, user = self.get_auth_token(), self.current_user
        if token and getattr(user, "kind", "") == "user":
            for spawner in user.spawners.values():
                child = getattr(spawner, "child_spawner", None) or spawner
                if hasattr(child, "owns") and child.owns(token):
                    waiting: Waiting = child
                    return waiting
        raise web.HTTPError(403, say("port-token", current()))


def read_port(body: bytes) -> int | None:
    """The port in the body, or None if it is anything but one port under that one name."""
    if len(body) > LONGEST_BODY:
        return None
    try:
        pairs = json.loads(body, object_pairs_hook=list)
    except (ValueError, RecursionError):
        return None
    if not isinstance(pairs, list) or len(pairs) != 1 or not isinstance(pairs[0], tuple):
        return None
    name, port = pairs[0]
    fits = type(port) is int and LOWEST <= port <= HIGHEST
    return port if name == "port" and fits else None


def install() -> None:
    """Take out batchspawner's handler and put ours in. Safe to call twice; call it before the hub starts."""
    ours = (PATH, PortHandler)
    stock = batchspawner.api.BatchSpawnerAPIHandler
    kept: list[Any] = [entry for entry in default_handlers if entry[0] != PATH and entry[1] is not stock]
    default_handlers[:] = [*kept, ours]
