"""Every address the dashboards answer, and who may use it. What is not listed here does not exist.

Voila and Jupyter bring routes that start kernels, read files or run code. Each class of route is named below with what
becomes of it; a version that brings a new one stops the start until somebody has read it.
"""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from jupyter_core.utils import ensure_async
from jupyter_server.base.handlers import APIHandler, FileFindHandler
from jupyter_server.services.kernels.connection.base import deserialize_msg_from_ws_v1
from jupyter_server.services.kernels.connection.channels import ZMQChannelsWebsocketConnection
from jupyter_server.services.kernels.handlers import KernelHandler
from jupyterhub.singleuser.extension import JupyterHubOAuthCallbackHandler
from jupyterlab_server.themes_handler import ThemesHandler
from tornado import web
from tornado.iostream import StreamClosedError
from voila.shutdown_kernel_handler import VoilaShutdownKernelHandler
from voila.static_file_handler import AllowListFileHandler, MultiStaticFileHandler, TemplateStaticFileHandler
from voila.tornado.contentshandler import VoilaContentsHandler
from voila.tornado.handler import TornadoVoilaHandler
from voila.tornado.kernel_websocket_handler import VoilaKernelWebsocketHandler
from voila.tornado.treehandler import TornadoVoilaTreeHandler

from portal import look
from portal.dashboards.frame import SCRIPTS, Choice
from portal.dashboards.frame import error as error_page
from portal.dashboards.kernels import Full, Kernels, NotAccepted, PortalDown
from portal.dashboards.owners import Owners, Viewer, viewer
from portal.dashboards.signin import BASE, SERVICE, SignInDown
from portal.locale import COOKIE, COOKIE_DAYS, cookie_domain, negotiate, translator
from portal.settings import Settings

PAGES = ("allocation", "queue")
KERNEL_ID = r"(?P<kernel_id>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})"
RETRY_SECONDS = 10

Route = tuple[Any, ...]

log = logging.getLogger(__name__)


class UnknownRoute(Exception):
    """Voila brings a route that nobody has decided about. The message names it."""


def headers(settings: Settings) -> dict[str, str]:
    """Headers of every answer. Scripts and styles come from here only; `blob:` is how widgets load their own code."""
    origin = settings.web.service_origin(SERVICE)
    policy = (
        "default-src 'none'",
        "script-src 'self' blob:",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data:",
        "font-src 'self' data:",
        f"connect-src 'self' {origin.replace('http', 'ws', 1)}",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
    return {
        "Content-Security-Policy": "; ".join(policy),
        "X-Frame-Options": "DENY",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "same-origin",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
    }


def log_answer(handler: web.RequestHandler) -> None:
    """Log each page opened and each refusal; not the many small requests between."""
    status = handler.get_status()
    if status >= 400 or isinstance(handler, Page):
        level = logging.INFO if status < 400 else logging.WARNING
        log.log(
            level, "%d %s %.0f ms", status, handler._request_summary(), 1000 * handler.request.request_time()
        )


class Ours(web.RequestHandler):
    """What all our answers share: the headers, errors in plain words, and state changed from our own pages only."""

    @property
    def portal(self) -> Settings:
        settings: Settings = self.settings["portal"]
        return settings

    @property
    def owners(self) -> Owners:
        owners: Owners = self.settings["owners"]
        return owners

    @property
    def language(self) -> str:
        return negotiate(self.request.headers.get("Accept-Language"), self.get_cookie(COOKIE))

    @property
    def theme(self) -> str:
        return look.theme({look.COOKIE: self.get_cookie(look.COOKIE, "")})

    def set_default_headers(self) -> None:
        for name, value in self.settings["headers"].items():
            self.set_header(name, value)

    def require_own_origin(self) -> None:
        """Refuse what another page sends. All our hosts are one site, so cookies alone prove nothing.

        Raises:
            web.HTTPError: 403, also where the browser names no origin.
        """
        if self.request.headers.get("Origin") != self.portal.web.service_origin(SERVICE):
            raise web.HTTPError(403, "not sent by a page of ours")

    def _request_summary(self) -> str:
        """For the log: without the query, which at sign-in holds a code."""
        return f"{self.request.method} {self.request.path} ({self.request.remote_ip})"

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        error = (kwargs.get("exc_info") or (None, None))[1]
        title, sentence = explain(status_code, error, self.language, self.portal.site.timezone)
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.set_header("Cache-Control", "no-store")
        if status_code == 503:
            self.set_header("Retry-After", str(RETRY_SECONDS))
            self.set_header("Refresh", str(RETRY_SECONDS))
        choice = Choice(self.language, self.theme)
        self.finish(error_page(self.portal, BASE, choice, title, sentence, time.time(), status_code != 404))


def explain(status: int, error: BaseException | None, language: str, timezone: str) -> tuple[str, str]:
    """Title and sentence for a refusal: what, why, and what to do next."""
    _ = translator(language).gettext
    if isinstance(error, SignInDown):
        since = datetime.fromtimestamp(error.since, ZoneInfo(timezone)).strftime("%H:%M")
        sentence = _(
            "Sign-in has been down since %(time)s. Your jobs go on running. This page tries again by itself."
        )
        return _("Sign-in does not answer"), sentence % {"time": since}
    if isinstance(error, NotAccepted):
        return _("First the terms"), _(
            "You have not accepted the privacy notice and the terms yet. Go to Home, which asks you, then come back."
        )
    if isinstance(error, PortalDown):
        return _("The portal does not answer"), _("Your jobs go on running. This page tries again by itself.")
    if isinstance(error, Full) and error.yours:
        return _("You have too many dashboards open"), _("Close one of them, then try again.")
    if isinstance(error, Full):
        return _("Many people are looking just now"), _("This page tries again by itself.")
    if status == 404:
        return _("There is no such page"), _("Go back to Home and choose from there.")
    if status in (401, 403):
        return _("You cannot do this"), _("Sign in from Home, then try again.")
    if status < 500:
        return _("This was not understood"), _("Go back to Home and choose from there.")
    return _("Something went wrong here"), _("It has been written down. Try again in a minute.")


class Page(Ours, TornadoVoilaHandler):
    """One of our dashboards, drawn by a kernel that is started for this person and this page."""

    @web.authenticated
    async def get(self, name: str) -> None:
        self._top_level_only()
        if self.request.query:
            self._choose()
            return
        self.xsrf_token  # noqa: B018  sets the cookie, without which the page cannot say that it was left
        self.viewing = Viewer(self.current_user.username, self.language)
        viewer.set(self.viewing)
        try:
            async for piece in self.get_generator(path=f"{name}.ipynb"):
                self.write(piece)
                await self.flush()
        except StreamClosedError:
            return  # the reader left meanwhile; the reaper sees to the kernel

    def _top_level_only(self) -> None:
        """A page inside an image tag or a script of another site must not start kernels in a person's name."""
        if self.request.headers.get("Sec-Fetch-Dest", "document") != "document":
            raise web.HTTPError(403, "a dashboard is opened as a page of its own")

    def _choose(self) -> None:
        """Keep the language and theme that a link carries, as far as there are such, and show the page."""
        chosen = look.choices(self.get_query_argument("set", ""), self.get_query_argument("theme", ""))
        if not chosen:
            raise web.HTTPError(400, "no such language or theme")
        domain = cookie_domain(self.portal.web.url)
        secure = self.portal.web.url.startswith("https")
        for cookie, value in chosen.items():
            self.set_cookie(
                cookie, value, domain=domain, expires_days=COOKIE_DAYS, samesite="Lax", secure=secure
            )
        self.redirect(self.request.path)


class Start(Ours):
    """The service's own address leads to the first dashboard."""

    def get(self) -> None:
        self.redirect(f"{BASE}{PAGES[0]}")


class OwnKernel(Ours, KernelHandler):
    """A kernel's state, for its owner. It cannot be ended, renamed or restarted here."""

    SUPPORTED_METHODS = ("GET", "HEAD", "OPTIONS")


class Alive(Ours, APIHandler):
    """Whether the kernel of a page still runs. To ask is also to prove that its person is still signed in."""

    @web.authenticated
    async def get(self, kernel_id: str) -> None:
        person: str = self.current_user.username
        if not self.owners.owns(person, kernel_id):
            raise web.HTTPError(404)
        kernels: Kernels = self.settings["kernel_manager"]
        self.owners.kernels[kernel_id].seen = time.monotonic()
        self.set_header("Cache-Control", "no-store")
        self.finish(json.dumps({"alive": await kernels.alive(kernel_id), "now": time.time()}))


class Leave(Ours, VoilaShutdownKernelHandler):
    """What a page says when it is left: its kernel ends. Only its owner's word counts, from a page of ours."""

    @web.authenticated
    async def post(self, kernel_id: str) -> None:
        self.require_own_origin()
        if not self.owners.owns(self.current_user.username, kernel_id):
            raise web.HTTPError(404)
        await self.kernel_manager.shutdown_kernel(kernel_id)
        self.set_status(204)
        self.finish()


class Channels(Ours, VoilaKernelWebsocketHandler):
    """The live connection of a page with its kernel."""

    def set_default_headers(self) -> None:
        """None: a websocket's answer carries no page."""

    async def prepare(self, *args: Any, **kwargs: Any) -> None:
        """Refuse a foreign origin before anything else is done for it."""
        self.require_own_origin()
        await ensure_async(super().prepare(*args, **kwargs))

    def check_origin(self, origin: str | None = None) -> bool:
        return bool(self.get_origin() == self.portal.web.service_origin(SERVICE))


class ReadOnly(ZMQChannelsWebsocketConnection):
    """Lets a page ask its kernel what to show, and nothing else: not run code, not set a value, not make a widget."""

    def handle_incoming_message(self, incoming_msg: Any) -> None:
        try:
            asks_only = self._asks_only(*self._decode(incoming_msg))
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            asks_only = False
        if asks_only:
            super().handle_incoming_message(incoming_msg)
        else:
            self.log.warning("a message to kernel %s was refused", self.kernel_id)

    def _decode(self, message: Any) -> tuple[str, dict[str, Any], dict[str, Any]]:
        """Channel, header and content of a message, in either of Jupyter's two encodings."""
        if self.subprotocol == "v1.kernel.websocket.jupyter.org":
            _check_parts(message)
            channel, parts = deserialize_msg_from_ws_v1(message)
            return channel, json.loads(parts[0]), json.loads(parts[3])
        if not isinstance(message, str):
            raise ValueError("a page has no binary data to send")
        decoded = json.loads(message)
        return decoded["channel"], decoded["header"], decoded["content"]

    def _asks_only(self, channel: str, header: dict[str, Any], content: dict[str, Any]) -> bool:
        return channel == "shell" and may_be_sent(header["msg_type"], content)


PARTS_MOST = 8


def _check_parts(message: bytes) -> None:
    """Jupyter believes the number of parts that a message claims to have, and would count to 2 to the power of 64.

    Raises:
        ValueError: more parts than a question has, or than the message has room for.
    """
    parts = int.from_bytes(message[:8], "little")
    if parts > PARTS_MOST or len(message) < 8 * (parts + 1):
        raise ValueError(f"a message of {parts} parts")


ASKS = ({"method": "request_states"}, {"method": "request_state"})


def may_be_sent(kind: str, content: dict[str, Any]) -> bool:
    """Whether a page may send this to its kernel (facts on ipywidgets: a real page sends exactly these)."""
    if kind in ("kernel_info_request", "comm_info_request", "comm_close"):
        return True
    if kind == "comm_open":
        return bool(content["target_name"] == "jupyter.widget.control")
    return bool(kind == "comm_msg" and content["data"] in ASKS)


class Assets(Ours, MultiStaticFileHandler):
    """Scripts, styles and fonts, the same for everybody and public."""

    def set_extra_headers(self, path: str) -> None:
        super().set_extra_headers(path)
        if path.endswith((".css", ".woff2", ".js")):
            self.set_header("Cache-Control", look.keeping(path, "v" in self.request.arguments))


class Callback(Ours, JupyterHubOAuthCallbackHandler):
    """Where the hub sends the browser back to after sign-in."""


class Nothing(Ours):
    """Any other address."""

    def prepare(self) -> None:
        raise web.HTTPError(404)

    def check_xsrf_cookie(self) -> None:
        """There is nothing here to protect."""


DROPPED: frozenset[type] = frozenset(
    {
        AllowListFileHandler,  # files beside the notebooks
        TornadoVoilaTreeHandler,  # a list of the notebooks
        VoilaContentsHandler,  # the same as JSON
        TemplateStaticFileHandler,  # files of any template installed
        ThemesHandler,  # JupyterLab's themes: the look is our own
    }
)


def arrange(stock: Sequence[Route], hub_auth: Any) -> list[Route]:
    """Turn the routes that Voila would serve into those we serve.

    Raises:
        UnknownRoute: Voila brings a class of route that is neither replaced nor dropped here.
    """
    page = re.escape(BASE) + "(?P<name>" + "|".join(PAGES) + ")"
    routes: list[Route] = [
        (re.escape(BASE), Start),
        (re.escape(BASE) + "alive/" + KERNEL_ID, Alive),
        (re.escape(BASE) + "look/(.*)", Assets, {"paths": [str(look.FOLDER)]}),
        (re.escape(BASE) + "scripts/(.*)", Assets, {"paths": [str(SCRIPTS)]}),
        (re.escape(BASE) + "oauth_callback", Callback, {"hub_auth": hub_auth}),
    ]
    for pattern, handler, *options in stock:
        if handler is TornadoVoilaHandler:
            routes.append((page, Page, *options))
        elif handler is KernelHandler:
            routes.append((re.escape(BASE) + "api/kernels/" + KERNEL_ID, OwnKernel))
        elif handler is VoilaKernelWebsocketHandler:
            routes.append((re.escape(BASE) + "api/kernels/" + KERNEL_ID + "/channels", Channels))
        elif handler is VoilaShutdownKernelHandler:
            routes.append((re.escape(BASE) + "voila/api/shutdown/" + KERNEL_ID, Leave))
        elif handler is MultiStaticFileHandler:
            routes.append((pattern, Assets, {"paths": options[0]["paths"]}))
        elif handler is FileFindHandler:
            routes.append((pattern, Assets, {"paths": options[0]["path"]}))
        elif handler not in DROPPED:
            raise UnknownRoute(
                f"Voila brings {handler.__module__}.{handler.__qualname__} at {pattern}: read it, then name it in "
                "portal/dashboards/routes.py"
            )
    return routes
