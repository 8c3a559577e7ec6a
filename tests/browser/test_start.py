"""The way of a session, as everybody can go it: in both languages and themes, by keyboard alone, without scripts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from conftest import CHECKOUT, Stack, signed_in
from pages import CATALYSTS, FLOODS, LANGUAGES, PROTEINS, THEMES, Scene
from playwright.sync_api import Browser, Page, expect

from portal import reasons
from portal.locale import CHINESE, ENGLISH, translator

PICTURES = CHECKOUT / ".screenshots" / "walk"
CODES = {"en": ENGLISH, "zh": CHINESE}
SECONDS = 60_000
TABS = 60
"""More presses of the Tab key than any of our pages has stops."""


@contextmanager
def no_room(stack: Stack, partition: str = "cpu") -> Iterator[None]:
    """Whatever is submitted waits, until this ends."""
    stack.cluster.run("scontrol", "update", f"PartitionName={partition}", "State=DOWN")
    try:
        yield
    finally:
        stack.cluster.run("scontrol", "update", f"PartitionName={partition}", "State=UP")


def shot(page: Page, language: str, step: str) -> None:
    """The page in both themes, to be looked at."""
    for theme in THEMES:
        page.emulate_media(color_scheme="dark" if theme == "dark" else "light")
        page.screenshot(path=PICTURES / f"{step}-{language}-{theme}.png", full_page=True)
    page.emulate_media(color_scheme="light")


def choose(page: Page, grant: str, size: str, minutes: int) -> None:
    for name, value in (("grant", grant), ("size", size), ("minutes", str(minutes))):
        page.check(f"input[name={name}][value='{value}']")


def price(page: Page) -> str:
    return page.locator("#price-own").inner_text()


@pytest.fixture(autouse=True)
def _folder() -> Path:
    PICTURES.mkdir(parents=True, exist_ok=True)
    return PICTURES


@pytest.mark.parametrize("language", LANGUAGES)
def test_sign_in_refusal_start_wait_stop(browser: Browser, stack: Stack, language: str) -> None:
    """Each step says in the reader's language what is going on; the tab shows it too."""
    scene, _ = Scene(stack), translator(CODES[language]).gettext
    options: dict[str, Any] = {"locale": LANGUAGES[language], "reduced_motion": "reduce"}
    with signed_in(browser, stack, "researcher", **options) as context:
        page = context.pages[0]
        shot(page, language, "1-home")
        page.goto(f"{scene.hub}/spawn")
        choose(page, CATALYSTS, "gpu4", 1440)
        expect(page.locator("#start-refusal")).to_contain_text(CATALYSTS)
        expect(page.locator("#start")).to_be_disabled()
        shot(page, language, "2-refused")

        choose(page, PROTEINS, "cpu", 30)
        expect(page.locator("#start")).to_be_enabled()
        assert price(page).startswith("HK$")
        with no_room(stack):
            page.click("#start")
            page.wait_for_url("**/spawn-pending/**")
            expect(page.locator("#progress-message")).to_have_text(
                reasons.explain("PartitionDown", CODES[language]), timeout=SECONDS
            )
            expect(page).to_have_title(re.compile(f"^{_('Waiting')}"))
            expect(page.locator("#progress-cost")).to_contain_text(
                {"en": "costs nothing until it runs", "zh": "開始執行前不收費"}[language]
            )
            shot(page, language, "3-waiting")
        page.wait_for_url("**/lab**", timeout=SECONDS)

        page.goto(f"{scene.hub}/home")
        page.locator("form[action$='/stop'] button").first.click()
        expect(page.locator("#receipt .receipt-total")).to_contain_text(_("Own share"))
        expect(page.locator("#receipt")).to_contain_text(
            _("The session has ended and its charge is booked."), timeout=SECONDS
        )
        shot(page, language, "4-receipt")


def test_by_keyboard_alone(browser: Browser, stack: Stack) -> None:
    """Sign in, choose, start, wait and cancel with Tab, arrows, Enter and Space; the job is gone from Slurm."""
    scene = Scene(stack)
    with signed_in(browser, stack, "operator"):
        pass  # the first sign-in, with its terms, is a test of its own
    context = browser.new_context(locale="en-GB", viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.goto(f"{stack.url}/")
    press(page, "#sign-in", "Enter")
    expect(page.locator("#login")).to_be_visible()
    tab_to(page, "#login")
    page.keyboard.type("operator")
    tab_to(page, "#password")
    page.keyboard.type("clusters-2026")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Confirm on your phone")).to_be_visible()
    press(page, "button[type=submit]", "Enter")
    page.wait_for_url("**/services/portal/")

    page.goto(f"{scene.hub}/spawn")
    tab_to(page, "input[name=grant]:checked")
    assert page.locator("input[name=grant]:checked").get_attribute("value") == FLOODS
    arrow_to(page, "size", "cpu")
    arrow_to(page, "minutes", "30")
    half_an_hour = price(page)
    page.keyboard.press("ArrowRight")
    assert price(page) != half_an_hour
    page.keyboard.press("ArrowLeft")
    with no_room(stack):
        press(page, "#start", "Space")
        page.wait_for_url("**/spawn-pending/**")
        expect(page.locator("#progress-message")).to_have_text(
            reasons.explain("PartitionDown", ENGLISH), timeout=SECONDS
        )
        assert "aisc-" in stack.cluster.run("squeue", "-h", "-a", "--account=gaiss20260005", "-o", "%j")
        press(page, "#stop", "Enter")
        page.wait_for_url("**/services/portal/**")
        assert stack.cluster.run("squeue", "-h", "-a", "--account=gaiss20260005", "-o", "%j").strip() == ""
    context.close()


def tab_to(page: Page, selector: str) -> None:
    """Press Tab until that is in focus, which must be seen: something is drawn around it."""
    for _ in range(TABS):
        page.keyboard.press("Tab")
        if page.evaluate("wanted => document.activeElement.matches(wanted)", selector):
            break
    else:
        pytest.fail(f"the Tab key does not reach {selector}")
    drawn = """() => { const one = document.activeElement, of = one.closest('label') ?? one
        return [one, of].some(part => getComputedStyle(part).outlineStyle !== 'none') }"""
    assert page.evaluate(drawn), f"{selector} has the focus, and nothing shows it"


def press(page: Page, selector: str, key: str) -> None:
    tab_to(page, selector)
    page.keyboard.press(key)


def arrow_to(page: Page, name: str, value: str) -> None:
    """Choose in a group of radio buttons, as the keyboard does: Tab goes to the group, arrows within."""
    tab_to(page, f"input[name={name}]")
    for _ in range(20):
        if page.evaluate("document.activeElement.value") == value:
            return
        page.keyboard.press("ArrowDown")
    pytest.fail(f"the arrow keys do not reach {value}")


def test_without_scripts(browser: Browser, stack: Stack) -> None:
    """Home, the form with the price of each choice, the wait until the session is ready, and the receipt."""
    scene = Scene(stack)
    with signed_in(browser, stack, "pi", java_script_enabled=False) as context:
        page = context.pages[0]
        expect(page.locator("li.grant", has_text=PROTEINS)).to_be_visible()
        page.goto(f"{scene.hub}/spawn")
        choose(page, PROTEINS, "cpu", 30)
        page.click("button[formmethod=get]")
        cheap = price(page)
        assert page.locator("input[name=size]:checked").get_attribute("value") == "cpu"

        choose(page, PROTEINS, "cpu", 60)
        page.click("#start")
        expect(page.locator("#start-refused")).to_contain_text("more than the price you were shown")
        assert price(page) != cheap
        assert page.locator("input[name=minutes]:checked").get_attribute("value") == "60"
        with no_room(stack):
            page.click("#start")
            expect(page.locator("#progress-message")).to_have_text(
                reasons.explain("PartitionDown", ENGLISH), timeout=SECONDS
            )
            expect(page).to_have_title(re.compile("^Waiting"))
        expect(page.locator("#open")).to_be_visible(timeout=SECONDS)
        expect(page).to_have_title(re.compile("^Ready"))
        assert "/user/" in (page.locator("#open").get_attribute("href") or "")

        page.goto(f"{scene.hub}/home")
        page.locator("form[action$='/stop'] button").first.click()
        expect(page.locator("#receipt")).to_contain_text("its charge is booked", timeout=SECONDS)


def test_a_choice_that_is_not_offered_comes_back_with_the_sentence_at_its_field(
    browser: Browser, stack: Stack
) -> None:
    """The rest of the choice is kept, and the sentence is what the keyboard is at first."""
    scene = Scene(stack)
    with signed_in(browser, stack, "instructor") as context:
        page = context.pages[0]
        page.goto(f"{scene.hub}/spawn")
        page.check("input[name=size][value=cpu]")
        page.evaluate("document.querySelector('input[name=minutes]:checked').value = '7'")
        page.evaluate("document.getElementById('spawn_form').submit()")
        expect(page.locator("#minutes-fault")).to_be_visible()
        expect(page.locator("#start-refused")).to_be_focused()
        assert page.locator("#minutes-fault").inner_text() in page.locator("#start-refused").inner_text()
        assert page.locator("input[name=size]:checked").get_attribute("value") == "cpu"
        group = page.get_by_role("radiogroup", name="Time")
        assert group.get_attribute("aria-describedby") == "minutes-fault"


def test_the_price_follows_the_choice_at_once(browser: Browser, stack: Stack) -> None:
    """In less than 200 ms, also on a slow machine: nothing is asked of anybody."""
    scene = Scene(stack)
    with signed_in(browser, stack, "instructor") as context:
        page = context.pages[0]
        page.goto(f"{scene.hub}/spawn")
        page.check("input[name=size][value=cpu]")
        took = page.evaluate(
            """() => new Promise(done => {
                const own = document.getElementById('price-own'), before = own.textContent, began = performance.now()
                new MutationObserver(() => requestAnimationFrame(() => done(performance.now() - began)))
                    .observe(own, {childList: true, characterData: true, subtree: true})
                document.querySelector('input[name=size][value=gpu4]').click()
            })"""
        )
        assert took < 200


def test_a_wait_survives_the_closing_of_its_tab(browser: Browser, stack: Stack) -> None:
    """Whoever comes back, in another tab, finds it as it stands; cancelled in one tab, the other says so."""
    scene = Scene(stack)
    with signed_in(browser, stack, "instructor") as context, no_room(stack):
        first = context.pages[0]
        first.goto(f"{scene.portal}/start?size=cpu&minutes=30")
        first.click("#start")
        first.wait_for_url("**/spawn-pending/**")
        first.close()
        second, third = context.new_page(), context.new_page()
        for page in (second, third):
            page.goto(scene.pending("instructor"))
            expect(page.locator("#progress-message")).to_have_text(
                reasons.explain("PartitionDown", ENGLISH), timeout=SECONDS
            )
        third.click("#stop")
        third.wait_for_url("**/services/portal/**")
        expect(second.locator("h1")).to_have_text(re.compile("not running|did not start"), timeout=SECONDS)
