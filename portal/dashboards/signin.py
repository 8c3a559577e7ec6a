"""Sign-in through the hub: by its cookie only, asked again every few seconds, and honest when the hub is down."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time
from typing import Any
from urllib.parse import urlsplit

from jupyterhub.services.auth import HubOAuth
from jupyterhub.singleuser.extension import JupyterHubIdentityProvider
from tornado import web

from portal.settings import Settings

SERVICE = "dash"
BASE = f"/services/{SERVICE}/"

CACHE_SECONDS = 8
"""How long the hub's answer is believed: a person who signed out is out after that long."""

HUB_SECONDS = 5.0
"""How long the hub may take to say who somebody is."""


class SignInDown(web.HTTPError):
    """The hub does not answer, so nobody can be recognised. since: when that was first noticed."""

    def __init__(self, since: float) -> None:
        super().__init__(503, "the hub does not answer")
        self.since = since


class CookieOnly(HubOAuth):
    """Recognises people by the cookie that signing in left, and by nothing that a link or a script can carry.

    down_since: when the hub stopped answering; None while it does.
    """

    down_since: float | None = None

    def get_token(self, handler: web.RequestHandler, in_cookie: bool = True) -> Any:
        return self._get_token_cookie(handler) if in_cookie else None

    async def _api_request(self, method: str, url: str, /, **kwargs: Any) -> Any:
        try:
            async with asyncio.timeout(HUB_SECONDS):
                answer = await super()._api_request(method, url, **kwargs)
        except (web.HTTPError, TimeoutError) as error:
            if isinstance(error, web.HTTPError) and "oauth2/token" in url and error.status_code != 502:
                raise web.HTTPError(403, "the hub refused the sign-in") from error
            self.down_since = self.down_since or time.time()
            raise SignInDown(self.down_since) from error
        self.down_since = None
        return answer


def hub_auth(settings: Settings, parent: Any = None) -> CookieOnly:
    """The connection to the hub, as the service `dash`. Nothing is taken from the environment."""
    host_cookies = host_cookies_possible(settings.web.url)
    return CookieOnly(
        parent=parent,
        hub_host=settings.web.url,
        hub_prefix="/hub/",
        base_url=BASE,
        api_url=settings.hub_api_url,
        api_token=settings.secret("dash-hub.token"),
        oauth_client_id=f"service-{SERVICE}",
        oauth_redirect_uri=f"{settings.web.service_origin(SERVICE)}{BASE}oauth_callback",
        access_scopes={f"access:services!service={SERVICE}"},
        cache_max_age=CACHE_SECONDS,
        allow_token_in_url=False,
        cookie_host_prefix_enabled=host_cookies,
        cookie_options={"samesite": "Lax"} | ({"secure": True} if host_cookies else {}),
    )


def host_cookies_possible(url: str) -> bool:
    """Whether browsers keep `__Host-` cookies there: under https, and on this machine itself."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    return parts.scheme == "https" or host == "localhost" or host.endswith(".localhost")


def cookie_secret(settings: Settings) -> bytes:
    """Signs our cookies; the same after a restart, so that nobody is signed out by one."""
    return hmac.digest(settings.secret("dash-hub.token").encode(), b"dashboards: cookies", hashlib.sha256)


class HubIdentity(JupyterHubIdentityProvider):
    """Tells Jupyter who is asking. It serves no routes of its own: `portal.dashboards.routes` has the call-back."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs.pop("token", None)
        kwargs.pop("login_handler_class", None)
        super().__init__(**kwargs)

    @property
    def token(self) -> str:
        """Empty: the base class would hand out the service's own hub token, to templates among others."""
        return ""

    @property
    def auth_enabled(self) -> bool:
        return True

    def _hub_auth_default(self) -> CookieOnly:
        return hub_auth(self.parent.portal, self)

    def get_handlers(self) -> list[Any]:
        return []
