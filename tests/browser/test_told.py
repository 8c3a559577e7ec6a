"""Notices in a real browser: nothing without a click, once in a browser, and a way on."""

from __future__ import annotations

import httpx
import pytest
from conftest import Stack, signed_in
from playwright.sync_api import Browser, Page, expect

from portal.identity import person_id

WATCH = """
window.told = [];
window.Notification = new Proxy(window.Notification, {
  construct(target, [title, options]) {
    window.told.push(title);
    return window.latest = Reflect.construct(target, [title, options]);
  },
  get: (target, name) => typeof target[name] === "function" ? target[name].bind(target) : target[name],
});
"""
"""Writes down what the browser is told to show. The browser itself still shows it."""


def start_that_fails(stack: Stack, who: str) -> None:
    """A session that was admitted and then could not be submitted, as the hub tells it."""
    settings = stack.settings
    headers = {"Authorization": f"Bearer {settings.secret('hub.token')}"}
    asked = {
        "person": person_id(settings.identity.issuer, who),
        "grant": "AISS-2026-0001",
        "size": "cpu",
        "minutes": 30,
    }
    with httpx.Client(base_url=settings.portal_url, headers=headers, trust_env=False) as hub:
        admitted = hub.post("/internal/sessions", json=asked)
        assert admitted.status_code == 200, admitted.text
        assert hub.post(f"/internal/sessions/{admitted.json()['id']}/failed").status_code == 200


def told(page: Page) -> list[str]:
    found: list[str] = page.evaluate("window.told")
    return found


def test_a_browser_tells_of_what_is_new_once_and_only_when_asked_to(browser: Browser, stack: Stack) -> None:
    """Two pages are open; one of them tells. Its link leads on, and the list has it in both languages."""
    origin = stack.settings.web.service_origin("portal")
    address = f"{origin}/services/portal/notices"
    with signed_in(browser, stack, "researcher", permissions=["notifications"]) as context:
        context.add_init_script(WATCH)
        asked: list[str] = []
        context.on("request", lambda sent: asked.append(sent.url) if "/notices/news" in sent.url else None)
        first, second = context.pages[0], context.new_page()
        second.goto(f"{origin}/services/portal/")
        first.goto(address)
        first.wait_for_timeout(16_000)
        assert asked == [], "no page asks before the person has"

        first.get_by_role("button", name="Tell me in this browser").click()
        expect(first.get_by_text("it tells you of what is new")).to_be_visible()
        with context.expect_event("request", lambda sent: "after=-1" in sent.url, timeout=20_000):
            pass
        start_that_fails(stack, "researcher")
        with context.expect_event("request", lambda sent: "/notices/news" in sent.url, timeout=20_000):
            pass
        first.wait_for_timeout(1_000)
        assert sorted([told(first), told(second)]) == [[], ["Your session did not start"]]

        teller = first if told(first) else second
        teller.evaluate("window.latest.onclick()")
        teller.wait_for_url("**/hub/spawn**")

        other = second if teller is first else first
        other.goto(address)
        expect(other.get_by_text("1 unread", exact=True)).to_be_visible()
        expect(other.get_by_role("link", name="Notices 1 unread")).to_be_visible()
        other.get_by_role("button", name="Mark all as read").click()
        expect(other.get_by_text("You have read them all.")).to_be_visible()


@pytest.mark.parametrize(
    ("locale", "kept", "saved"),
    [("en-GB", "No quiet hours", "Saved."), ("zh-HK", "不設免打擾時段", "已儲存。")],
)
def test_wishes_are_set_without_scripts(
    browser: Browser, stack: Stack, locale: str, kept: str, saved: str
) -> None:
    """Plain forms; the part that needs a script is not shown."""
    address = f"{stack.settings.web.service_origin('portal')}/services/portal/notices/settings"
    with signed_in(browser, stack, "pi", locale=locale) as context:
        state = context.storage_state()
    context = browser.new_context(storage_state=state, java_script_enabled=False, locale=locale)
    page = context.new_page()
    page.goto(address)
    page.get_by_label(kept).check()
    page.locator("main form button").click()
    expect(page.get_by_text(saved, exact=True)).to_be_visible()
    expect(page.get_by_label(kept)).to_be_checked()
    expect(page.locator("#notices-here")).to_be_hidden()
    context.close()
