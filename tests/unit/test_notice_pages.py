"""Pages of notices: in the reader's words, quick with thousands, and each person's own."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from portal import settings as settings_module
from portal.grants import Category, Grant, Membership, Organisation, Role
from portal.notices import tell
from portal.service import documents, frame, notice_pages
from portal.service.access import BASE
from portal.service.desk import Desk
from portal.service.main import create
from portal.store import Store, connect, migrate, notices, people, programme
from portal.store.notices import Notice, Preference

SECRETS = ("hub.token", "agent.token", "dashboards.token", "portal-hub.token", "portal.key")
ORIGIN = {"Origin": "http://portal--service.localhost:8000"}
NOW = int(time.time())
FORM: dict[str, Any] = {"quiet": "site", "quiet_from": 22, "quiet_until": 8, "language": ""}


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    (tmp_path / "secrets").mkdir()
    for name in SECRETS:
        (tmp_path / "secrets" / name).write_text(secrets.token_hex(16))
    settings = settings_module.load(environ={}).model_copy(update={"home": tmp_path})
    engine = connect(settings.database_url)
    migrate(engine)
    desk = Desk(settings, Store(engine))
    with desk.store.write() as db:
        programme.add_organisation(db, Organisation("uni", "University", "大學", Category.INSTITUTION))
        grant = Grant("G-1", "Proteins", "uni", "life", "research", NOW - 99, NOW + 10**7, "C-12", 3000, 7000)
        programme.add_grant(db, grant)
        programme.add_membership(db, Membership("G-1", "p1", Role.PI, NOW - 99))
    for person in ("p1", "p2"):
        with desk.store.write() as db:
            seen = people.Person(person, "iss", person, person, person, f"{person}@uni.example", frozenset())
            people.record(db, seen, NOW)
        documents.accept(desk, person, "")
    yield desk
    engine.dispose()


Read = Callable[..., httpx.AsyncClient]


@pytest.fixture
async def read(desk: Desk) -> AsyncIterator[Read]:
    """A browser in which somebody has signed in."""
    clients: list[httpx.AsyncClient] = []

    def make(person: str = "p1", language: str = "en") -> httpx.AsyncClient:
        app = create(desk.settings, desk.store)
        app.dependency_overrides[frame.viewer_of] = lambda: person
        client = httpx.AsyncClient(
            transport=httpx.ASGITransport(app, raise_app_exceptions=False),
            base_url=ORIGIN["Origin"],
            headers={"Accept-Language": language},
        )
        clients.append(client)
        return client

    yield make
    for client in clients:
        await client.aclose()


def failed(desk: Desk, number: int = 1, person: str = "p1") -> None:
    with desk.store.write() as db:
        for key in range(number):
            tell(desk, db, "session-failed", person, f"{person}:{key}")


def grant_low(desk: Desk, grant: str) -> None:
    with desk.store.write() as db:
        tell(desk, db, "grant-low", "p1", grant, grant=grant, left=3_600_000, used=0, awarded=7_200_000)


async def test_a_notice_is_shown_in_the_language_of_who_reads(desk: Desk, read: Read) -> None:
    """The same row in both, and the language is remembered for letters."""
    grant_low(desk, "G-1")
    english = (await read().get(f"{BASE}/notices")).text
    assert "1.0 GPU-hours are left on the grant G-1" in english and "New" in english
    chinese = (await read(language="zh-HK").get(f"{BASE}/notices")).text
    assert "獲批資助 G-1 尚餘 1.0 GPU 小時" in chinese
    with desk.store.read() as db:
        assert notices.wishes(db, "p1").heard == "zh_Hant_HK"


async def test_nobody_sees_or_marks_the_notices_of_others(desk: Desk, read: Read) -> None:
    """By number or all at once."""
    failed(desk)
    other = read("p2")
    assert "did not start" not in (await other.get(f"{BASE}/notices")).text
    for form in ({"until": 2**53}, {"only": 1}):
        await other.post(f"{BASE}/notices/read", data=form, headers=ORIGIN)
    assert (await other.get(f"{BASE}/notices/news", params={"after": 0})).json()["notices"] == []
    with desk.store.read() as db:
        assert notices.count_unread(db, "p1") == 1


async def test_an_empty_list_says_what_will_be_there(read: Read) -> None:
    """And leads to the choices."""
    text = (await read().get(f"{BASE}/notices")).text
    assert "There is nothing to read." in text and "notices/settings" in text


async def test_a_notice_marked_as_read_is_no_longer_new(desk: Desk, read: Read) -> None:
    """One, or all that were shown."""
    failed(desk, 3)
    page = read()
    await page.post(f"{BASE}/notices/read", data={"only": 3, "back": "notices"}, headers=ORIGIN)
    assert "2 unread" in (await page.get(f"{BASE}/notices")).text
    answer = await page.post(f"{BASE}/notices/read", data={"until": 2, "back": "home"}, headers=ORIGIN)
    assert (answer.status_code, answer.headers["location"]) == (303, f"{BASE}/")
    text = (await page.get(f"{BASE}/notices")).text
    assert "You have read them all." in text and "Mark" not in text


async def test_home_shows_the_newest_that_are_unread(desk: Desk, read: Read) -> None:
    """Three of them, and the number of all in the frame."""
    failed(desk, 5)
    text = (await read().get(f"{BASE}/")).text
    assert text.count("Your session did not start</strong>") == notice_pages.AT_HOME
    assert re.search(r"Notices\s*<strong[^>]*>5</strong>", text)


async def test_ten_thousand_notices_are_shown_a_page_at_a_time(desk: Desk, read: Read) -> None:
    """Every page within half a second, home too."""
    with desk.store.write() as db:
        for number in range(10_000):
            notices.add(db, Notice(f"k{number}", "p1", "session-failed", {}, NOW - number))
    page = read()
    begun = time.perf_counter()
    first = (await page.get(f"{BASE}/notices")).text
    assert time.perf_counter() - begun < 1.5
    assert first.count('class="list-item"') == notice_pages.A_PAGE and "More than 99 unread" in first
    assert "99+" in first
    second = (await page.get(f"{BASE}/notices", params={"before": 9_951})).text
    assert second.count('class="list-item"') == notice_pages.A_PAGE and "Newest" in second
    last = (await page.get(f"{BASE}/notices", params={"before": 10})).text
    assert last.count('class="list-item"') == 9 and "Older" not in last


async def test_what_others_wrote_is_text(desk: Desk, read: Read) -> None:
    """No markup, no lines, no change of direction."""
    grant_low(desk, "<img src=x>\n\u202eG")
    for path in ("/notices", "/notices/news?after=0"):
        text = (await read().get(f"{BASE}{path}")).text
        assert "\u202e" not in text and ("<img src=x>" not in text or path.endswith("0"))


@pytest.mark.parametrize("query", ["before=x", f"before={2**70}", "before=-5"])
async def test_a_query_that_makes_no_sense_is_refused(read: Read, query: str) -> None:
    """With a page, not with a fault."""
    assert (await read().get(f"{BASE}/notices?{query}")).status_code == 400


async def test_wishes_are_kept_and_shown(desk: Desk, read: Read) -> None:
    """Only what differs from what is usual is written down."""
    page = read()
    form = {
        **FORM,
        "quiet": "own",
        "quiet_from": 12,
        "quiet_until": 14,
        "language": "zh_Hant_HK",
        "tell": ["mail:session-ended", "browser:session-ended", "browser:nonsense", "mail:alarm"],
    }
    answer = await page.post(f"{BASE}/notices/settings", data=form, headers=ORIGIN)
    assert answer.headers["location"].endswith("/settings?saved=1")
    with desk.store.read() as db:
        kept = notices.wishes(db, "p1")
    assert (kept.language, kept.quiet_from, kept.quiet_until) == ("zh_Hant_HK", 12, 14)
    assert "mail+session-ended" in kept.choices and "browser-session-ready" in kept.choices
    assert "mail-grant-low" in kept.choices
    assert not [
        one for one in kept.choices if "alarm" in one or "nonsense" in one or "browser-session-ended" in one
    ]
    text = (await page.get(f"{BASE}/notices/settings?saved=1")).text
    assert "Saved." in text
    assert re.search(r'value="mail:session-ended"[^>]* checked', text)
    assert not re.search(r'value="browser:session-ready"[^>]* checked', text)
    assert re.search(r'value="own" checked', text) and "p1@uni.example" in text


@pytest.mark.parametrize(
    "change", [{"quiet_from": 24}, {"quiet": "never"}, {"language": "fr"}, {"quiet_until": "x"}]
)
async def test_wishes_that_are_not_offered_are_refused(
    desk: Desk, read: Read, change: dict[str, object]
) -> None:
    """Nothing is changed then."""
    answer = await read().post(f"{BASE}/notices/settings", data={**FORM, **change}, headers=ORIGIN)
    assert answer.status_code == 400
    with desk.store.read() as db:
        assert (
            notices.wishes(db, "p1") == Preference("p1", heard="en") or not notices.wishes(db, "p1").choices
        )


@pytest.mark.parametrize("path", ["settings", "read"])
async def test_another_page_cannot_change_what_a_person_is_told(read: Read, path: str) -> None:
    """The Origin must be ours."""
    answer = await read().post(
        f"{BASE}/notices/{path}", data=FORM, headers={"Origin": "http://evil.localhost:8000"}
    )
    assert answer.status_code == 403


async def test_a_browser_is_told_only_of_what_is_new_and_wanted(desk: Desk, read: Read) -> None:
    """Not of what was there before it asked, nor of kinds that are switched off, nor of a flood."""
    page = read()
    failed(desk)

    async def news(after: int) -> dict[str, Any]:
        answer = await page.get(f"{BASE}/notices/news", params={"after": after})
        return dict(answer.json())

    assert await news(-1) == {"last": 1, "lang": "en", "notices": []}
    failed(desk, 2)
    (told,) = (await news(1))["notices"]
    assert told["title"] == "Your session did not start" and told["link"] == f"{BASE}/start"
    assert (await news(2))["notices"] == []
    failed(desk, 30)
    numbers = [one["number"] for one in (await news(2))["notices"]]
    assert numbers == [28, 29, 30]
    with desk.store.write() as db:
        notices.wish(db, Preference("p1", choices=frozenset({"browser-session-failed"})))
    assert (await news(2))["notices"] == []
