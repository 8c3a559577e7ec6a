"""Sign-in through OpenID Connect: who a person is, and whether a second factor proved it.

The base class talks to the provider; added here: the ID token is verified, no second factor means no sign-in before
any other rule, an outage of the provider signs nobody out, and the portal is told who signed in.
"""

from __future__ import annotations

import asyncio
import time
from contextvars import ContextVar
from functools import cached_property
from typing import Any
from urllib.parse import urlencode

import jwt
from jupyterhub.handlers.login import LogoutHandler
from oauthenticator.generic import GenericOAuthenticator
from oauthenticator.oauth2 import STATE_COOKIE_NAME, OAuthCallbackHandler, OAuthLoginHandler
from tornado import web
from tornado.httpclient import HTTPClientError
from traitlets import Instance

from portal.audit import origin
from portal.client import Client, SignIn
from portal.hub import events, pages
from portal.hub.language import gettext as _
from portal.hub.refusal import Refusal, Step
from portal.hub.spool import Spool
from portal.hub.watch import PortalWatch
from portal.identity import RoleGroups, has_second_factor, one_line, person_id, roles, words
from portal.settings import Settings

ALGORITHMS = ["RS256", "PS256", "ES256", "EdDSA"]
ID_CLAIMS = ("acr", "amr", "auth_time", "exp")
SIGN_IN_AGAIN = "/hub/oauth_login?again=1"

_provider_trouble: ContextVar[list[str] | None] = ContextVar("provider_trouble", default=None)


class SignInHandler(OAuthLoginHandler):
    """Leads to the provider; `again=1` makes it ask for the password even if it remembers somebody."""

    def authorize_redirect(self, *args: Any, extra_params: dict[str, str], **kwargs: Any) -> None:
        if self.get_argument("again", ""):
            extra_params = {**extra_params, "prompt": "login"}
        super().authorize_redirect(*args, extra_params=extra_params, **kwargs)


class CallbackHandler(OAuthCallbackHandler):
    """Back from the provider. Whatever went wrong on the way ends on a page that says what to do."""

    def check_arguments(self) -> None:
        try:
            super().check_arguments()
        except web.HTTPError as error:
            self.log.info("Sign-in not finished: %s", error.get_message())
            raise _not_finished() from None

    async def get(self) -> None:
        try:
            await super().get()
        except (HTTPClientError, OSError) as error:
            self.log.warning("The identity provider does not answer as it should: %s", error)
            events.refused(self, "provider")
            raise _provider_down() from None
        except Refusal as refusal:
            events.refused(self, refusal.code, refusal.who)
            raise
        except web.HTTPError:
            events.refused(self, "not-verified")  # the provider did not take the code
            raise


class SignOutHandler(LogoutHandler):
    """GET asks, POST signs out: a link or a picture on another page must not sign anybody out.

    Here, at the provider, and in the portal and dashboards as soon as they look again.
    """

    async def get(self) -> None:
        if not self.current_user:
            self.redirect("/hub/signed-out")
            return
        self.finish(await self.render_template("logout.html", asking=True))

    async def post(self) -> None:
        user = self.current_user
        state = (await user.get_auth_state() if user else None) or {}
        await self.default_handle_logout()
        if user:
            self.authenticator.watch.note("sign-out", user.name, where=events.where())
        self.clear_cookie(STATE_COOKIE_NAME)
        self.redirect(self.authenticator.sign_out_url(state.get("id_token")))


class PortalAuthenticator(GenericOAuthenticator):
    """See the module."""

    login_handler = SignInHandler
    callback_handler = CallbackHandler
    logout_handler = SignOutHandler

    portal = Instance(Settings, help="The settings of the portal.").tag(config=True)

    @cached_property
    def watch(self) -> PortalWatch:
        portal = Client(self.portal.portal_url, self.portal.secret("hub.token"))
        return PortalWatch(portal, Spool(self.portal.home / "hub-events.jsonl", self.log), self.log)

    @cached_property
    def names(self) -> dict[str, str]:
        """Person id > name as shown; filled at sign-in and refresh, never stored."""
        return {}

    @cached_property
    def _keys(self) -> jwt.PyJWKClient:
        return jwt.PyJWKClient(self.portal.identity.endpoint("jwks"), timeout=5)

    def get_handlers(self, app: Any) -> list[tuple[Any, ...]]:
        self.watch.start()
        ours = pages.handlers()
        events.install()  # around what that has put around every request
        return [*ours, *super().get_handlers(app)]

    # Who: the verified ID token, and the same person's user info

    async def token_to_user(self, token_info: dict[str, Any]) -> dict[str, Any]:
        """The user info of the provider, with `acr`, `amr`, `auth_time` and `exp` of the verified ID token.

        The time of expiry is not checked here, because a refresh reads the old token again; `authenticate` does.
        """
        user_info: dict[str, Any] = await super().token_to_user(token_info)
        claims = await self._verified(str(token_info.get("id_token") or ""))
        if claims["sub"] != user_info.get("sub"):
            self.log.error("ID token and user info are of two different subjects")
            raise _not_verified()
        told = {name: value for name, value in user_info.items() if name not in ID_CLAIMS}
        return told | {name: claims[name] for name in ID_CLAIMS if name in claims}

    async def _verified(self, token: str) -> dict[str, Any]:
        identity = self.portal.identity
        try:
            key = await asyncio.to_thread(self._keys.get_signing_key_from_jwt, token)
            return jwt.decode(
                token,
                key,
                algorithms=ALGORITHMS,
                audience=identity.client_id,
                issuer=identity.issuer,
                options={"verify_exp": False, "require": ["iss", "aud", "sub", "exp", "iat"]},
            )
        except jwt.PyJWKClientConnectionError as error:
            raise HTTPClientError(599, "the provider's keys cannot be read") from error
        except jwt.PyJWTError as error:
            # the token itself holds personal data and stays out of the log
            self.log.error("ID token refused: %s", type(error).__name__)
            raise _not_verified() from None

    def user_info_to_username(self, user_info: dict[str, Any]) -> str:
        return person_id(self.portal.identity.issuer, str(user_info["sub"]))

    async def get_user_groups(self, auth_state: dict[str, Any]) -> set[str]:
        """Our roles, nothing else: the provider may have thousands of groups."""
        return {role.value for role in self._roles(auth_state[self.user_auth_state_key])}

    def _roles(self, user_info: dict[str, Any]) -> list[Any]:
        identity = self.portal.identity
        named = RoleGroups(
            officer=identity.officer_group,
            operator=identity.operator_group,
            instructor=identity.instructor_group,
        )
        return roles(words(user_info.get("groups")), named)

    # Whether

    async def authenticate(self, handler: Any, data: Any = None, **kwargs: Any) -> dict[str, Any]:
        model: dict[str, Any] = await super().authenticate(handler, data, **kwargs)
        user_info = model["auth_state"][self.user_auth_state_key]
        if not _in_time(user_info):
            self.log.error("ID token refused: expired")
            raise _not_verified()
        return model

    async def check_allowed(self, username: str, auth_model: dict[str, Any] | None) -> bool:
        """Everybody with a second factor may sign in; what they may start is the portal's answer."""
        info = (auth_model or {}).get("auth_state", {}).get(self.user_auth_state_key, {})
        if not has_second_factor(info, self.portal.identity.second_factor):
            self.log.warning("%s signed in without a second factor: refused", username)
            raise _no_second_factor(username)
        return True

    async def run_post_auth_hook(self, handler: Any, auth_model: dict[str, Any]) -> dict[str, Any]:
        model: dict[str, Any] = await super().run_post_auth_hook(handler, auth_model)
        await self._tell_portal(
            "sign-in", model, origin.browser(handler.request.headers.get("User-Agent", ""))
        )
        return model

    async def _tell_portal(self, what: str, model: dict[str, Any], browser: str = "") -> None:
        info = model["auth_state"][self.user_auth_state_key]
        name = self.names[model["name"]] = one_line(info.get("name"))
        person = SignIn(
            person=model["name"],
            issuer=self.portal.identity.issuer,
            subject=str(info["sub"]),
            name=name,
            email=one_line(info.get("email"), 254),
            roles=[role.value for role in self._roles(info)],
        )
        await self.watch.tell(what, person, where=events.where(), browser=browser)

    # Later

    async def refresh_user(self, user: Any, handler: Any = None, **kwargs: Any) -> Any:
        """Ask the provider again. False only if it answers that the person has to sign in.

        An outage of the provider changes nothing: running work must not need it (OAuthenticator raises 500).
        """
        trouble: list[str] = []
        _provider_trouble.set(trouble)
        try:
            refreshed = await super().refresh_user(user, handler, **kwargs)
        except HTTPClientError as error:
            if error.code < 500:
                raise
            trouble.append(str(error))
        except OSError as error:
            trouble.append(str(error))
        except Refusal:
            return False
        finally:
            _provider_trouble.set(None)
        if trouble:
            self.log.warning("%s stays signed in, the provider is in trouble: %s", user.name, trouble[0])
            return True
        if isinstance(refreshed, dict):
            if refreshed["name"] != user.name:
                return False
            await self._tell_portal("refresh", refreshed)
        return refreshed

    async def get_token_info(self, handler: Any, params: dict[str, Any]) -> dict[str, Any]:
        """As the base class; notes an outage, which the base class would take for a refusal at refresh."""
        try:
            token_info: dict[str, Any] = await super().get_token_info(handler, params)
            return token_info
        except (HTTPClientError, OSError) as error:
            trouble = _provider_trouble.get()
            if trouble is not None and getattr(error, "code", 599) >= 500:
                trouble.append(str(error))
            raise

    def sign_out_url(self, id_token: str | None) -> str:
        """The provider's sign-out, which returns to our own page. Known who asks, it needs no second question."""
        query = {
            "client_id": self.client_id,
            "post_logout_redirect_uri": f"{self.portal.web.url}/hub/signed-out",
        }
        if id_token:
            query["id_token_hint"] = id_token
        return f"{self.portal.identity.endpoint('logout')}?{urlencode(query)}"


def _in_time(user_info: dict[str, Any]) -> bool:
    return isinstance(user_info.get("exp"), (int, float)) and user_info["exp"] > time.time()


def _no_second_factor(who: str) -> Refusal:
    return Refusal(
        403,
        _("A second factor is needed"),
        _(
            "You signed in with a password alone. This portal also asks for a second proof, such as a code on your "
            "phone. Set one up at your organisation, then sign in again."
        ),
        Step(_("Sign in again"), SIGN_IN_AGAIN),
        code="second-factor",
        who=who,
    )


def _not_verified() -> Refusal:
    return Refusal(
        403,
        _("Your sign-in could not be verified"),
        _("What your organisation's sign-in sent us does not hold. Try again; if it happens twice, tell us."),
        Step(_("Sign in again"), SIGN_IN_AGAIN),
        code="not-verified",
    )


def _not_finished() -> Refusal:
    return Refusal(
        400,
        _("The sign-in was not finished"),
        _("It took too long, was cancelled, or was finished in another window."),
        Step(_("Sign in"), "/hub/login"),
        code="not-finished",
    )


def _provider_down() -> Refusal:
    return Refusal(
        503,
        _("Sign-in is down at the moment"),
        _(
            "Your organisation's sign-in does not answer. Sessions and jobs that run go on. Try again in a few "
            "minutes."
        ),
        Step(_("Try again"), "/hub/login"),
        code="provider",
    )
