"""The pages people see. Everything that changes something is a POST that bears our own Origin (checked in `main`)."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Annotated, Any
from urllib.parse import urlencode

import httpx
from fastapi import APIRouter, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import RedirectResponse, Response

from portal import look
from portal.locale import COOKIE_DAYS, cookie_domain
from portal.reasons import explain
from portal.service import admission, views
from portal.service.access import BASE, Denied, Door, bearer, own_path
from portal.service.desk import Desk
from portal.service.frame import AReader, AViewer, Missing, address_of, page
from portal.service.internal import ADesk
from portal.service.words import Words
from portal.store import people, register

router = APIRouter(prefix=BASE)

STOP_TRIES = 8


def notebook_url(desk: Desk, person: str) -> str:
    scheme, _, place = desk.settings.web.url.partition("://")
    return f"{scheme}://{person}.{place}/user/{person}/lab"


@router.get("/start")
def start(
    person: AViewer,
    desk: ADesk,
    grant: Annotated[str, Query(max_length=64)] = "",
    size: Annotated[str, Query(max_length=64)] = "",
    minutes: Annotated[str, Query(max_length=8)] = "",
) -> Response:
    """Go on to the form with the choice that a link carries. Nothing is kept of it: anybody can make a link."""
    carried = {"grant": grant, "size": size, "minutes": minutes}
    query = urlencode({name: value for name, value in carried.items() if value})
    return RedirectResponse(f"{desk.settings.web.url}/hub/spawn{query and '?' + query}", 303)


def _own_session(desk: Desk, person: str, id: str) -> views.Work:
    with desk.store.read() as db:
        session = register.session(db, id)
        if session is None or session.person != person:
            raise Missing
        return views.of_session(desk, db, session)


@router.get("/sessions/{id}")
def receipt(request: Request, id: str, person: AViewer, words: AReader, desk: ADesk) -> Response:
    """A session: while it lasts what it costs so far, after its end the receipt."""
    return page(request, words, "session.html", person, **_receipt(desk, person, id, words))


@router.get("/sessions/{id}/live")
def receipt_live(request: Request, id: str, person: AViewer, words: AReader, desk: ADesk) -> Response:
    values = _receipt(desk, person, id, words)
    over = values["work"].state in views.OVER
    return lasting(request, page(request, words, "receipt.html", person, **values), over)


def _receipt(desk: Desk, person: str, id: str, words: Words) -> dict[str, Any]:
    return receipt_values(desk, person, _own_session(desk, person, id), words)


def receipt_values(desk: Desk, person: str, work: views.Work, words: Words) -> dict[str, Any]:
    """What the template of the receipt needs."""
    with desk.store.read() as db:
        standing = next(
            (one for one in admission.standings(db, person, desk.now()) if one.grant.code == work.grant), None
        )
        busy = bool(register.alive(db, person))
    size = desk.settings.offer.size(work.session.size) if work.session else None
    return {
        "work": work,
        "now": desk.now(),
        "standing": standing,
        "size": words.size(size) if size else work.session.size if work.session else "",
        "again": size is not None and standing is not None and not busy,
        "notebook": notebook_url(desk, person),
        "explain": lambda reason: explain(reason, words.language),
    }


def lasting(request: Request, response: Response, over: bool) -> Response:
    """A part of a page that is asked for again and again: nothing where nothing changed (by ETag), and the word to
    stop asking (286, as htmx has it) once it is over."""
    if over:
        response.status_code = 286
        return response
    mark = f'"{hashlib.sha256(response.body).hexdigest()[:24]}"'
    if request.headers.get("if-none-match") == mark:
        return Response(status_code=204, headers={"ETag": mark, "Cache-Control": "no-store"})
    response.headers["ETag"] = mark
    return response


@router.post("/sessions/{id}/stop")
async def stop(request: Request, id: str, person: AViewer, words: AReader, desk: ADesk) -> Response:
    """Stop a notebook session through the hub, which holds its job, and show the receipt."""
    if await run_in_threadpool(_is_at_the_hub, desk, person, id):
        await run_in_threadpool(_note_stop, desk, person, id, address_of(request), "portal")
        try:
            await _stop_server(desk, person)
        except StopFailed:
            desk.stops.pop(id, None)
            raise
    return RedirectResponse(f"{BASE}/sessions/{id}", 303)


def _is_at_the_hub(desk: Desk, person: str, id: str) -> bool:
    """Whether the hub's server of this person is this session: it stops by person, and a newer one must not die."""
    with desk.store.read() as db:
        session = register.session(db, id)
        if session is None or session.person != person:
            raise Missing
        return [one.id for one in register.alive(db, person) if one.server == session.server][-1:] == [id]


def _note_stop(desk: Desk, person: str, id: str, where: str, by: str) -> None:
    with desk.store.write() as db:
        desk.note(db, person, "session.stopped", id, where, by=by)


async def _stop_server(desk: Desk, person: str) -> None:
    headers = {"Authorization": f"token {desk.settings.secret('portal-hub.token')}"}
    async with httpx.AsyncClient(
        base_url=desk.settings.hub_api_url, headers=headers, timeout=25, trust_env=False
    ) as hub:
        for _try in range(STOP_TRIES):
            try:
                answer = await hub.delete(f"/users/{person}/server")
            except httpx.TimeoutException:
                return  # the hub has the order; the receipt shows how it goes on
            except httpx.HTTPError:
                raise StopFailed from None
            if answer.status_code < 400 or answer.status_code == 404:
                return
            await asyncio.sleep(1)  # the hub cannot stop what it is about to take for started
    raise StopFailed


class StopFailed(Exception):
    """The hub could not be told to stop a session."""


@router.get("/language")
def language(desk: ADesk, set: str = "", theme: str = "", back: str = "") -> Response:
    """Remember the language or the theme, for portal, hub and dashboards alike."""
    response = RedirectResponse(own_path(back), 303)
    for cookie, value in look.choices(set, theme).items():
        response.set_cookie(
            cookie,
            value,
            max_age=COOKIE_DAYS * 86_400,
            domain=cookie_domain(desk.settings.web.url),
            samesite="lax",
        )
    return response


@router.get("/oauth_callback")
async def oauth_callback(request: Request) -> Response:
    door: Door = request.app.state.door
    return await door.from_sign_in(request)


# For a notebook, with its own server token: its session, and nothing else.


def _session_of_token(request: Request, desk: Desk) -> views.Work:
    token = bearer(request)
    with desk.store.read() as db:
        session = register.by_token(db, people.token_hash(token)) if token else None
        if session is None:
            raise Denied
        return views.of_session(desk, db, session)


@router.get("/api/session")
def my_session(request: Request, desk: ADesk) -> dict[str, object]:
    """What the notebook that holds this token costs so far (milli-GPU-seconds, cents) and how long it has left (s)."""
    work = _session_of_token(request, desk)
    return {
        "id": work.session.id if work.session else "",
        "grant": work.grant,
        "state": work.state,
        "used": work.used,
        "list_cents": work.cost.list_cents,
        "subsidy_cents": work.cost.subsidy_cents,
        "own_cents": work.cost.own_cents,
        "left_seconds": work.left,
    }


@router.post("/api/session/stop", status_code=202)
async def stop_my_session(request: Request, desk: ADesk) -> None:
    work = await run_in_threadpool(_session_of_token, request, desk)
    session = work.session
    if session is not None:
        at_the_hub = await run_in_threadpool(_is_at_the_hub, desk, session.person, session.id)
        if at_the_hub:
            where = address_of(request)
            await run_in_threadpool(_note_stop, desk, session.person, session.id, where, "notebook")
            await _stop_server(desk, session.person)


@router.post("/sign-out")
def sign_out(desk: ADesk) -> Response:
    return RedirectResponse(f"{desk.settings.web.url}/hub/logout", 303)
