"""Home: the first sentence is honest, every state has its words, and nobody cancels what is not theirs."""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from tornado import web
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port

from portal import settings as settings_module
from portal.agent import cancellable
from portal.audit import faults
from portal.client import FinishedJob, JobReport, LiveJob, LiveNode, SessionRequest, View, Wish
from portal.grants import Category, Decided, Grant, Membership, Organisation, Role
from portal.ledger import Entry, Kind
from portal.policy import Refusal
from portal.pricing import Price
from portal.service import admission, documents, frame, home, internal, starting, views
from portal.service.access import BASE
from portal.service.booking import book, see
from portal.service.desk import Desk
from portal.service.main import create
from portal.service.starting import NextStart, next_start
from portal.service.wishes import wish
from portal.service.words import Words
from portal.settings import Database
from portal.store import Store, audit, books, connect, migrate, people, programme, tables
from portal.store.people import Choice
from portal.units import GPU_HOUR

NOW = int(time.time())
DAY = 86_400
GRANT = Grant(
    "G-1",
    "Proteins",
    "uni",
    "life",
    "research",
    NOW - 60 * DAY,
    NOW + 60 * DAY,
    "C-12",
    3000,
    7000,
    title_zh="蛋白質",
)
SECRETS = ("hub.token", "agent.token", "dashboards.token", "portal-hub.token", "portal.key")
ORIGIN = {"Origin": "http://portal--service.localhost:8000"}
UNIX = {"pi": "shared", "member": "shared", "other": "shared", "nobody": "shared"}


def desk_with(home_folder: Path, accounts: str, database: Database) -> Iterator[Desk]:
    environ = {"PORTAL_SLURM__ACCOUNTS": accounts, "PORTAL_SLURM__SHARED_USER": "shared"}
    (home_folder / "secrets").mkdir()
    for name in SECRETS:
        (home_folder / "secrets" / name).write_text(secrets.token_hex(16))
    settings = settings_module.load(environ=environ).model_copy(
        update={"home": home_folder, "database": database}
    )
    engine = connect(settings.database_url)
    migrate(engine)
    desk = Desk(settings, Store(engine))
    with desk.store.write() as db:
        programme.add_organisation(db, Organisation("uni", "University", "大學", Category.INSTITUTION))
        add_grant(desk, db, GRANT, 10 * GPU_HOUR)
        for person in UNIX:
            user = "shared" if accounts == "shared" else person
            people.record(db, people.Person(person, "iss", person, user, person, "", frozenset()), NOW)
        for person, role in (("pi", Role.PI), ("member", Role.MEMBER), ("other", Role.MEMBER)):
            programme.add_membership(db, Membership("G-1", person, role, NOW - 60 * DAY))
    for person in UNIX:
        documents.accept(desk, person, "")
    see(desk, look())
    yield desk
    engine.dispose()


def add_grant(desk: Desk, db: object, grant: Grant, amount: int) -> None:
    programme.add_grant(db, grant)  # type: ignore[arg-type]
    kind = Kind.AWARD if amount >= 0 else Kind.CHARGE
    entry = Entry(f"award:{grant.code}", grant.code, kind, amount, Price(0, 0), NOW - 50 * DAY, NOW)
    books.append(db, entry)  # type: ignore[arg-type]


@pytest.fixture
def desk(tmp_path: Path, database: Database) -> Iterator[Desk]:
    """Each person has a Unix account of their own."""
    yield from desk_with(tmp_path, "own", database)


@pytest.fixture
def shared(tmp_path: Path, database: Database) -> Iterator[Desk]:
    """All people share one Unix account, so Slurm cannot tell them apart."""
    yield from desk_with(tmp_path, "shared", database)


def node(used: float = 0, cores: int = 0, state: str = "MIXED", **changes: object) -> LiveNode:
    base = LiveNode(
        name="gpu01", state=state, partition="gpu", gpus=8, gpus_used=used, cores=128, cores_used=cores
    )
    return base.model_copy(update=changes)


def look(*jobs: LiveJob, nodes: list[LiveNode] | None = None, at: float | None = None) -> View:
    return View(
        cluster="aisc", at=at or time.time(), jobs=list(jobs), nodes=[node()] if nodes is None else nodes
    )


def job(id: int = 7, user: str = "member", state: str = "PENDING", **changes: object) -> LiveJob:
    base = LiveJob(
        id=id, submit=NOW - 600, name="train", user=user, account=GRANT.account, qos=GRANT.account, partition="gpu",
        state=state, reason="Priority" if state == "PENDING" else "", billing=2000, limit_seconds=3600,
        start=None if state == "PENDING" else NOW - 300,
    )  # fmt: skip
    return base.model_copy(update=changes)


class Reader:
    """A browser in which somebody has signed in."""

    def __init__(self, desk: Desk, person: str, language: str) -> None:
        self.app: FastAPI = create(desk.settings, desk.store)
        self.app.state.desk.view = desk.view
        self.app.dependency_overrides[frame.viewer_of] = lambda: person
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        self.http = httpx.AsyncClient(
            transport=transport,
            base_url="http://portal--service.localhost:8000",
            headers={"Accept-Language": language},
        )

    async def text(self, path: str = "/") -> str:
        answer = await self.http.get(f"{BASE}{path}")
        assert answer.status_code in (200, 286), answer.text
        return " ".join(re.sub(r"</?strong>", "", answer.text).replace("\u00a0", " ").split())


Read = Callable[..., Reader]


@pytest.fixture
async def read() -> AsyncIterator[Read]:
    readers: list[Reader] = []

    def make(desk: Desk, person: str = "member", language: str = "en") -> Reader:
        readers.append(Reader(desk, person, language))
        return readers[-1]

    yield make
    for reader in readers:
        await reader.http.aclose()


# What can be started


@pytest.mark.parametrize(
    ("size", "nodes", "free"),
    [
        ("gpu1", [node(used=7)], True),
        ("gpu1", [node(used=7.25)], False),
        ("quarter", [node(used=7.75)], True),
        ("quarter", [node(used=8)], False),
        ("gpu4", [node(used=5), node(used=5)], False),
        ("gpu1", [node(cores=120)], False),
        ("gpu1", [node(state="IDLE+DRAIN")], False),
        ("gpu1", [node(state="DOWN*")], False),
        ("gpu1", [node(state="IDLE~")], True),
        ("gpu1", [node(partition="cpu")], False),
        ("gpu1", [node(partition="long,gpu")], True),
        ("gpu1", [], False),
    ],
)
def test_there_is_room_only_where_one_node_has_all_of_it(
    desk: Desk, size: str, nodes: list[LiveNode], free: bool
) -> None:
    """Parts of GPUs, cores, nodes taken out, and no adding up over nodes."""
    offered = desk.settings.offer.size(size)
    assert offered
    found = starting.room(look(nodes=nodes), offered, desk.settings.offer.partition(offered.partition))
    assert found.free is free


def test_who_waits_for_a_turn_is_ahead_and_who_waits_for_something_else_is_not(desk: Desk) -> None:
    """A held job and one that waits for another one take nobody's place."""
    size = desk.settings.offer.sizes[1]
    view = look(
        job(1), job(2, reason="Resources"), job(3, reason="JobHeldUser"), job(4, reason="Dependency"), job(5, partition="cpu")
    )  # fmt: skip
    found = starting.room(view, size, desk.settings.offer.partition(size.partition))
    assert (found.ahead, found.now) == (2, False)
    assert views.places(view) == {(1, NOW - 600): 1, (2, NOW - 600): 2, (5, NOW - 600): 1}


def next_of(desk: Desk, person: str = "member") -> NextStart | Refusal | None:
    with desk.store.read() as db:
        mine, last = admission.standings(db, person, desk.now()), people.last_choice(db, person)
    return next_start(desk, mine, last, desk.now())


def remember(desk: Desk, choice: Choice, person: str = "member") -> None:
    with desk.store.write() as db:
        people.remember_choice(db, person, choice)


def test_the_last_choice_comes_back_and_without_one_the_usual(desk: Desk) -> None:
    found = next_of(desk)
    assert isinstance(found, NextStart) and not found.again
    assert found.choice == Choice("G-1", "gpu1", 120)
    remember(desk, Choice("G-1", "quarter", 240))
    found = next_of(desk)
    assert isinstance(found, NextStart) and found.again
    assert found.choice == Choice("G-1", "quarter", 240)
    assert found.quote.own_cents == 900


def test_what_is_too_dear_becomes_shorter_then_smaller(desk: Desk) -> None:
    """Ten GPU-hours are left."""
    remember(desk, Choice("G-1", "gpu4", 240))
    found = next_of(desk)
    assert isinstance(found, NextStart) and not found.again
    assert (found.choice.size, found.choice.minutes) == ("gpu4", 120)


def test_with_nothing_left_the_sentence_says_why(desk: Desk) -> None:
    """Everything is committed to a running job."""
    see(desk, look(job(state="RUNNING", limit_seconds=18_000)))
    found = next_of(desk)
    assert isinstance(found, Refusal) and found.code == "too-dear"


def test_a_choice_that_is_no_longer_offered_or_no_longer_mine_is_forgotten(desk: Desk) -> None:
    remember(desk, Choice("G-99", "gone", 17))
    found = next_of(desk)
    assert isinstance(found, NextStart) and found.choice == Choice("G-1", "gpu1", 120)


# What a page says


async def test_home_begins_with_what_can_be_started_and_its_price(desk: Desk, read: Read) -> None:
    """As last time in one press; in both languages."""
    remember(desk, Choice("G-1", "gpu1", 240))
    english, chinese = await read(desk).text(), await read(desk, language="zh-HK").text()
    assert "You can start 1 GPU now, until" in english and "Own share at most HK$36.00." in english
    assert 'action="/services/portal/start-again"' in english and "Start as last time" in english
    assert "你現在可以使用「1 個 GPU」" in chinese and "蛋白質" in chinese and "Proteins" not in chinese


async def test_readers_of_two_languages_at_once_get_each_their_own(desk: Desk, read: Read) -> None:
    """Pages are drawn in several threads."""
    english, chinese = read(desk), read(desk, language="zh-HK")
    texts = await asyncio.gather(*(reader.text() for _ in range(8) for reader in (english, chinese)))
    assert all("My grants" in text and "我的獲批資助" not in text for text in texts[::2])
    assert all("我的獲批資助" in text and "My grants" not in text for text in texts[1::2])


async def test_home_promises_nothing_when_all_is_taken(desk: Desk, read: Read) -> None:
    see(desk, look(job(1, user="pi"), job(2, user="pi"), nodes=[node(used=8)]))
    text = await read(desk).text()
    assert "All of that size are in use. You can join the queue for 1 GPU: 2 jobs are ahead." in text
    assert "now, until" not in text and "Join the queue" in text


async def test_home_without_a_grant_says_whom_to_ask(desk: Desk, read: Read) -> None:
    text = await read(desk, "nobody").text()
    assert "grants@aisc.example" in text and "What to have ready" in text
    assert "start-again" not in text


@pytest.mark.parametrize("role", ["officer", "operator"])
async def test_home_of_an_officer_without_a_grant_leads_to_their_work(
    desk: Desk, read: Read, role: str
) -> None:
    """They are not told to ask a principal investigator; whose role is only to teach is."""
    for who, roles in (("o", frozenset({role})), ("t", frozenset({"instructor"}))):
        with desk.store.write() as db:
            people.record(db, people.Person(who, "iss", who, who, who, "", roles), NOW)
        documents.accept(desk, who, "")
    text = await read(desk, "o").text()
    assert "Open the audit" in text and "What to have ready" not in text
    assert f"/help/{role}" in text
    assert "What to have ready" in await read(desk, "t").text()


async def test_home_of_somebody_new_explains_three_steps(desk: Desk, read: Read) -> None:
    assert "Your first session in three steps" in await read(desk).text()
    remember(desk, Choice("G-1", "gpu1", 60))
    assert "Your first session in three steps" not in await read(desk).text()


async def test_home_with_old_figures_starts_nothing_and_says_since_when(desk: Desk, read: Read) -> None:
    desk.view = look(at=NOW - 300)
    text = await read(desk).text()
    assert "Slurm has not been seen since" in text and "start-again" not in text
    desk.view = None
    assert "Slurm has not been seen yet" in await read(desk).text()


@pytest.mark.parametrize(
    ("change", "balance", "says"),
    [
        ({"decided": Decided.SUSPENDED}, 5, "is suspended"),
        ({"ends": NOW - DAY}, 5, "ended on"),
        ({"starts": NOW + DAY}, 5, "starts on"),
        ({"decided": Decided.DRAFT}, 5, "is not approved yet"),
        ({"decided": Decided.CLOSED}, 5, "is closed"),
        ({}, 0, "is used up"),
        ({}, -3, "overrun: used beyond the grant"),
    ],
)
async def test_every_state_of_a_grant_has_its_sentence(
    desk: Desk, read: Read, change: dict[str, object], balance: int, says: str
) -> None:
    """And no state but the usable one offers a start."""
    grant = replace(GRANT, code="G-2", title="Metals", **change)  # type: ignore[arg-type]
    with desk.store.write() as db:
        add_grant(desk, db, grant, balance * GPU_HOUR)
        programme.add_membership(db, Membership("G-2", "nobody", Role.MEMBER, NOW - 60 * DAY))
    text = await read(desk, "nobody").text()
    assert says in text and "start-again" not in text
    assert (await read(desk, "nobody", "zh-HK").text()).count("G-2") >= 2


async def test_the_forecast_says_how_it_was_worked_out(desk: Desk, read: Read) -> None:
    """Half a GPU-hour a day, ten hours less 21 used: beyond; twice as much: a date."""
    used = [
        FinishedJob(
            cluster="aisc", id=n, submit=NOW - n * DAY, start=NOW - n * DAY, end=NOW - n * DAY, elapsed=720, state="COMPLETED",
            user="member", account=GRANT.account, qos=GRANT.account, name="x", billing=1000,
        )
        for n in range(1, 43)
    ]  # fmt: skip
    assert "No use in the last two weeks, so no forecast." in await read(desk).text()
    book(desk, used)
    text = await read(desk).text()
    assert "At this pace it lasts until about" in text
    assert "0.2 GPU-hours a day in the last two weeks, 0.2 in the last six." in text


async def test_a_hostile_name_is_one_line_of_text(desk: Desk, read: Read) -> None:
    """No markup, no lines, no right-to-left override, no end of length."""
    see(desk, look(job(name="<script>alert(1)</script>\n\u202e\x1b[2J" + "x" * 5000)))
    text = await read(desk).text()
    assert "&lt;script&gt;alert(1)&lt;/script&gt; [2Jxxx" in text
    assert "<script>alert" not in text and "\u202e" not in text and "x" * 100 not in text


async def test_a_waiting_job_shows_place_expected_start_reason_and_its_price(desk: Desk, read: Read) -> None:
    see(desk, look(job(1, user="pi"), job(array="7_[1-3]", expected=NOW + 1800)))
    text = await read(desk).text()
    assert "Place 2 in the queue." in text and "Slurm expects it to start at about" in text
    assert "job 7_[1-3]" in text and "3 tasks" in text
    assert "If all 3 jobs that wait run to their limits: 6.0 GPU-hours, own share HK$54.00." in text


async def test_more_than_is_left_is_said_of_what_waits(desk: Desk, read: Read) -> None:
    see(desk, look(job(array="7_[1-9]")))
    assert "That is more than is available on G-1: not all of them can run." in await read(desk).text()


async def test_many_jobs_are_shown_in_part_and_counted_in_full(desk: Desk, read: Read) -> None:
    """A thousand: twenty of them, the others as a number, within a second."""
    running = [job(id, state="RUNNING", limit_seconds=60) for id in range(1, 31)]
    see(desk, look(*running, *(job(id) for id in range(31, 1001))))
    reader = read(desk)
    text = await reader.text()
    assert text.count("data-news=") == home.SHOWN
    assert "And 10 more that run." in text and "And 970 more that wait." in text
    begun = time.process_time()
    await reader.text("/live")
    assert time.process_time() - begun < 1.5


async def test_nothing_is_sent_twice(desk: Desk, read: Read) -> None:
    """The part that changes by itself answers 204 to whoever has it, and in full once something changed."""
    reader = read(desk)
    first = await reader.http.get(f"{BASE}/live")
    again = await reader.http.get(f"{BASE}/live", headers={"If-None-Match": first.headers["etag"]})
    assert (first.status_code, again.status_code, again.content) == (200, 204, b"")
    see(desk, look(job()))
    reader.app.state.desk.view = desk.view
    changed = await reader.http.get(f"{BASE}/live", headers={"If-None-Match": first.headers["etag"]})
    assert changed.status_code == 200 and b"train" in changed.content


# Cancelling


def address(id: int = 7, cluster: str = "aisc", submit: int = NOW - 600) -> str:
    return f"{BASE}/jobs/{cluster}/{id}/{submit}"


async def test_my_running_job_asks_first_and_is_cancelled_once(desk: Desk, read: Read) -> None:
    """Recorded, audited, wished for, shown until it is gone."""
    see(desk, look(job(state="RUNNING")))
    reader = read(desk)
    asked = await reader.http.get(f"{address()}/cancel")
    assert "Cancel job 7?" in asked.text and "Keep it" in asked.text and "stays charged" in asked.text
    assert wish(desk).unwanted == []
    for _ in range(2):
        answer = await reader.http.post(f"{address()}/cancel", headers=ORIGIN)
        assert answer.status_code == 303
    assert [(one.id, one.submit, one.account) for one in wish(desk).unwanted] == [(7, NOW - 600, "gg1")]
    assert "Cancelling…" in await reader.text()
    with desk.store.read() as db:
        lines = list(audit.chain(db))
    assert list(faults(lines)) == []
    lines = [one for one in lines if one.event.what.startswith("job.")]
    assert [(one.event.who, one.event.what, one.event.subject) for one in lines] == [
        ("member", "job.cancel", f"aisc/7/{NOW - 600}")
    ]
    see(desk, look())
    assert wish(desk).unwanted == []


@pytest.mark.parametrize("person", ["pi", "other", "nobody"])
async def test_nobody_cancels_or_sees_the_job_of_somebody_else(desk: Desk, read: Read, person: str) -> None:
    """Not even who leads the grant: the job has an owner."""
    see(desk, look(job(state="RUNNING")))
    reader = read(desk, person)
    for answer in (
        await reader.http.get(address()),
        await reader.http.get(f"{address()}/cancel"),
        await reader.http.post(f"{address()}/cancel", headers=ORIGIN),
    ):
        assert answer.status_code == 404
    await reader.http.post(f"{BASE}/cancel-waiting", headers=ORIGIN)
    assert wish(desk).unwanted == []


@pytest.mark.parametrize(("person", "may"), [("pi", True), ("member", False), ("other", False)])
async def test_a_job_of_nobody_known_is_cancelled_by_who_leads_the_grant(
    shared: Desk, read: Read, person: str, may: bool
) -> None:
    """Under one account for all, a member sees it and must not end what may be another member's."""
    see(shared, look(job(user="shared", state="RUNNING")))
    reader = read(shared, person)
    assert (
        "Whoever leads the grant can cancel it" in await reader.text(address().removeprefix(BASE))
    ) is not may
    await reader.http.post(f"{address()}/cancel", headers=ORIGIN)
    assert bool(wish(shared).unwanted) is may


async def test_all_that_wait_are_cancelled_and_nothing_that_runs(desk: Desk, read: Read) -> None:
    see(desk, look(job(1), job(2), job(3, state="RUNNING"), job(4, user="pi")))
    reader = read(desk)
    assert "2 jobs of yours wait" in (await reader.http.get(f"{BASE}/cancel-waiting")).text
    await reader.http.post(f"{BASE}/cancel-waiting", headers=ORIGIN)
    assert [one.id for one in wish(desk).unwanted] == [1, 2]


async def test_a_foreign_page_cancels_and_starts_nothing(desk: Desk, read: Read) -> None:
    see(desk, look(job()))
    reader = read(desk)
    for path in (f"{address()}/cancel", f"{BASE}/cancel-waiting", f"{BASE}/start-again"):
        for origin in ({}, {"Origin": "http://member.localhost:8000"}):
            assert (await reader.http.post(path, headers=origin)).status_code == 403
    assert wish(desk).unwanted == []


async def test_a_session_is_stopped_not_cancelled(desk: Desk, read: Read) -> None:
    """Its job is the hub's."""
    asked = SessionRequest(person="member", grant="G-1", size="gpu1", minutes=60)
    admitted = admission.request(desk, asked)
    internal.report_job(admitted.id, JobReport(job=7), desk)
    see(desk, look(job(name=admitted.job_name, state="RUNNING")))
    reader = read(desk)
    assert (await reader.http.post(f"{address()}/cancel", headers=ORIGIN)).status_code == 404
    text = await reader.text()
    assert "Your notebook is running on 1 GPU, until" in text and "start-again" not in text


async def test_a_session_asked_to_stop_says_so_until_its_job_is_gone(desk: Desk, read: Read) -> None:
    """Nothing is offered meanwhile; if it still runs later, it can be asked again."""
    asked = SessionRequest(person="member", grant="G-1", size="gpu1", minutes=60)
    admitted = admission.request(desk, asked)
    internal.report_job(admitted.id, JobReport(job=7), desk)
    see(desk, look(job(name=admitted.job_name, state="RUNNING")))
    reader = read(desk)
    assert "stop-now" in await reader.text()
    at_work: Desk = reader.app.state.desk
    at_work.heard("session.stopped", admitted.id)
    text = await reader.text()
    assert "Your notebook is being stopped." in text and "Stopping…" in text and "stop-now" not in text
    at_work.stops[admitted.id] -= 60
    assert "stop-now" in await reader.text()


async def test_a_session_that_waits_is_cancelled_in_the_words_of_its_button(desk: Desk, read: Read) -> None:
    asked = SessionRequest(person="member", grant="G-1", size="gpu1", minutes=60)
    admitted = admission.request(desk, asked)
    internal.report_job(admitted.id, JobReport(job=7), desk)
    see(desk, look(job(name=admitted.job_name)))
    text = await read(desk).text()
    assert re.search(r'id="stop-now">\s*Cancel', text)


def test_the_agent_cancels_only_what_is_exactly_the_job_of_a_grant() -> None:
    """A number used anew, another account, an account that is no grant's, a job that is ending already."""
    mine = {"id": 7, "submit": 100, "account": "gg1"}
    grant = {"account": "gg1", "qos": "gg1", "minutes": 1}
    wished = Wish.model_validate(
        {
            "cluster": "aisc",
            "grants": [grant],
            "unwanted": [
                mine,
                {"id": 8, "submit": 100, "account": "root"},
                {"id": 9, "submit": 1, "account": "gg1"},
            ],
        }
    )
    seen = [
        job(7, submit=100),
        job(8, submit=100, account="root"),
        job(9, submit=2),
        job(10, submit=100),
    ]
    assert [one.id for one in cancellable(wished, seen)] == [7]
    assert cancellable(wished, [job(7, submit=100, account="gg2")]) == []
    assert cancellable(wished, [job(7, submit=100, state="COMPLETING")]) == []
    assert cancellable(Wish(cluster="aisc", grants=[], unwanted=wished.unwanted), seen) == []


# Receipts


async def test_a_job_that_ended_is_among_the_latest_with_a_receipt(desk: Desk, read: Read) -> None:
    see(desk, look(job(state="RUNNING")))
    see(desk, look())
    ended = FinishedJob(
        cluster="aisc", id=7, submit=NOW - 600, start=NOW - 300, end=NOW, elapsed=300, state="CANCELLED", user="member",
        account=GRANT.account, qos=GRANT.account, name="train", billing=2000,
    )  # fmt: skip
    book(desk, [ended])
    reader = read(desk)
    assert f'href="{address()}"' in await reader.text()
    text = await reader.text(address().removeprefix(BASE))
    for part in (
        "The job has ended and its charge is booked.",
        "2 GPU × 300 s",
        "HK$5.00",
        "−HK$3.50",
        "HK$1.50",
    ):
        assert part in text
    assert (await reader.http.get(f"{address()}/live")).status_code == 286, "asks for no more"


# Starting


async def test_a_start_that_the_hub_cannot_take_comes_back_in_words(desk: Desk, read: Read) -> None:
    """Nobody listens on the hub's port here."""
    choice = {"grant": "G-1", "size": "gpu1", "minutes": "60"}
    answer = await read(desk).http.post(f"{BASE}/start-again", data=choice, headers=ORIGIN)
    assert answer.status_code == 400
    assert "It was not started" in answer.text and "The hub does not answer" in answer.text


@asynccontextmanager
async def hub_of(desk: Desk, handler: type[web.RequestHandler]) -> AsyncIterator[None]:
    """A port where something answers as the hub does when it is to start the member's server."""
    sock, port = bind_unused_port()
    server = HTTPServer(web.Application([("/hub/api/users/member/server", handler)], log_function=str))
    server.add_sockets([sock])
    new = desk.settings.web.model_copy(update={"hub_port": port})
    desk.settings = desk.settings.model_copy(update={"web": new})
    yield
    server.stop()
    await server.close_all_connections()


async def test_the_hub_is_told_the_price_that_was_shown_and_its_no_is_read_on_home(
    desk: Desk, read: Read
) -> None:
    """Between the page and the press it may have become dearer. A switch of language leads back to home, not to a form."""
    told: list[dict[str, object]] = []

    class Hub(web.RequestHandler):
        def post(self) -> None:
            told.append(json.loads(self.request.body)["user_options"])
            self.set_status(400)
            self.finish({"message": "It has become dearer."})

    async with hub_of(desk, Hub):
        reader = read(desk)
        shown = re.findall(r'name="(\w+)" value="([^"]*)"', await reader.text())
        headers = ORIGIN | {"Referer": f"{ORIGIN['Origin']}{BASE}/"}
        answer = await reader.http.post(f"{BASE}/start-again", data=dict(shown), headers=headers)

    assert told == [
        {"kind": "notebook", "grant": "G-1", "size": "gpu1", "minutes": told[0]["minutes"], "most": 1800}
    ]
    assert "It has become dearer." in answer.text and "back=/services/portal/&amp;" in answer.text


async def test_what_jupyterhub_says_itself_is_told_in_our_words(desk: Desk, read: Read) -> None:
    """It speaks English, of a person by number."""

    class Hub(web.RequestHandler):
        def post(self) -> None:
            self.set_status(400)
            self.finish({"message": "member is pending stop"})

    async with hub_of(desk, Hub):
        choice = {"grant": "G-1", "size": "gpu1", "minutes": "60"}
        reader = read(desk, language="zh-HK")
        answer = await reader.http.post(f"{BASE}/start-again", data=choice, headers=ORIGIN)
    assert "pending" not in answer.text and "Hub 仍在處理" in answer.text


async def test_who_has_left_every_grant_still_sees_and_stops_what_runs(desk: Desk, read: Read) -> None:
    """It goes on, and costs."""
    admitted = admission.request(desk, SessionRequest(person="member", grant="G-1", size="gpu1", minutes=60))
    internal.report_job(admitted.id, JobReport(job=7), desk)
    see(desk, look(job(7, state="RUNNING", name=f"aisc-{admitted.id}")))
    with desk.store.write() as db:
        db.execute(tables.membership.update().values(ends=NOW - 1))
    text = await read(desk).text()
    assert "What to have ready" in text and f"/sessions/{admitted.id}/stop" in text
    assert "My grants" not in text and "Your notebook is running" not in text


async def test_a_session_of_a_size_that_is_no_longer_offered_keeps_its_name(desk: Desk, read: Read) -> None:
    admitted = admission.request(desk, SessionRequest(person="member", grant="G-1", size="gpu1", minutes=60))
    sizes = tuple(size for size in desk.settings.offer.sizes if size.id != "gpu1")
    offer = desk.settings.offer.model_copy(update={"sizes": sizes})
    desk.settings = desk.settings.model_copy(update={"offer": offer})
    for path in ("/", f"/sessions/{admitted.id}"):
        assert "gpu1" in await read(desk).text(path)


async def test_a_link_to_the_form_leaves_the_last_choice_as_it_was(desk: Desk, read: Read) -> None:
    """A notebook of somebody else may hold it as a picture; the one button must not start that."""
    remember(desk, Choice("G-1", "gpu1", 60))
    answer = await read(desk).http.get(f"{BASE}/start?grant=G-1&size=gpu4&minutes=240&x=1")
    assert answer.headers["location"].endswith("/hub/spawn?grant=G-1&size=gpu4&minutes=240")
    with desk.store.read() as db:
        assert people.last_choice(db, "member") == Choice("G-1", "gpu1", 60)


async def test_a_second_press_starts_nothing_more(desk: Desk, read: Read) -> None:
    admitted = admission.request(desk, SessionRequest(person="member", grant="G-1", size="gpu1", minutes=60))
    internal.report_job(admitted.id, JobReport(job=7), desk)
    choice = {"grant": "G-1", "size": "gpu1", "minutes": "60"}
    answer = await read(desk).http.post(f"{BASE}/start-again", data=choice, headers=ORIGIN)
    assert (answer.status_code, answer.headers["location"]) == (303, f"{BASE}/")


def test_what_waits_is_summed_over_jobs_and_tasks(desk: Desk) -> None:
    see(desk, look(job(1), job(2, array="2_[0-4]"), job(3, billing=0)))
    with desk.store.read() as db:
        going = views.work(desk, db, "member")
    grants = views.allocation(desk, "member", Words(desk.settings, "en")).grants
    found = home.waiting(going, grants)
    assert (found.jobs, found.most, found.dear) == (7, 12 * GPU_HOUR, ("G-1",))
    assert found.cost.own_cents == 12 * 900


def test_a_refusal_of_the_hub_is_shown_without_the_name_of_the_field() -> None:
    """Programs read it behind the words; people see the sentence alone."""
    refused = httpx.Response(400, json={"message": "Too dear. Choose less. (minutes)"})
    assert home._message(refused) == "Too dear. Choose less."
