"""The look keeps its promises: contrast, one component in one place, no style outside the style sheets."""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path

import pytest

from portal import look
from portal.dashboards import frame as dashboards
from portal.dashboards.frame import Choice
from portal.service import frame
from portal.settings import Settings

CHECKOUT = Path(__file__).resolve().parent.parent.parent
TOKENS = (look.FOLDER / "tokens.css").read_text()
COMPONENTS = (look.FOLDER / "components.css").read_text()
DASHBOARDS = CHECKOUT / "portal/dashboards/template/voila/templates/portal/static/portal.css"
THEMES = {"light": 0, "dark": 1}
TEXT, GRAPHICS = 4.5, 3.0
GROUNDS = ("page", "surface", "sunken", "action-wash", "attention-wash", "running-wash")
INKS = ("ink", "ink-quiet", "action", "action-strong")
MEANINGS = ("running", "waiting", "attention", "stopped")


def colours(theme: str) -> dict[str, str]:
    """Name of each colour token > its value in a theme, as `#rrggbb`."""
    pairs = re.findall(r"--([a-z-]+): light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\);", TOKENS)
    return {name: values[THEMES[theme]] for name, *values in pairs}


def luminance(colour: str) -> float:
    """Relative luminance as WCAG 2.2 defines it."""
    channels = (int(colour[index : index + 2], 16) / 255 for index in (1, 3, 5))
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def pairs() -> list[tuple[str, str, float]]:
    """Ink, ground, and the ratio they need."""
    words = [(ink, ground, TEXT) for ink, ground in product(INKS, GROUNDS)]
    words += [(meaning, ground, TEXT) for meaning, ground in product(MEANINGS, ("page", "surface", "sunken"))]
    words += [(meaning, f"{meaning}-wash", TEXT) for meaning in ("running", "attention")]
    words += [("action-ink", ground, TEXT) for ground in ("action", "action-strong")]
    marks = [("line-strong", ground, GRAPHICS) for ground in ("page", "surface")]
    marks += [("focus", ground, GRAPHICS) for ground in GROUNDS]
    return words + marks


@pytest.mark.parametrize("theme", THEMES)
def test_words_and_marks_stand_out_from_their_ground(theme: str) -> None:
    """4.5:1 for text, 3:1 for what is drawn, in both themes."""
    colour = colours(theme)
    weak = {
        (ink, ground): round(ratio, 2)
        for ink, ground, needed in pairs()
        if (ratio := contrast(colour[ink], colour[ground])) < needed
    }
    assert weak == {}


def test_contrast_is_worked_out_as_the_standard_does() -> None:
    """Black on white is 21, a colour on itself 1; #767676 on white is the well-known limit of 4.5."""
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#0b5a7e", "#0b5a7e") == 1
    assert contrast("#767676", "#ffffff") == pytest.approx(4.54, abs=0.01)


def test_every_token_is_used() -> None:
    """A token that nobody reads is gone from the list."""
    sheets = TOKENS + COMPONENTS + DASHBOARDS.read_text()
    named = set(re.findall(r"^\s*(--[a-z0-9-]+):", TOKENS, re.MULTILINE))
    assert {name for name in named if f"var({name})" not in sheets} == set()


def test_every_colour_comes_from_a_token() -> None:
    """No component names a colour of its own."""
    rules = re.sub(r"/\*.*?\*/", "", COMPONENTS + DASHBOARDS.read_text(), flags=re.DOTALL)
    assert re.findall(r"#[0-9a-fA-F]{3,8}\b|\brgba?\(|\bhsl\(", rules) == []


def without_comments(sheet: str) -> str:
    return re.sub(r"/\*.*?\*/", "", sheet, flags=re.DOTALL)


def classes(text: str) -> set[str]:
    return set(re.findall(r"\.([a-z][a-z0-9-]*)", re.sub(r"[\w/]+\.(?:html|svg|py)", "", text)))


def test_the_head_comment_names_every_class_and_no_other() -> None:
    """Who draws a page finds each component there, and none that is gone."""
    head = COMPONENTS[: COMPONENTS.index("*/")]
    named, there = classes(head), classes(without_comments(COMPONENTS))
    assert there - named == set(), "not in the head comment"
    assert named - there == set(), "gone"


def templates() -> list[Path]:
    """Every file that holds markup of ours, Python that writes some among them.

    Not the page for a part that is away: the proxy shows it with nobody there to serve a style sheet.
    """
    folders = [CHECKOUT / "portal", CHECKOUT / "spawners"]
    found = [path for folder in folders for kind in ("*.html", "*.j2") for path in folder.rglob(kind)]
    found = [path for path in found if path.name != "away.html"]
    return [*found, *(CHECKOUT / "portal" / "dashboards").glob("*.py")]


def test_no_page_brings_a_style_of_its_own() -> None:
    """No style attribute, no style element: the policy of our pages forbids both."""
    styled = [
        str(path.relative_to(CHECKOUT))
        for path in templates()
        if re.search(r"<style|\sstyle=", path.read_text())
    ]
    assert styled == []


def test_every_class_of_a_page_is_a_component() -> None:
    """A class in a template that no style sheet knows is a mistake of spelling."""
    sheets = classes(without_comments(COMPONENTS + DASHBOARDS.read_text()))
    for path in templates():
        used = re.findall(r'class="([^"{}]*)"', path.read_text())
        unknown = {name for value in used for name in value.split()} - sheets - OTHERS
        assert unknown == set(), path


OTHERS = {
    *("jp-Notebook", "navbar-brand", "btn", "btn-sm", "btn-outline-contrast"),
    *("page-start", "card", "choice", "primary", "price"),
}
"""Classes of JupyterLab's and JupyterHub's own style sheets, and names by which scripts and tests find a part."""


def test_a_page_in_one_language_leaves_those_of_the_other_alone() -> None:
    """Two readers are answered at once: the words that a template finds are never another reader's."""
    texts = []
    for language in ("zh_Hant_HK", "en", "zh_Hant_HK"):
        environment = frame._pages(language)
        frame._pages("en")
        texts.append(environment.from_string("{{ _('Home') }}").render())
    assert texts == ["主頁", "Home", "主頁"]


@pytest.mark.parametrize(
    ("cookie", "theme"), [("dark", "dark"), ("light", "light"), ("", "system"), ("'><script>", "system")]
)
def test_a_theme_is_one_of_three(cookie: str, theme: str) -> None:
    """Whatever the cookie says."""
    assert look.theme({look.COOKIE: cookie}) == theme


def test_choices_travel_where_cookies_do_not_reach() -> None:
    """On localhost each host keeps its own cookies, so links take the choices along; under a domain they need not."""
    held = {"aisc-language": "zh_Hant_HK", "aisc-theme": "dark", "other": "x"}
    assert look.carried("http://localhost:8000", held) == "?set=zh_Hant_HK&theme=dark"
    assert look.carried("http://localhost:8000", {"aisc-theme": "mauve"}) == ""
    assert look.carried("https://portal.example.hk", held) == ""


def test_what_names_its_version_is_kept_for_good() -> None:
    """A font by its own name, a style sheet by its address; else the browser asks each time."""
    assert "immutable" in look.keeping("fonts/noto-sans-hk-1-0123abcd.woff2", named=False)
    assert "immutable" in look.keeping("tokens.css", named=True)
    assert look.keeping("tokens.css", named=False) == "no-cache"


@pytest.mark.parametrize("language", ["en", "zh_Hant_HK"])
def test_the_shared_frame_stands_around_a_dashboard(language: str) -> None:
    """It finds all that it names, around the dashboard and around the page that says why there is none."""
    choice = Choice(language, "dark")
    page = dashboards.around(Settings(), "/services/dash/", "queue", choice, now=0)
    error = dashboards.error(Settings(), "/services/dash/", choice, "<title>", "sentence", now=0)

    assert 'aria-current="page"' in str(page["above"])
    assert "data-printed" in str(page["below"])
    assert 'data-theme="dark"' in error
    assert "&lt;title&gt;" in error
