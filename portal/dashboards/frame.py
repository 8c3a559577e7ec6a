"""What stands around a dashboard: the frame that hub, portal and dashboards share, in the reader's language."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from portal.locale import CHINESE, html_lang, translator
from portal.look import TEMPLATES as SHARED
from portal.look import sheets, version
from portal.settings import Settings

OWN = Path(__file__).parent / "template"
SCRIPTS = Path(__file__).parent / "static"
"""Where the build puts the browser code."""
STYLES = OWN / "voila" / "templates" / "portal" / "static"
_environment = Environment(
    loader=FileSystemLoader([OWN, SHARED]), autoescape=True, undefined=StrictUndefined, trim_blocks=True
)


def home(settings: Settings) -> str:
    """Home, by way of the hub, which knows what the reader chose on any of our hosts."""
    return settings.web.url + "/hub/home"


@dataclass(frozen=True)
class Choice:
    """What one reader chose: language and theme."""

    language: str
    theme: str


def around(
    settings: Settings, base: str, here: str, choice: Choice, now: float
) -> dict[str, str | list[str]]:
    """All that the template needs beside the dashboard itself. `above` and `below` are HTML, the rest is text.

    here: name of the page. base: where our pages lie. now: seconds since 1970, for what is printed.
    """
    _ = translator(choice.language).gettext
    frame = _frame(settings, base, here, choice, now)
    parts = _environment.get_template("frame.html").make_module({"frame": frame, "_": _})
    return {
        "base": base,
        "lang": html_lang(choice.language),
        "theme": choice.theme,
        "sheets": list(sheets(f"{base}look/")),
        "title": {"allocation": _("Allocation"), "queue": _("Queue")}[here],
        "site": settings.site.name_zh if choice.language == CHINESE else settings.site.name,
        "above": str(parts.above()),  # type: ignore[attr-defined]
        "below": str(parts.below()),  # type: ignore[attr-defined]
        "offline": _("The connection is lost. What you see may be old; this page tries again by itself."),
        "old": _("may be out of date"),
        "loading": _("Loading"),
        "skip": _("Skip to the content"),
        "version": version(STYLES / "portal.css", SCRIPTS / "portal.js"),
    }


def error(
    settings: Settings, base: str, choice: Choice, title: str, sentence: str, now: float, again: bool = True
) -> str:
    """A page that says why there is no dashboard. again: whether trying again may help."""
    return _environment.get_template("error.html").render(
        frame=_frame(settings, base, "", choice, now),
        lang=html_lang(choice.language),
        sheets=sheets(f"{base}look/"),
        title=title,
        sentence=sentence,
        again=again,
        _=translator(choice.language).gettext,
    )


def _frame(settings: Settings, base: str, here: str, choice: Choice, now: float) -> dict[str, object]:
    """What the shared frame shows around a page of ours (frame_parts.html)."""
    web = settings.web
    return {
        "site": settings.site,
        "chinese": choice.language == CHINESE,
        "theme": choice.theme,
        "hub": web.url,
        "portal": web.service_origin("portal") + "/services/portal/",
        "dash": base,
        "carry": "",
        "home": home(settings),
        "switch": f"{web.url}/hub/lang?to=dash&back={here}&",
        "here": here,
        "signed_in": True,
        "name": "",
        "unread": 0,
        "officer": False,
        "from": base + here,
        "shared": settings.slurm.accounts == "shared",
        "address": web.service_origin("dash") + base + here,
        "time": datetime.fromtimestamp(now, ZoneInfo(settings.site.timezone)).strftime("%Y-%m-%d %H:%M"),
    }
