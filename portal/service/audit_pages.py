"""The audit for officers, and its alarms for operators."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from ipaddress import ip_address
from string import Formatter
from typing import Annotated, Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Form, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import RedirectResponse, Response, StreamingResponse

from portal.audit import Link
from portal.audit.kinds import ALARM, BY, DOCUMENTS, KINDS, MANY, NOBODY, PROCESSES, REASONS, ROLES
from portal.identity import Role
from portal.locale import N_, filled
from portal.service import shipping
from portal.service.access import BASE, Denied
from portal.service.desk import Desk
from portal.service.frame import AReader, AViewer, address_of, page
from portal.service.internal import ADesk
from portal.service.verifying import Verifier
from portal.service.words import Words
from portal.store import Db, audit, people
from portal.store.audit import Wanted

router = APIRouter(prefix=BASE)

PAGE = 50
EXPORTED_AT_ONCE, EXPORTED_MOST = 1_000, 200_000
LAST_NUMBER = 2**53
COLUMNS = ("number", "time", "who", "what", "subject", "where", "detail", "previous", "hash")
NO_DATE = N_("This is not a date. Write it as 2026-01-31.")


@dataclass(frozen=True)
class Row:
    """One line as an officer reads it. at: in the site's zone. kind: name of the kind. known: whether we have words for it."""

    link: Link
    at: datetime
    sentence: str
    kind: str
    known: bool


@dataclass(frozen=True)
class Filter:
    """What was asked for, as it was written."""

    what: str = ""
    who: str = ""
    since: str = ""
    until: str = ""

    def query(self, **more: object) -> str:
        return urlencode({name: value for name, value in {**vars(self), **more}.items() if value})


@router.get("/audit")
def show(
    request: Request,
    person: AViewer,
    words: AReader,
    desk: ADesk,
    what: Annotated[str, Query(max_length=64)] = "",
    who: Annotated[str, Query(max_length=200)] = "",
    since: Annotated[str, Query(max_length=10)] = "",
    until: Annotated[str, Query(max_length=10)] = "",
    before: Annotated[int, Query(ge=0, le=LAST_NUMBER)] = 0,
) -> Response:
    everything = _sees_everything(desk, person)
    asked = Filter(what, who.strip(), since, until)
    faults = _faults(asked)
    with desk.store.read() as db:
        links = []
        if not faults:
            links = audit.newest(db, _wanted(desk, db, asked, everything), PAGE + 1, before or None)
        rows = _rows(desk, db, words, links[:PAGE], everything)
    verifier: Verifier = request.app.state.verifier
    return page(
        request,
        words,
        "audit.html",
        person,
        status=400 if faults else 200,
        rows=rows,
        asked=asked,
        faults={field: words.gettext(fault) for field, fault in faults.items()},
        before=before,
        older=links[PAGE - 1].number if len(links) > PAGE else None,
        everything=everything,
        kinds={
            name: words.gettext(kind.name)
            for name, kind in KINDS.items()
            if everything or name.startswith(ALARM)
        },
        verdict=verifier.verdict,
        shipped=shipping.mark(desk.settings) if desk.settings.audit.ship else None,
    )


@router.post("/audit/check")
def check(request: Request, person: AViewer, desk: ADesk) -> Response:
    """Have every line checked; the next view of the page shows what came of it."""
    _sees_everything(desk, person)
    verifier: Verifier = request.app.state.verifier
    verifier.ask()
    return RedirectResponse(f"{BASE}/audit", 303)


@router.post("/audit/export")
async def export(
    request: Request,
    person: AViewer,
    desk: ADesk,
    what: Annotated[str, Form(max_length=64)] = "",
    who: Annotated[str, Form(max_length=200)] = "",
    since: Annotated[str, Form(max_length=10)] = "",
    until: Annotated[str, Form(max_length=10)] = "",
) -> Response:
    """The lines that are wanted as CSV, without names: a copy must not keep what is erased here."""
    asked = Filter(what, who.strip(), since, until)
    if _faults(asked):
        return RedirectResponse(f"{BASE}/audit?{asked.query()}", 303)
    return await run_in_threadpool(_export, desk, person, asked, address_of(request))


def _export(desk: Desk, person: str, asked: Filter, where: str) -> Response:
    if not _sees_everything(desk, person):
        raise Denied(person)
    with desk.store.write() as db:
        wanted = _wanted(desk, db, asked, True)
        last = audit.head(db)
        count = min(audit.number_of(db, wanted), EXPORTED_MOST)
        desk.note(db, person, "export", "audit", where, count=count)
    today = datetime.fromtimestamp(desk.now(), _zone(desk)).date()
    headers = {
        "Content-Disposition": f'attachment; filename="audit-{today}.csv"',
        "Cache-Control": "no-store",
    }
    lines = _csv(desk, wanted, last.number + 1 if last else 1, count)
    return StreamingResponse(lines, media_type="text/csv; charset=utf-8", headers=headers)


def _csv(desk: Desk, wanted: Wanted, before: int, count: int) -> Iterator[str]:
    """In parts, so that a long audit is never in memory as a whole. It begins with a mark that makes Excel read UTF-8."""
    zone = _zone(desk)
    yield "\ufeff" + _csv_lines([COLUMNS])
    while count > 0:
        with desk.store.read() as db:
            links = audit.newest(db, wanted, min(EXPORTED_AT_ONCE, count), before)
        if not links:
            return
        yield _csv_lines([_cells(item, zone) for item in links])
        before, count = links[-1].number, count - len(links)


def _cells(item: Link, zone: ZoneInfo) -> tuple[str, ...]:
    one = item.event
    at = datetime.fromtimestamp(one.at, zone).isoformat()
    return (
        str(item.number),
        at,
        one.who,
        one.what,
        one.subject,
        one.where,
        one.detail,
        item.previous,
        item.hash,
    )


def _csv_lines(rows: list[tuple[str, ...]]) -> str:
    out = io.StringIO()
    csv.writer(out).writerows([[plain(cell) for cell in row] for row in rows])
    return out.getvalue()


def plain(cell: str) -> str:
    """A cell that no spreadsheet takes for a formula."""
    return f"'{cell}" if cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) else cell


def _sees_everything(desk: Desk, person: str) -> bool:
    """Whether it is an officer; operators see alarms.

    Raises:
        Denied: neither.
    """
    with desk.store.read() as db:
        known = people.person(db, person)
    roles = known.roles if known else frozenset()
    if not roles & {Role.OFFICER, Role.OPERATOR}:
        raise Denied(person)
    return Role.OFFICER in roles


def _zone(desk: Desk) -> ZoneInfo:
    return ZoneInfo(desk.settings.site.timezone)


def _faults(asked: Filter) -> dict[str, str]:
    days = {"since": asked.since, "until": asked.until}
    return {field: NO_DATE for field, value in days.items() if value and _day(value) is None}


def _day(text: str) -> date | None:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        return None
    return day if 2000 <= day.year <= 2200 else None


def _wanted(desk: Desk, db: Db, asked: Filter, everything: bool) -> Wanted:
    def start(day: date | None) -> int | None:
        return int(datetime.combine(day, datetime.min.time(), _zone(desk)).timestamp()) if day else None

    until = _day(asked.until)
    wanted = Wanted(
        what=asked.what,
        who=_who(db, asked.who, everything) if asked.who else None,
        since=start(_day(asked.since)),
        until=start(until + timedelta(days=1) if until else None),
    )
    narrowed = everything or wanted.what.startswith(ALARM)
    return wanted if narrowed else replace(wanted, what=ALARM)


def _who(db: Db, text: str, everything: bool) -> tuple[str, ...]:
    """Who is meant: an opaque id, a process, a session or an address as it stands; for officers also part of a name."""
    found = {text, f"process:{text.removeprefix('process:')}"}
    try:
        found.add(str(ip_address(text)))
    except ValueError:
        if everything and not re.fullmatch(r"p[a-z2-7]{12}", text):
            found |= set(audit.called(db, text))
    return tuple(sorted(found))


def _rows(desk: Desk, db: Db, words: Words, links: list[Link], everything: bool) -> list[Row]:
    ids = {id for item in links for id in (item.event.who, item.event.subject)}
    names = audit.names(db, ids) if everything else {}
    return [_row(words, item, names, _zone(desk)) for item in links]


def _row(words: Words, item: Link, names: dict[str, str], zone: ZoneInfo) -> Row:
    one, kind = item.event, KINDS.get(item.event.what)
    facts: dict[str, Any] = json.loads(one.detail)
    at = datetime.fromtimestamp(one.at, zone)
    if kind is None:
        told = " ".join(part for part in (one.what, one.subject, one.detail) if part)
        return Row(item, at, told, one.what, False)

    def called(id: str) -> str:
        return names.get(id) or (words.gettext(PROCESSES[id]) if id in PROCESSES else id)

    # what an older line does not hold reads as a dash
    values = {name: "–" for _, name, _, _ in Formatter().parse(kind.sentence) if name}
    values |= {name: str(value) for name, value in facts.items()}
    values["who"] = called(one.who) if one.who else words.gettext(NOBODY)
    document = DOCUMENTS.get(one.subject)
    values["subject"] = words.gettext(document) if document else called(one.subject)
    for name, sentences in (("reason", REASONS), ("by", BY)):
        if values.get(name) in sentences:
            values[name] = words.gettext(sentences[values[name]])
    for name in ("before", "after"):
        if name in values:
            held = (words.gettext(ROLES.get(role, role)) for role in values[name].split())
            values[name] = ("、" if words.chinese else ", ").join(held)
    if facts.get("many"):
        sentence = filled(words.gettext(MANY), count=facts.get("count", 1))
    else:
        sentence = filled(words.gettext(kind.sentence), **values)
        if facts.get("count", 1) > 1 and "{count}" not in kind.sentence:
            sentence += " " + words.gettext("({count} times)").format(count=facts["count"])
    return Row(item, at, sentence, words.gettext(kind.name), True)
