"""Every page, in both languages: no fault that axe-core finds, in either theme; no sideways scrolling, however narrow."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pages
import pytest
from conftest import CHECKOUT, Stack
from pages import LANGUAGES, PAGES, THEMES, Page, Scene
from playwright.sync_api import Browser, BrowserContext
from playwright.sync_api import Page as Tab

AXE = CHECKOUT / "node_modules" / "axe-core" / "axe.min.js"
LEVELS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
NARROW = {"200 % zoom of 1280 pixels": 640, "a small telephone": 320}
RUN_AXE = """levels => axe.run(document, {runOnly: levels, resultTypes: ['violations'], elementRef: false})
    .then(found => found.violations.flatMap(fault => fault.nodes.map(
        node => `${fault.id}: ${node.target.join(' ')}: ${node.failureSummary}`)))"""
TOO_WIDE = """() => [...document.querySelectorAll('body *')]
    .filter(part => part.getBoundingClientRect().right > innerWidth + 1 && getComputedStyle(part).position !== 'fixed'
        && !part.closest('.table-scroll, .visually-hidden, pre'))
    .slice(0, 5).map(part => part.outerHTML.slice(0, 120))"""


@pytest.fixture(scope="module")
def scene(browser: Browser, stack: Stack) -> Iterator[Scene]:
    with pages.scene(browser, stack) as made:
        yield made


@pytest.fixture(scope="module")
def contexts(browser: Browser, scene: Scene) -> Iterator[dict[tuple[str, str], BrowserContext]]:
    """One browser for each person and language, kept for all tests of this module."""
    made = {
        (who, language): pages.seen_by(browser, scene, who, language)
        for who in ("", *pages.PEOPLE)
        for language in LANGUAGES
    }
    yield made
    for context in made.values():
        context.close()


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_can_be_read_by_everybody(
    contexts: dict[tuple[str, str], BrowserContext], scene: Scene, page: Page, language: str
) -> None:
    """WCAG 2.2 AA as far as a machine can tell, in both themes; the right language; one column where it is narrow."""
    tab = contexts[page.who, language].new_page()
    try:
        page.reach(tab, scene)
        tab.locator(page.ready).first.wait_for()
        if page.ours:
            assert (tab.locator("html").get_attribute("lang") or "").startswith(language)
        assert faults(tab) == []
        assert too_wide(tab) == {}
    finally:
        tab.close()


def faults(tab: Tab) -> list[str]:
    """What axe-core finds, in both themes."""
    tab.evaluate(AXE.read_text())
    found: list[Any] = []
    for theme in THEMES:
        tab.emulate_media(color_scheme="dark" if theme == "dark" else "light")
        found += [f"{theme}: {fault}" for fault in tab.evaluate(RUN_AXE, LEVELS)]
    return found


def too_wide(tab: Tab) -> dict[str, list[str]]:
    """What sticks out at the side, for each width at which something does."""
    found = {}
    for name, width in NARROW.items():
        tab.set_viewport_size({"width": width, "height": 900})
        if tab.evaluate("document.documentElement.scrollWidth > innerWidth"):
            found[name] = tab.evaluate(TOO_WIDE)
    return found
