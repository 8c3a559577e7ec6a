"""What every page of the portal shares: who reads it, in which language, the frame around it, and pages that say no."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from fastapi import Depends, Request
from jinja2 import Environment, FileSystemLoader, Template
from starlette.concurrency import run_in_threadpool
from starlette.responses import HTMLResponse, Response

from portal import look
from portal.audit import origin
from portal.locale import COOKIE, N_, negotiate, translator
from portal.service import documents
from portal.service.access import BASE, Door, HubAway, SignedOut, own_path
from portal.service.desk import Desk
from portal.service.internal import ADesk
from portal.service.words import Words
from portal.store import notices, people

BUILT = Path(__file__).parent / "static"
"""Where the build puts the browser code; a checkout that nobody built has none, and its pages work without."""


@cache
def _pages(language: str) -> Environment:
    """The templates in one language. Each has its own: what a template finds as `_` is shared by a whole environment."""
    environment = Environment(
        loader=FileSystemLoader([Path(__file__).parent / "templates", look.TEMPLATES]),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.i18n"],
    )
    environment.install_gettext_translations(translator(language), newstyle=False)  # type: ignore[attr-defined]
    return environment


def _template(language: str, name: str) -> Template:
    return _pages(language).get_template(name)


@cache
def _script(name: str) -> str:
    """The address of a script of our pages, which names what it holds."""
    return f"{BASE}/static/{name}?v={look.version(BUILT / name)}"


def words_of(request: Request, desk: ADesk) -> Words:
    language = negotiate(request.headers.get("accept-language"), request.cookies.get(COOKIE))
    return Words(desk.settings, language)


async def visitor_of(request: Request) -> str:
    """Opaque id of who is signed in, whether or not the terms are accepted."""
    door: Door = request.app.state.door
    return await door.viewer(request)


async def viewer_of(request: Request, desk: ADesk) -> str:
    """Opaque id of who is signed in and has accepted the terms in force.

    Raises:
        SignedOut, HubAway, documents.NotAccepted.
    """
    person = await visitor_of(request)
    await run_in_threadpool(documents.require, desk, person)
    return person


async def reader_of(request: Request) -> str:
    """Opaque id of who is signed in; empty for a page that everybody may read."""
    try:
        return await visitor_of(request)
    except (SignedOut, HubAway):
        return ""


def address_of(request: Request) -> str:
    """The network address a request came from, as our own proxy saw it: what others wrote before that proves nothing."""
    desk: Desk = request.app.state.desk
    peer = request.client.host if request.client else ""
    told = ",".join(request.headers.getlist("x-forwarded-for"))
    return origin.address(told, peer, desk.settings.web.hops)


AReader = Annotated[Words, Depends(words_of)]
AViewer = Annotated[str, Depends(viewer_of)]
AVisitor = Annotated[str, Depends(visitor_of)]
Anybody = Annotated[str, Depends(reader_of)]


def page(
    request: Request, words: Words, template: str, person: str = "", status: int = 200, **values: Any
) -> Response:
    """Render one template for one reader. person: opaque id of who is signed in, or empty."""
    desk: Desk = request.app.state.desk
    html = _template(words.language, template).render(
        words=words,
        settings=desk.settings,
        base=BASE,
        hub=desk.settings.web.url,
        path=_place(request),
        printed=words.moment(desk.now()),
        theme=look.theme(request.cookies),
        carry=look.carried(desk.settings.web.url, request.cookies),
        sheets=look.sheets(f"{BASE}/static/look/"),
        script=_script,
        **_of(desk, person, words.language),
        **values,
    )
    return HTMLResponse(html, status, {"Cache-Control": "no-store"})


def _place(request: Request) -> str:
    """The page that a choice of language leads back to: where a form was sent from, for what it was sent to is no page."""
    if request.method in ("GET", "HEAD"):
        return request.url.path
    return own_path(urlsplit(request.headers.get("referer", "")).path)


def _of(desk: Desk, person: str, language: str) -> dict[str, Any]:
    """What the frame shows of the person: the name, by the roles which pages are linked, how many notices are unread.

    The language that the person reads in is remembered for letters.
    """
    if not person:
        return {"person": "", "name": "", "roles": frozenset(), "unread": 0}
    with desk.store.read() as db:
        known, heard = people.person(db, person), notices.wishes(db, person).heard
        unread = notices.count_unread(db, person)
    if heard != language:
        with desk.store.write() as db:
            notices.hear(db, person, language)
    return {
        "person": person,
        "name": known.name if known and known.name else person,
        "roles": known.roles if known else frozenset(),
        "unread": unread,
    }


class Missing(Exception):
    """No such thing, or none that the viewer may see: the answer is the same."""


ERRORS = {
    "missing": (404, N_("There is no such page."), N_("Go home to see your grants and sessions.")),
    "denied": (403, N_("This is not open to you."), N_("Go home to see your grants and sessions.")),
    "origin": (
        403,
        N_("This request did not come from the portal's own page, so nothing was done."),
        N_("Go home and try again there."),
    ),
    "stop": (
        503,
        N_("The hub does not answer, so the session could not be stopped from here."),
        N_("Try again in a minute. If it is urgent, cancel the job with scancel."),
    ),
    "broken": (
        500,
        N_("Something went wrong on our side."),
        N_("Try again. If it happens again, tell us the time."),
    ),
    "invalid": (
        400,
        N_("A value of the form was not understood, so nothing was done."),
        N_("Go back, and choose one of the values offered."),
    ),
}


def error_page(request: Request, words: Words, what: str, **values: str) -> Response:
    status, sentence, next_step = ERRORS[what]
    return page(
        request,
        words,
        "error.html",
        status=status,
        sentence=words.gettext(sentence).format(**values),
        next_step=words.gettext(next_step) if next_step else "",
    )


def hub_away_page(request: Request, words: Words, since: float) -> Response:
    sentence = words.gettext("Signing in is down since {time}. Running notebooks and jobs go on.")
    return page(
        request,
        words,
        "error.html",
        status=503,
        sentence=sentence.format(time=words.clock(since)),
        next_step=words.gettext("Try again in a minute."),
    )
