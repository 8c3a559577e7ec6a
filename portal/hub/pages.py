"""The hub's own pages where they differ from JupyterHub's: home, the start form, stop, language, signed out."""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode, urlsplit
from zoneinfo import ZoneInfo

from jupyterhub.handlers.base import BaseHandler
from jupyterhub.handlers.pages import HomeHandler, SpawnHandler, SpawnPendingHandler
from jupyterhub.spawner import SpawnException
from markupsafe import Markup
from tornado import web
from tornado.web import StaticFileHandler

from portal import locale, look, reasons
from portal.hub import choice, events, language
from portal.hub.choice import Fault
from portal.hub.language import gettext as _
from portal.hub.refusal import Refusal
from portal.hub.tokens import Closed, Tokens
from portal.settings import Web

SAFE = {"GET", "HEAD", "OPTIONS"}
CANCEL_SECONDS = 5.0
PORTAL = "/services/portal/"
DASHBOARDS = ("allocation", "queue")


def handlers() -> list[tuple[Any, ...]]:
    """Our handlers; they come before JupyterHub's."""
    install()
    return [
        (r"/home", Home),
        (r"/stop", Stop),
        (r"/spawn", Spawn),
        (r"/spawn/([^/]+)", Spawn),
        (r"/spawn/([^/]+)/([^/]+)", Spawn),
        (r"/spawn-pending/([^/]+)", Pending),
        (r"/spawn-pending/([^/]+)/([^/]+)", Pending),
        (r"/lang", Choices),
        (r"/token", Tokens),
        (r"/admin(/.*)?", Closed),
        (r"/accept-share", Closed),
        (r"/signed-out", SignedOut),
        (r"/look/(.*)", Asset, {"path": str(look.FOLDER)}),
        (r"/scripts/(.*)", Asset, {"path": str(language.SCRIPTS)}),
    ]


def install() -> None:
    """Make every hub page choose its language first, and refuse what another page sent. Safe to call twice.

    JupyterHub has no hook of its own for this, so the one method that every page goes through is wrapped.
    """
    stock = BaseHandler.prepare
    if getattr(stock, "is_ours", False):
        return

    async def prepare(self: Any) -> None:
        language.choose(self)
        await stock(self)
        _refuse_other_origin(self)

    prepare.is_ours = True  # type: ignore[attr-defined]
    BaseHandler.prepare = prepare


def _refuse_other_origin(handler: Any) -> None:
    """What changes something and comes with a cookie must come from a page of our own origin.

    Under one domain a person's notebook is the same site as the hub, so SameSite protects nothing.
    """
    cookie_signed_in = handler.current_user and not getattr(handler, "_token_authenticated", False)
    if handler.request.method in SAFE or not cookie_signed_in:
        return
    public = handler.settings["public_url"]
    if handler.request.headers.get("Origin") != f"{public.scheme}://{public.netloc}":
        raise Refusal(
            403,
            _("This was refused"),
            _("The request did not come from a page of this portal."),
            code="origin",
        )


class Asset(StaticFileHandler):
    """Style sheets and scripts; a page names their version, so browsers may keep them."""

    def set_extra_headers(self, path: str) -> None:
        self.set_header("Cache-Control", look.keeping(path, bool(self.get_argument("v", ""))))
        self.set_header("X-Content-Type-Options", "nosniff")


class Home(HomeHandler):
    """The portal, while it answers; else the hub's own page, with Open and Stop."""

    @web.authenticated
    async def get(self) -> None:
        watch = self.authenticator.watch
        if watch.up is None:
            await watch.look()
        if not watch.up:
            await super().get()
            return
        web_settings = self.authenticator.portal.web
        # where our cookies do not reach the portal's host, it is told what they hold
        chosen = look.carried(web_settings.url, language.cookies())
        self.redirect(f"{web_settings.service_origin('portal')}{PORTAL}{chosen and 'language' + chosen}")


class Spawn(SpawnHandler):
    """The start form. GET shows it and never starts anything, whatever the query: a stranger's link is a GET."""

    async def prepare(self) -> None:
        await super().prepare()
        choice.take(self)

    def _get_user_options(self, query_options: dict[str, Any]) -> dict[str, Any]:
        return {}

    def _get_pending_url(self, user: Any, server_name: str) -> str:
        """Without the query of the form's address, which holds its one-time token."""
        path = f"/hub/spawn-pending/{user.escaped_name}" + (f"/{server_name}" if server_name else "")
        wanted = self.get_argument("next", "")
        return path + ("?" + urlencode({"next": wanted}) if wanted else "")

    async def _post(self, user_name: str, server_name: str, display_name: str) -> Any:
        """A form sent twice, by two clicks or from two tabs, starts one session: the second looks on."""
        user = self.current_user
        spawner = user.spawners.get(server_name) if user_name == user.name else None
        if spawner is not None and (spawner.active or spawner.server is not None):
            self.redirect(self._get_pending_url(user, server_name))
            return None
        return await super()._post(user_name=user_name, server_name=server_name, display_name=display_name)

    async def _wrap_spawn_single_user(self, *args: Any, **kwargs: Any) -> Any:
        if self.request.method in SAFE:
            raise web.HTTPError(405)
        return await super()._wrap_spawn_single_user(*args, **kwargs)

    async def _render_form(
        self, for_user: Any, spawner_options_form: str, message: str = "", html_message: str = ""
    ) -> str:
        """As JupyterHub's, but a refusal reads as it was written, without class name and number."""
        error = sys.exc_info()[1]
        if isinstance(error, SpawnException):
            message = Fault(error.message, error.reason or "")
        elif isinstance(error, web.HTTPError) and error.status_code == 429:
            message = reasons.say("busy", language.current())
        elif error is not None:
            message = reasons.say("failed", language.current())
        # the form is the spawner's own markup, escaped where it was made; nothing else is trusted
        html: str = await super()._render_form(for_user, Markup(spawner_options_form), message, "")
        return html


class Pending(SpawnPendingHandler):
    """The wait for a session, as it stands at this moment; a page without scripts comes again until it is ready.

    `?plain` is such a page: it says that the session is ready, where another goes straight there.
    """

    @web.authenticated
    async def get(self, user_name: str, server_name: str = "") -> None:
        user = self.current_user
        spawner = user.spawners.get(server_name) if user_name == user.name else None
        if spawner is not None and spawner.ready and self.get_query_argument("plain", ""):
            url = self.get_next_url(user, default=user.server_url(server_name))
            self.finish(await self.render_template("ready.html", url=url))
            return
        await super().get(user_name, server_name)

    def render_template(self, name: str, sync: bool = False, **values: Any) -> Any:
        if name == "spawn_pending.html" and not sync:
            return self._render_wait(**values)
        return super().render_template(name, sync, **values)

    async def _render_wait(self, spawner: Any, **values: Any) -> str:
        reader, wanted = language.current(), self.get_query_argument("next", "")
        html: str = await super().render_template(
            "spawn_pending.html",
            situation=await spawner.situation(reader),
            asked=await spawner.summary(reader),
            since=self._clock(spawner.orm_spawner.started),
            again="?" + urlencode({"plain": "1"} | ({"next": wanted} if wanted else {})),
            **values,
        )
        return html

    def _clock(self, at: datetime | None) -> str:
        """at: as JupyterHub keeps it, in UTC without saying so."""
        zone = ZoneInfo(self.authenticator.portal.site.timezone)
        return at.replace(tzinfo=UTC).astimezone(zone).strftime("%H:%M") if at else ""


class Stop(BaseHandler):
    """Stops the person's own session, or takes it out of the queue. A form, so that it works without scripts."""

    @web.authenticated
    async def post(self) -> None:
        user = self.current_user
        spawner = user.spawners[""]
        if spawner.pending and spawner.pending != "stop":
            events.stopped(self, user)
            await self._interrupt(spawner)
        if spawner.server is not None and not spawner.pending:
            await self.stop_single_user(user, "")
        self.redirect("/hub/home")

    async def _interrupt(self, spawner: Any) -> None:
        if spawner._spawn_future:
            spawner._spawn_future.cancel()
        for _tick in range(int(CANCEL_SECONDS / 0.1)):
            if not spawner.pending:
                return
            await asyncio.sleep(0.1)


class Choices(BaseHandler):
    """`/hub/lang?set=zh_Hant_HK`, `/hub/lang?theme=dark`: keeps the choice and goes back to where it was made.

    From another of our hosts: `to=portal` or `to=dash`, and `back` for the path there, so that all keep the same.
    """

    def get(self) -> None:
        chosen = look.choices(self.get_argument("set", ""), self.get_argument("theme", ""))
        if not chosen:
            raise Refusal(400, _("There is no such choice"), _("Choose one of those offered."))
        web_settings = self.authenticator.portal.web
        options: dict[str, Any] = {"path": "/", "samesite": "Lax"}
        if urlsplit(web_settings.url).scheme == "https":
            options["secure"] = True
        if domain := locale.cookie_domain(web_settings.url):
            options["domain"] = domain
        for cookie, value in chosen.items():
            self.set_cookie(cookie, value, expires_days=locale.COOKIE_DAYS, **options)
        back = self.get_argument("back", "")
        if self.get_argument("to", "") == "portal" and self.authenticator.watch.up:
            self.redirect(_portal_choices(web_settings, look.query(chosen), back))
        elif self.get_argument("to", "") == "dash" and back in DASHBOARDS:
            self.redirect(f"{web_settings.service_origin('dash')}/services/dash/{back}?{look.query(chosen)}")
        else:
            self.redirect(_back(self.request.headers.get("Referer", ""), web_settings.url))


def _portal_choices(web_settings: Web, query: str, back: str) -> str:
    """The portal's own switch; it checks `back` itself."""
    place = "&" + urlencode({"back": back}) if back else ""
    return f"{web_settings.service_origin('portal')}{PORTAL}language?{query}{place}"


def _back(referer: str, own: str) -> str:
    """The page of ours that the request came from; home if it is not ours or only passed through."""
    parts = urlsplit(referer)
    ours = f"{parts.scheme}://{parts.netloc}" == own and parts.path.startswith("/hub/")
    ours = ours and ".." not in parts.path
    if not ours or parts.path.startswith(("/hub/lang", "/hub/oauth", "/hub/api", "/hub/stop")):
        return "/hub/home"
    return parts.path + (f"?{parts.query}" if parts.query else "")


class SignedOut(BaseHandler):
    """Where the provider's sign-out returns to."""

    async def get(self) -> None:
        self.finish(await self.render_template("logout.html", asking=False))
