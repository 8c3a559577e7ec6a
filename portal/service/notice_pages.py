"""What a person was told, what is told in the browser, and what each wishes to be told, and when."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Form, Query, Request
from starlette.responses import RedirectResponse, Response

from portal.notices.kinds import CHANNELS, KINDS, Channel, Kind
from portal.notices.telling import wants
from portal.notices.wording import Told, told
from portal.service.access import BASE
from portal.service.desk import Desk
from portal.service.frame import AReader, AViewer, page
from portal.service.internal import ADesk
from portal.service.words import Words
from portal.store import Db, notices, people
from portal.store.notices import Notice, Preference

router = APIRouter(prefix=f"{BASE}/notices")

Number = Annotated[int, Query(ge=-1, le=2**53)]
FormNumber = Annotated[int, Form(ge=0, le=2**53)]

A_PAGE = 50
"""Notices on one page."""
AT_HOME = 3
"""Unread notices shown at home."""
AT_ONCE = 3
"""Notices a browser is told of at once; the rest is on the page."""
FRESH_SECONDS = 600
"""An older notice is on the page, but no browser is told of it any more."""

CHOSEN = tuple(kind for kind in KINDS.values() if kind.to_person and not kind.essential)
"""The kinds that a person may switch off, in the order of the page."""


@dataclass(frozen=True)
class Shown:
    """One notice in the reader's words. lost: its letter could not be sent."""

    number: int
    at: int
    new: bool
    lost: bool
    said: Told


def unread(desk: Desk, db: Db, person: str, words: Words, most: int = AT_HOME) -> list[Shown]:
    """The newest unread notices, for `notices_home.html`."""
    return _shown(desk, notices.unread(db, person, most=most), words)


def _shown(desk: Desk, found: list[Notice], words: Words) -> list[Shown]:
    return [
        Shown(
            one.number,
            one.at,
            one.read is None,
            bool(one.mail_fault) and one.mail_due is None,
            told(desk.settings, one, words),
        )
        for one in found
        if one.kind in KINDS
    ]


@router.get("")
def all_notices(
    request: Request, person: AViewer, words: AReader, desk: ADesk, before: Number = 2**53
) -> Response:
    """Everything a person was told, newest first, a page at a time."""
    with desk.store.read() as db:
        found = notices.of_person(db, person, before, A_PAGE + 1)
        newest = notices.newest(db, person)
    more = len(found) > A_PAGE
    return page(
        request,
        words,
        "notices.html",
        person,
        notices=_shown(desk, found[:A_PAGE], words),
        first_page=before == 2**53,
        older=found[A_PAGE - 1].number if more else None,
        newest=newest,
    )


@router.post("/read")
def read(
    person: AViewer,
    desk: ADesk,
    until: FormNumber = 0,
    only: FormNumber = 0,
    back: Annotated[Literal["home", "notices"], Form()] = "notices",
) -> Response:
    """Mark as read what was shown: all up to a number, or one notice."""
    with desk.store.write() as db:
        notices.mark_read(db, person, until, desk.now(), only or None)
    return RedirectResponse(f"{BASE}/notices" if back == "notices" else f"{BASE}/", 303)


@router.get("/news")
def news(person: AViewer, words: AReader, desk: ADesk, after: Number = -1) -> dict[str, Any]:
    """What a browser should tell of: unread, wanted there, and newer than what it told of last.

    after: number of that; -1: of nothing yet, and what is there already is not told.
    """
    with desk.store.read() as db:
        newest, wishes = notices.newest(db, person), notices.wishes(db, person)
        found = notices.unread(db, person, after, A_PAGE) if 0 <= after < newest else []
    fresh = [
        one
        for one in found
        if one.kind in KINDS
        and desk.now() - one.at < FRESH_SECONDS
        and wants(KINDS[one.kind], wishes, "browser")
    ]
    shown = _shown(desk, fresh[:AT_ONCE], words)
    return {
        "last": newest,
        "lang": words.lang,
        "notices": [
            {"number": one.number, "title": one.said.title, "body": one.said.body, "link": one.said.path}
            for one in reversed(shown)
        ],
    }


@router.get("/settings")
def settings(request: Request, person: AViewer, words: AReader, desk: ADesk, saved: bool = False) -> Response:
    with desk.store.read() as db:
        wishes, known = notices.wishes(db, person), people.person(db, person)
    mail = desk.settings.mail
    own = wishes.quiet_from is not None and wishes.quiet_until is not None
    return page(
        request,
        words,
        "notice_settings.html",
        person,
        saved=saved,
        address=known.email if known else "",
        sends_mail=bool(mail.host),
        language=wishes.language,
        rows=[(kind, {way: wants(kind, wishes, way) for way in CHANNELS}) for kind in CHOSEN],
        quiet="site" if not own else "none" if wishes.quiet_from == wishes.quiet_until else "own",
        hours=[f"{hour:02}:00" for hour in range(24)],
        site_hours=(mail.quiet_from, mail.quiet_until),
        own_hours=(wishes.quiet_from, wishes.quiet_until) if own else (mail.quiet_from, mail.quiet_until),
    )


@router.post("/settings")
def set_settings(
    person: AViewer,
    desk: ADesk,
    quiet: Annotated[Literal["site", "own", "none"], Form()],
    quiet_from: Annotated[int, Form(ge=0, le=23)],
    quiet_until: Annotated[int, Form(ge=0, le=23)],
    language: Annotated[Literal["", "en", "zh_Hant_HK"], Form()] = "",
    tell: Annotated[list[str], Form()] = [],  # noqa: B006
) -> Response:
    """Keep what the person wishes. tell: `<way>:<kind>` for every box that is ticked; others are ignored."""
    hours = {"site": (None, None), "own": (quiet_from, quiet_until), "none": (0, 0)}[quiet]
    choices = frozenset(
        _choice(kind, way, f"{way}:{kind.name}" in tell) for kind in CHOSEN for way in CHANNELS
    )
    with desk.store.write() as db:
        heard = notices.wishes(db, person).heard
        notices.wish(db, Preference(person, language, heard, *hours, choices - {""}))
    return RedirectResponse(f"{BASE}/notices/settings?saved=1", 303)


def _choice(kind: Kind, way: Channel, ticked: bool) -> str:
    """The choice as it is kept; empty where it is the usual one."""
    usual = kind.mail if way == "mail" else kind.browser
    return "" if ticked == usual else f"{way}{'+' if ticked else '-'}{kind.name}"
