"""The language and theme of a hub page: found once per request (`pages.install`), for templates and messages alike."""

from __future__ import annotations

from contextvars import ContextVar
from pathlib import Path
from typing import Any

from jinja2 import Environment
from jinja2.ext import InternationalizationExtension

from portal import locale, look
from portal.locale import N_

SCRIPTS = Path(__file__).parent / "static"
"""Where the build puts the browser code."""
_language: ContextVar[str] = ContextVar("language", default=locale.ENGLISH)
_cookies: ContextVar[dict[str, str]] = ContextVar("cookies")


SCOPES = {
    "read:users:name": N_("Your name as the portal knows it"),
    "read:users:groups": N_("Your roles"),
    "access:services": N_("Use of the portal and its dashboards in your name"),
    "access:servers": N_("Use of your sessions in your name"),
}
"""What JupyterHub calls the rights that a page may ask for; it describes them in English only."""


def current() -> str:
    """The language of the request that is being answered."""
    return _language.get()


def cookies() -> dict[str, str]:
    """What the reader of this request chose: our cookies alone."""
    return _cookies.get({})


def gettext(message: str) -> str:
    """The message in the language of the request that is being answered."""
    return locale.translator(current()).gettext(message)


def _ngettext(one: str, many: str, number: int) -> str:
    return locale.translator(current()).ngettext(one, many, number)


def choose(handler: Any) -> str:
    """Set language and theme for the rest of a request, from its cookies and headers."""
    _cookies.set({name: handler.get_cookie(name, "") for name in (locale.COOKIE, look.COOKIE)})
    language = locale.negotiate(
        handler.request.headers.get("Accept-Language"), handler.get_cookie(locale.COOKIE)
    )
    _language.set(language)
    return language


def script(name: str) -> str:
    """The address of a script of ours."""
    return f"/hub/scripts/{name}?v={look.version(SCRIPTS / name)}"


def _look(name: str) -> str:
    return f"/hub/look/{name}?v={look.version(look.FOLDER / name)}"


class PortalPages(InternationalizationExtension):
    """`_()` and `{% trans %}` in the hub's templates, and the few names that our frame needs."""

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        self._install_callables(gettext, _ngettext, newstyle=True)
        environment.globals.update(
            page_language=lambda: locale.html_lang(current()),
            is_chinese=lambda: current() == locale.CHINESE,
            scope_words=lambda scope: gettext(SCOPES[scope]) if scope in SCOPES else "",
            look=_look,
            sheets=lambda: look.sheets("/hub/look/"),
            chosen_theme=lambda: look.theme(cookies()),
            carried=lambda url: look.carried(url, cookies()),
            script=script,
        )
