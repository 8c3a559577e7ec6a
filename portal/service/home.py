"""Home: what I can do now and what it costs, what I have going on, what I have left. And starting as last time."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from typing import Annotated, Any

import httpx
from fastapi import APIRouter, Form, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import RedirectResponse, Response

from portal.client import GrantView
from portal.policy import Refusal
from portal.pricing import Price
from portal.reasons import explain
from portal.service import admission, notice_pages, views
from portal.service.access import BASE
from portal.service.desk import Desk
from portal.service.frame import AReader, AViewer, page
from portal.service.internal import ADesk
from portal.service.pages import lasting, notebook_url
from portal.service.starting import NextStart, next_start
from portal.service.views import Work
from portal.service.words import Words
from portal.store import people, register

FIELD_BEHIND = re.compile(r" \([a-z-]+\)$")
router = APIRouter(prefix=BASE)

OFFICES = ("officer", "operator")
"""The roles that have work to do here without a grant."""
SHOWN = 20
"""Sessions and jobs shown one by one; of the others there is the number."""
ORDER = ("running", "stopping", "cancelling", "ending", "submitted", "waiting")
ANSWER_SECONDS = 3.0
"""How long a start waits for a refusal; after that the hub's page of waiting tells how it goes on."""

_starts: set[asyncio.Task[str]] = set()


@router.get("/")
def home(request: Request, person: AViewer, words: AReader, desk: ADesk) -> Response:
    return page(request, words, "home.html", person, problem="", **_home(desk, person, words))


@router.get("/live")
def live(request: Request, person: AViewer, words: AReader, desk: ADesk) -> Response:
    """The part of home that changes by itself."""
    return lasting(request, page(request, words, "live.html", person, **_home(desk, person, words)), False)


@dataclass(frozen=True)
class Waiting:
    """The jobs from the command line that wait, all together. dear: grants that have less left than they could cost."""

    jobs: int
    most: int
    cost: Price
    dear: tuple[str, ...]
    cancellable: int


def _home(desk: Desk, person: str, words: Words) -> dict[str, Any]:
    now = desk.now()
    with desk.store.read() as db:
        mine, last = admission.standings(db, person, now), people.last_choice(db, person)
        grants = views.grant_views(desk, db, mine, words, now)
        going, over = views.work(desk, db, person), views.recent(desk, db, person)
        news = notice_pages.unread(desk, db, person, words)
        known = people.person(db, person)
    going.sort(key=lambda work: (work.session is None, ORDER.index(work.state)))
    # who has left every grant still sees what runs, in the list alone
    server = next((work for work in going if mine and work.session and work.state != "ending"), None)
    as_at = int(desk.view.at) if desk.view else None
    stale = as_at is None or now - as_at > admission.STALE_SECONDS
    shown = going[:SHOWN]
    found = None if server or stale else next_start(desk, mine, last, now)
    return {
        "now": now,
        "grants": grants,
        "usable": [grant for grant in grants if not grant.remedy],
        "as_at": as_at,
        "stale": stale,
        "going": shown,
        "more_running": sum(work.state != "waiting" for work in going[SHOWN:]),
        "more_waiting": sum(work.state == "waiting" for work in going[SHOWN:]),
        "waiting": waiting(going, grants),
        "unknown": any(not work.ours and work.job and not work.session for work in shown),
        "over": over,
        "news": news,
        "fresh": last is None and not over and not going,
        "server": server,
        "next": found if isinstance(found, NextStart) else None,
        "refusal": words.refusal(found) if isinstance(found, Refusal) else "",
        "offered": {size.id: size for size in desk.settings.offer.sizes},
        "sizes": {size.id: words.size(size) for size in desk.settings.offer.sizes},
        "explain": lambda reason: explain(reason, words.language),
        "notebook": notebook_url(desk, person),
        "no_grant": words.refusal(Refusal("no-grant", "grant")) if not grants else "",
        "office": next((role for role in OFFICES if known and role in known.roles), ""),
    }


def waiting(going: list[Work], grants: list[GrantView]) -> Waiting:
    """What the waiting jobs from the command line come to if all of them run to their limits."""
    jobs = [work for work in going if work.session is None and work.state == "waiting"]
    by_grant: dict[str, int] = {}
    for work in jobs:
        by_grant[work.grant] = by_grant.get(work.grant, 0) + (work.most or 0)
    return Waiting(
        jobs=sum(work.tasks for work in jobs),
        most=sum(by_grant.values()),
        cost=Price(
            sum(work.most_cost.list_cents for work in jobs),
            sum(work.most_cost.subsidy_cents for work in jobs),
        ),
        dear=tuple(one.code for one in grants if by_grant.get(one.code, 0) > max(0, one.available)),
        cancellable=sum(work.may_cancel for work in jobs),
    )


@router.post("/start-again")
async def start_again(
    request: Request,
    person: AViewer,
    words: AReader,
    desk: ADesk,
    grant: Annotated[str, Form(max_length=64)],
    size: Annotated[str, Form(max_length=64)],
    minutes: Annotated[int, Form()],
    most: Annotated[int | None, Form(ge=0, lt=10**12)] = None,
) -> Response:
    """Start what the button said, through the hub, which asks for admission as it does for every start.

    most: the own share that the page showed, in cents; where it has become dearer meanwhile, nothing starts.
    A refusal comes back on home, in the person's language; anything else is told by the hub's page of waiting.
    """
    if await run_in_threadpool(_has_a_job, desk, person):
        return RedirectResponse(f"{BASE}/", 303)
    asked: dict[str, object] = {"kind": "notebook", "grant": grant, "size": size, "minutes": minutes}
    if most is not None:
        asked["most"] = most
    start = asyncio.ensure_future(_start_server(desk, person, asked, words))
    _starts.add(start)  # it runs to its end, whatever this request does
    start.add_done_callback(_starts.discard)
    submitted = asyncio.ensure_future(_until_it_has_a_job(desk, person))
    await asyncio.wait({start, submitted}, timeout=ANSWER_SECONDS, return_when=asyncio.FIRST_COMPLETED)
    submitted.cancel()
    problem = start.result() if start.done() else ""
    if not problem:
        return RedirectResponse(f"{desk.settings.web.url}/hub/spawn-pending/{person}", 303)
    values = await run_in_threadpool(_home, desk, person, words)
    return await run_in_threadpool(page, request, words, "home.html", person, 400, problem=problem, **values)


def _has_a_job(desk: Desk, person: str) -> bool:
    with desk.store.read() as db:
        return any(one.job is not None for one in register.alive(db, person))


async def _until_it_has_a_job(desk: Desk, person: str) -> None:
    while not await run_in_threadpool(_has_a_job, desk, person):  # noqa: ASYNC110 - written by another request
        await asyncio.sleep(0.1)


async def _start_server(desk: Desk, person: str, asked: dict[str, object], words: Words) -> str:
    """Have the hub start the person's server. Returns why not, as a sentence for the person; empty if it starts."""
    headers = {
        "Authorization": f"token {desk.settings.secret('portal-hub.token')}",
        "Accept-Language": words.lang,
    }
    away = words.gettext("The hub does not answer, so nothing was started. Try again in a minute.")
    try:
        async with httpx.AsyncClient(
            base_url=desk.settings.hub_api_url, headers=headers, timeout=30, trust_env=False
        ) as hub:
            answer = await hub.post(f"/users/{person}/server", json={"user_options": asked})
    except httpx.TimeoutException:
        return ""  # the hub has the order
    except httpx.HTTPError:
        return away
    if answer.is_success:
        return ""
    told = _message(answer)
    if person in told:  # JupyterHub's own words, in English and with the number of the person
        return words.gettext("The hub is still busy with your last session. Try again in a few seconds.")
    if answer.status_code in (400, 503) and told:
        return told
    return words.gettext("The session could not be started. Nothing was charged. Please try again.")


def _message(answer: httpx.Response) -> str:
    """The sentence alone: for programs the hub names the field at fault behind it (`spawners.admission.refused`)."""
    try:
        return FIELD_BEHIND.sub("", str(answer.json()["message"]))[:400]
    except (ValueError, KeyError, TypeError):
        return ""
