"""Who is asking: a browser signed in through the hub, a process of ours, or a lent capability.

Browsers carry the hub's token in a cookie of ours. Since all hosts under a real domain are one site, a cookie proves
nothing about who made the page: every request that changes something must bear our own Origin (design.md, decision 7).
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

from fastapi import Request
from jupyterhub.services.auth import HubOAuth
from starlette.responses import RedirectResponse, Response
from tornado.web import HTTPError

from portal.settings import Settings
from portal.store import people

BASE = "/services/portal"
SIGNED_IN_SECONDS = 8 * 3600
STATE_SECONDS = 600
CACHE_SECONDS = 5
HUB_SECONDS = 5.0
"""How long the hub may take to say who somebody is; one that hangs is as good as away."""
PROCESSES = ("hub", "agent", "dashboards")


class HubAway(Exception):
    """The hub does not answer, so nobody can be recognised. Not the same as signed out."""

    def __init__(self, since: float) -> None:
        super().__init__("the hub does not answer")
        self.since = since


class SignedOut(Exception):
    """The browser has no good sign-in; it is sent to the hub and back to where it was."""


class Denied(Exception):
    """The asker may not do this. who: opaque id, where somebody is signed in. reason: a word of `portal.audit.kinds`."""

    def __init__(self, who: str = "", reason: str = "role") -> None:
        super().__init__("denied")
        self.who, self.reason = who, reason


@dataclass(frozen=True)
class Viewer:
    """The person at the browser."""

    id: str
    name: str
    roles: frozenset[str]


class Door:
    """Recognises browsers through the hub. One for the life of the service."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._key = settings.secret("portal.key").encode()
        self._away_since: float | None = None
        self.origin = settings.web.service_origin("portal")
        self._hub = HubOAuth(
            api_url=settings.hub_api_url,
            api_token=settings.secret("portal-hub.token"),
            hub_host=settings.web.url,
            hub_prefix="/hub/",
            base_url=f"{BASE}/",
            oauth_client_id="service-portal",
            oauth_redirect_uri=f"{self.origin}{BASE}/oauth_callback",
            access_scopes={"access:services!service=portal"},
            cache_max_age=CACHE_SECONDS,
        )
        secure = self.origin.startswith("https:") or (urlsplit(self.origin).hostname or "").endswith(
            ".localhost"
        )
        self._secure = secure
        self._prefix = "__Host-" if secure else ""

    async def viewer(self, request: Request) -> str:
        """Opaque id of the person at the browser.

        Only what this browser's own sign-in brought counts: a token of a notebook or one made for scripts may reach
        the portal too, and would be a whole sign-in if it could be put into the cookie.

        Raises:
            SignedOut, HubAway.
        """
        token = request.cookies.get(f"{self._prefix}portal")
        if not token:
            raise SignedOut
        user = await self._ask(self._hub.user_for_token(token, sync=False))
        if not user or not self._hub.check_scopes(self._hub.access_scopes, user):
            raise SignedOut
        if not user.get("session_id"):
            raise SignedOut
        return str(user["name"])

    def to_sign_in(self, request: Request) -> Response:
        """Send the browser to the hub; what it needs on return is in a signed cookie, so a restart loses nothing."""
        verifier, challenge, method = self._hub.generate_pkce_code_challenge()
        state = self._hub.generate_state()
        back = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        if request.url.path == f"{BASE}/oauth_callback":
            back = f"{BASE}/"  # a second visit to that address could only begin a third
        query = {
            "client_id": self._hub.oauth_client_id,
            "redirect_uri": self._hub.oauth_redirect_uri,
            "response_type": "code",
            "state": state,
            "code_challenge": challenge,
            "code_challenge_method": method,
        }
        response = RedirectResponse(f"{self._hub.login_url.partition('?')[0]}?{urlencode(query)}", 302)
        kept = {"state": state, "verifier": verifier, "back": back, "until": int(time.time()) + STATE_SECONDS}
        self._set(response, "portal-state", self._sign(kept), STATE_SECONDS)
        return response

    async def from_sign_in(self, request: Request) -> Response:
        """The hub's answer: exchange the code, keep the token in a cookie, go back to where the person was.

        Raises:
            SignedOut: no such sign-in was begun in this browser, or it is too old.
        """
        kept = self._verify(request.cookies.get(f"{self._prefix}portal-state", ""))
        state, code = request.query_params.get("state", ""), request.query_params.get("code", "")
        if not kept or not code or not _same(str(kept["state"]), state):
            raise SignedOut
        try:
            token = await self._ask(
                self._hub.token_for_code(code, code_verifier=kept["verifier"], sync=False)
            )
        except HubAway:
            if self._away_since:
                raise
            raise SignedOut from None
        response = RedirectResponse(own_path(str(kept["back"])), 302)
        self._set(response, "portal", token, SIGNED_IN_SECONDS)
        response.delete_cookie(f"{self._prefix}portal-state", path="/", secure=self._secure, httponly=True)
        return response

    async def _ask(self, question: Any) -> Any:
        try:
            async with asyncio.timeout(HUB_SECONDS):
                answer = await question
        except TimeoutError:
            self._away_since = self._away_since or time.time()
            raise HubAway(self._away_since) from None
        except HTTPError as error:
            refused = str(error.log_message).startswith("Failed to check authorization:")
            self._away_since = None if refused else self._away_since or time.time()
            raise HubAway(self._away_since or time.time()) from None
        self._away_since = None
        return answer

    def _set(self, response: Response, name: str, value: str, seconds: int) -> None:
        response.set_cookie(
            f"{self._prefix}{name}",
            value,
            max_age=seconds,
            path="/",
            secure=self._secure,
            httponly=True,
            samesite="lax",
        )

    def _sign(self, value: dict[str, Any]) -> str:
        body = urlsafe_b64encode(json.dumps(value).encode()).decode()
        return f"{body}.{self._mac(body)}"

    def _verify(self, text: str) -> dict[str, Any] | None:
        body, _, mac = text.partition(".")
        if not _same(self._mac(body), mac):
            return None
        value: dict[str, Any] = json.loads(urlsafe_b64decode(body))
        return value if value["until"] > time.time() else None

    def _mac(self, body: str) -> str:
        return hmac.new(self._key, body.encode(), hashlib.sha256).hexdigest()


def _same(one: str, other: str) -> bool:
    """Compare in constant time, whatever letters somebody sent."""
    return hmac.compare_digest(one.encode(errors="surrogateescape"), other.encode(errors="surrogateescape"))


def own_path(path: str) -> str:
    """A path of the portal itself; anything else becomes home."""
    fine = path.startswith(f"{BASE}/") and path.isprintable() and "\\" not in path and "//" not in path
    return path if fine else f"{BASE}/"


def bearer(request: Request) -> str:
    kind, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if kind.lower() in ("bearer", "token") else ""


class Staff:
    """Recognises processes of ours by the token each has in a 0600 file."""

    def __init__(self, settings: Settings) -> None:
        self._hashes = {name: people.token_hash(settings.secret(f"{name}.token")) for name in PROCESSES}

    def require(self, request: Request, *names: str) -> None:
        """Raise Denied unless the asker is one of these processes."""
        asked = people.token_hash(bearer(request))
        if not any(hmac.compare_digest(self._hashes[name], asked) for name in names):
            raise Denied
