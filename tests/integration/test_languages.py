"""One choice of language holds on hub, portal and dashboards, wherever it is made; each has a host of its own here."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from conftest import Stack, signed_in
from playwright.sync_api import Browser, Page

SWITCH = ".language-switch a, .page-tools a[hreflang]"


@pytest.fixture
def page(browser: Browser, stack: Stack) -> Iterator[Page]:
    """Somebody who reads English and has not chosen anything."""
    with signed_in(browser, stack, "researcher") as context:
        yield context.pages[0]


def goto(page: Page, stack: Stack, where: str) -> None:
    """Follow the links that a person has: all ways to another host lead through the frame."""
    if where == "portal":
        page.goto(f"{stack.url}/hub/home")
    elif where == "hub":
        page.goto(f"{stack.url}/hub/token")
    else:
        page.goto(f"{stack.url}/hub/home")
        page.click(f"nav a[href*='/services/dash/{where}']")
        # a page that is left before it is drawn keeps its kernel for a while, and their number is limited
        page.wait_for_selector(".board .page-title", timeout=60_000)
    page.wait_for_selector(".site-name")


def language(page: Page) -> str:
    return page.get_attribute("html", "lang") or ""


@pytest.mark.parametrize("made_on", ["hub", "portal", "allocation"])
def test_a_choice_holds_everywhere(page: Page, stack: Stack, made_on: str) -> None:
    """Made on one host it is kept by the two others, and so is the choice back."""
    for wanted in ("zh-Hant-HK", "en"):
        goto(page, stack, made_on)
        at = page.url.partition("?")[0]
        assert language(page) != wanted
        page.locator(SWITCH).first.click()
        page.wait_for_url(at)
        page.wait_for_selector(".site-name")
        assert language(page) == wanted, "the page it was made on"
        seen = {}
        for where in ("hub", "portal", "queue"):
            goto(page, stack, where)
            seen[where] = language(page)
        assert set(seen.values()) == {wanted}, seen
