"""Pictures of every page, to be looked at, and the few that the README shows: `make screenshots`, no part of the tests.

All of them are of a stack of their own, with work going on in it (`pages.scene`). `.screenshots` gets every page at
every width, in both languages and themes; `docs/pictures` the main pages as a newcomer sees them.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pages
from conftest import CHECKOUT, Stack
from pages import LANGUAGES, PAGES, THEMES, Page, Scene
from playwright.sync_api import Browser, Error
from playwright.sync_api import Page as Tab

ALL = CHECKOUT / ".screenshots"
SHOWN = CHECKOUT / "docs" / "pictures"
WIDTHS = (360, 1280, 1920)
HEIGHT = 900
FOR_README = ("home", "start", "waiting", "receipt", "allocation", "queue", "signin")
LARGEST = 150_000
"""Bytes of a picture in the repository."""
SETTLED = 400
"""Milliseconds for fonts and charts of a page that has just come."""


def test_every_page(browser: Browser, stack: Stack) -> None:
    """One file for each page, width, language and theme."""
    shutil.rmtree(ALL, ignore_errors=True)
    SHOWN.mkdir(parents=True, exist_ok=True)
    missing = []
    with pages.scene(browser, stack) as scene:
        for language in LANGUAGES:
            for who in ("", *pages.PEOPLE):
                context = pages.seen_by(browser, scene, who, language)
                for page in PAGES:
                    if page.who == who:
                        tab = context.new_page()
                        try:
                            _page(tab, scene, page, language)
                        except Error as fault:  # the others are worth having
                            missing.append(f"{page.name} {language}: {fault.message.splitlines()[0]}")
                        tab.close()
                context.close()
    assert missing == []


def _page(tab: Tab, scene: Scene, page: Page, language: str) -> None:
    page.reach(tab, scene)
    tab.locator(page.ready).first.wait_for()
    tab.wait_for_timeout(SETTLED)
    if page.name in FOR_README:
        _for_readme(tab, SHOWN / f"{page.name}{'' if language == 'en' else '-zh'}.png")
    for theme in THEMES:
        tab.emulate_media(color_scheme="dark" if theme == "dark" else "light")
        for width in WIDTHS:
            tab.set_viewport_size({"width": width, "height": HEIGHT})
            tab.wait_for_timeout(50)  # charts are drawn again for the new width
            folder = ALL / f"{language}-{theme}-{width}"
            tab.screenshot(path=folder / f"{page.name}.png", full_page=True)


def _for_readme(tab: Tab, path: Path) -> None:
    """What is seen without scrolling."""
    tab.screenshot(path=path)
    assert path.stat().st_size < LARGEST, f"{path.name} is too large for the repository"
