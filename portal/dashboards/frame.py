"""What stands around a dashboard: the frame that hub, portal and dashboards share, in the reader's language."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from portal.locale import CHINESE, html_lang, translator
from portal.look import TEMPLATES as SHARED
from portal.look import version
from portal.settings import Settings

OWN = Path(__file__).parent / "template"
SCRIPTS = Path(__file__).parent / "static"
"""Where the build puts the browser code."""
STYLES = OWN / "voila" / "templates" / "portal" / "static"
_environment = Environment(
    loader=FileSystemLoader([OWN, SHARED]), autoescape=True, undefined=StrictUndefined, trim_blocks=True
)


def home(settings: Settings) -> str:
    """The portal's own page."""
    return settings.web.service_origin("portal") + "/services/portal/"


def around(settings: Settings, base: str, here: str, language: str) -> dict[str, str]:
    """All that the template needs beside the dashboard itself. `above` and `below` are HTML, the rest is text.

    here: name of the page. base: where our pages lie.
    """
    _ = translator(language).gettext
    names = {"allocation": _("Allocation"), "queue": _("Queue")}
    chinese = language == CHINESE
    links = [(home(settings), _("Home"), False)]
    links += [(base + page, name, page == here) for page, name in names.items()]
    frame = _environment.get_template("frame.html").make_module(
        {"settings": settings, "chinese": chinese, "home": home(settings), "links": links, "_": _}
    )
    return {
        "base": base,
        "lang": html_lang(language),
        "title": names[here],
        "site": settings.site.name_zh if chinese else settings.site.name,
        "above": str(frame.above()),  # type: ignore[attr-defined]
        "below": str(frame.below()),  # type: ignore[attr-defined]
        "offline": _("The connection is lost. What you see may be old; this page tries again by itself."),
        "old": _("may be out of date"),
        "loading": _("Loading"),
        "skip": _("Skip to the content"),
        "version": version(STYLES / "portal.css", SCRIPTS / "portal.js"),
    }
