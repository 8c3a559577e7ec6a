"""The look: tokens and components as style sheets, fonts, and the frame, one copy for every part that draws a page."""

import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from urllib.parse import urlencode

from portal import locale

FOLDER = Path(__file__).parent / "static"
"""Served by the hub at `/hub/look/`, by the portal at `/services/portal/static/look/`, by the dashboards at `look/`."""

TEMPLATES = Path(__file__).parent / "templates"
"""Jinja templates of the parts that several frames share."""

SHEETS = ("fonts/fonts.css", "tokens.css", "components.css")
"""The style sheets of every page, in this order."""

COOKIE = "aisc-theme"
"""Holds one of THEMES; set where the language's is (`locale.cookie_domain`) and kept as long."""
THEMES = ("system", "light", "dark")


def version(*paths: Path) -> str:
    """A name for what these files hold now, so that browsers may keep them.

    A file that is missing counts as empty: the browser code of a checkout that nobody built, whose pages work without.
    """
    content = b"".join(path.read_bytes() for path in paths if path.exists())
    return hashlib.sha256(content).hexdigest()[:8]


@cache
def sheets(base: str) -> tuple[str, ...]:
    """The addresses of the style sheets, below where FOLDER is served."""
    return tuple(f"{base}{name}?v={version(FOLDER / name)}" for name in SHEETS)


def keeping(path: str, named: bool) -> str:
    """The Cache-Control of one of our files. named: its address names its version; a font's name itself does."""
    return "public, max-age=31536000, immutable" if named or path.endswith(".woff2") else "no-cache"


def theme(cookies: Mapping[str, str]) -> str:
    """What a reader chose; `system` where nothing was chosen."""
    chosen = cookies.get(COOKIE, "")
    return chosen if chosen in THEMES else "system"


def choices(language: str, theme: str) -> dict[str, str]:
    """Cookie > value for a choice of language, theme or both, as far as there is such a one."""
    wanted = {locale.COOKIE: (language, locale.LANGUAGES), COOKIE: (theme, THEMES)}
    return {cookie: value for cookie, (value, offered) in wanted.items() if value in offered}


def query(cookies: Mapping[str, str]) -> str:
    """The choices that these cookies hold, as the query of an address that keeps them (`set`, `theme`)."""
    names = {locale.COOKIE: "set", COOKIE: "theme"}
    held = choices(cookies.get(locale.COOKIE, ""), cookies.get(COOKIE, ""))
    return urlencode({names[cookie]: value for cookie, value in held.items()})


def carried(url: str, cookies: Mapping[str, str]) -> str:
    """What a link to another of our hosts takes along, given the hub's address: nothing where cookies reach it anyway."""
    held = query(cookies) if locale.cookie_domain(url) is None else ""
    return f"?{held}" if held else ""
