"""The first sign-in: privacy notice and terms, accepted once for each version. And the pages of help, open to all."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Form, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import RedirectResponse, Response

from portal import reasons
from portal.grants import Role
from portal.locale import N_
from portal.service import documents
from portal.service.access import BASE, own_path
from portal.service.desk import Desk
from portal.service.frame import Anybody, AReader, AVisitor, Missing, address_of, page
from portal.service.internal import ADesk
from portal.store import people, programme

router = APIRouter(prefix=BASE)

HELP = {
    "start": N_("Signing in and first steps"),
    "researcher": N_("For researchers"),
    "reasons": N_("Why a job waits"),
    "pi": N_("For principal investigators"),
    "instructor": N_("For instructors"),
    "officer": N_("For programme officers"),
    "operator": N_("For operators"),
}
"""Help by role, in the order of the list above it."""


def to_welcome(request: Request) -> Response:
    """Lead somebody who has not accepted the terms to them, and afterwards back."""
    back = request.url.path if request.method == "GET" else f"{BASE}/"
    query = f"?{request.url.query}" if request.method == "GET" and request.url.query else ""
    return RedirectResponse(f"{BASE}/welcome?{urlencode({'back': back + query})}", 303)


@router.get("/welcome")
def welcome(request: Request, person: AVisitor, words: AReader, desk: ADesk, back: str = "") -> Response:
    return _welcome(request, person, words, desk, back)


def _welcome(
    request: Request, person: str, words: AReader, desk: Desk, back: str, unticked: bool = False
) -> Response:
    site = desk.settings.site
    with desk.store.read() as db:
        before = people.accepted(db, person)
    return page(
        request,
        words,
        "welcome.html",
        person,
        status=400 if unticked else 200,
        back=own_path(back),
        unticked=unticked,
        again=bool(before) and ("terms", site.terms_version) not in before,
        privacy=documents.html(site, "privacy", words.language, level=3),
        terms=documents.html(site, "terms", words.language, level=3),
        version=site.terms_version,
    )


@router.post("/welcome")
async def accept(
    request: Request,
    person: AVisitor,
    words: AReader,
    desk: ADesk,
    accepted: Annotated[str, Form()] = "",
    back: Annotated[str, Form()] = "",
) -> Response:
    if accepted != desk.settings.site.terms_version:
        return await run_in_threadpool(_welcome, request, person, words, desk, back, unticked=True)
    await run_in_threadpool(documents.accept, desk, person, address_of(request))
    return RedirectResponse(own_path(back), 303)


@router.get("/privacy")
def privacy(request: Request, person: Anybody, words: AReader, desk: ADesk) -> Response:
    return _document(request, person, words, desk, "privacy", words.gettext("Privacy notice"))


@router.get("/terms")
def terms(request: Request, person: Anybody, words: AReader, desk: ADesk) -> Response:
    return _document(request, person, words, desk, "terms", words.gettext("Terms of use"))


def _document(request: Request, person: str, words: AReader, desk: Desk, name: str, title: str) -> Response:
    return page(
        request,
        words,
        "document.html",
        person,
        title=title,
        text=documents.html(desk.settings.site, name, words.language),
        version=desk.settings.site.terms_version,
    )


@router.get("/help")
def help_for_me(request: Request, person: Anybody, words: AReader, desk: ADesk) -> Response:
    """Help for the reader's own role."""
    return _help(request, person, words, desk, _role(desk, person))


@router.get("/help/{role}")
def help_for(request: Request, role: str, person: Anybody, words: AReader, desk: ADesk) -> Response:
    if role not in HELP:
        raise Missing
    return _help(request, person, words, desk, role)


def _help(request: Request, person: str, words: AReader, desk: Desk, role: str) -> Response:
    return page(
        request,
        words,
        "help.html",
        person,
        here=role,
        topics=[(name, words.gettext(title)) for name, title in HELP.items()],
        text=documents.html(desk.settings.site, f"help-{role}", words.language),
        reasons=reasons.everything(words.language) if role == "reasons" else [],
    )


def _role(desk: Desk, person: str) -> str:
    """The role whose help a person sees first."""
    if not person:
        return "start"
    with desk.store.read() as db:
        known = people.person(db, person)
        mine = {one.role for one in programme.memberships(db, person) if one.holds(desk.now())}
    by_group = next(
        (role for role in ("officer", "operator", "instructor") if known and role in known.roles), ""
    )
    if by_group:
        return by_group
    if not mine:
        return "start"
    return "pi" if mine & {Role.PI, Role.MANAGER} else "researcher"
