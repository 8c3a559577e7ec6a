"""Report a problem: what happened, in the person's words, with what an operator needs to look at it.

Sent by mail where mail is set up, else kept as a file in `reports`; the person gets a number to ask by.
"""

from __future__ import annotations

import os
import secrets
import time
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Form, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from portal import notices
from portal.service import views
from portal.service.access import BASE, own_path
from portal.service.desk import Desk
from portal.service.frame import AReader, AViewer, address_of, page
from portal.service.internal import ADesk
from portal.service.words import Words
from portal.slurm.joblog import last_words
from portal.store import audit, people, register

router = APIRouter(prefix=BASE)

LONGEST = 4000
"""Characters of a report."""
PER_HOUR = 10
"""Reports that one person may send within an hour."""
REPORTED = "problem.reported"
ALPHABET = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"


@dataclass(frozen=True)
class Report:
    """What is sent. number: what the person is told to ask by. session, job, log: empty where none is meant."""

    number: str
    at: int
    person: str
    page: str
    text: str
    session: str = ""
    job: str = ""
    state: str = ""
    log: str = ""

    def __str__(self) -> str:
        moment = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(self.at))
        lines = [f"Report {self.number}", f"Time: {moment}", f"Person: {self.person}", f"Page: {self.page}"]
        if self.session:
            lines += [f"Session: {self.session}", f"Job: {self.job or '-'}", f"State: {self.state}"]
        lines += ["", self.text]
        if self.log:
            lines += ["", "The end of the session's log, cleaned:", self.log]
        return "\n".join(lines) + "\n"


@router.get("/report")
def ask(
    request: Request,
    person: AViewer,
    words: AReader,
    desk: ADesk,
    session: str = "",
    came_from: str = "",
) -> Response:
    return _form(request, person, words, desk, session, own_path(came_from))


def _form(
    request: Request,
    person: str,
    words: Words,
    desk: Desk,
    session: str,
    came_from: str,
    text: str = "",
    fault: str = "",
) -> Response:
    mine = _sessions(desk, person)
    chosen = next((work for work in mine if work.session and work.session.id == session), None)
    return page(
        request,
        words,
        "report.html",
        person,
        status=400 if fault else 200,
        mine=mine,
        chosen=chosen,
        log=_log(desk, person, chosen),
        sizes={size.id: words.size(size) for size in desk.settings.offer.sizes},
        came_from=came_from,
        text=text,
        fault=fault,
        longest=LONGEST,
    )


@router.post("/report")
async def send(
    request: Request,
    person: AViewer,
    words: AReader,
    desk: ADesk,
    text: Annotated[str, Form()] = "",
    session: Annotated[str, Form()] = "",
    came_from: Annotated[str, Form()] = "",
    with_log: Annotated[str, Form()] = "",
) -> Response:
    return await run_in_threadpool(
        _send, request, person, words, desk, text.strip(), session, own_path(came_from), bool(with_log)
    )


def _send(
    request: Request,
    person: str,
    words: Words,
    desk: Desk,
    text: str,
    session: str,
    came_from: str,
    with_log: bool,
) -> Response:
    fault = ""
    if not text:
        fault = words.gettext("Say in a sentence or two what happened.")
    elif len(text) > LONGEST:
        fault = words.gettext("This is too long: {length} characters. At most {longest} can be sent.").format(
            length=len(text), longest=LONGEST
        )
    elif _too_many(desk, person):
        fault = words.gettext(
            "You have sent many reports within the hour. Write to {contact} instead."
        ).format(contact=desk.settings.site.contact)
    if fault:
        return _form(request, person, words, desk, session, came_from, text[: LONGEST * 2], fault)
    chosen = next(
        (work for work in _sessions(desk, person) if work.session and work.session.id == session), None
    )
    report = Report(
        number=_number(desk.now()),
        at=desk.now(),
        person=person,
        page=came_from,
        text="".join(char for char in text if char.isprintable() or char == "\n"),
        session=chosen.session.id if chosen and chosen.session else "",
        job=str(chosen.job.id) if chosen and chosen.job else "",
        state=chosen.state if chosen else "",
        log=_log(desk, person, chosen) if with_log else "",
    )
    deliver(desk, report, address_of(request))
    return page(request, words, "reported.html", person, number=report.number, back=came_from)


def _too_many(desk: Desk, person: str) -> bool:
    with desk.store.read() as db:
        return audit.count(db, person, REPORTED, desk.now() - 3600) >= PER_HOUR


def _number(now: int) -> str:
    """Such as `20261121-7KQ2`: short enough to be told over the telephone."""
    return time.strftime("%Y%m%d-", time.gmtime(now)) + "".join(secrets.choice(ALPHABET) for _ in range(4))


def _sessions(desk: Desk, person: str) -> list[views.Work]:
    """The sessions a report may be about: those not over, and the latest that are."""
    with desk.store.read() as db:
        alive = [views.of_session(desk, db, one) for one in register.alive(db, person)]
        return alive + [views.of_session(desk, db, one) for one in register.recent(db, person, views.RECENT)]


def _log(desk: Desk, person: str, work: views.Work | None) -> str:
    return last_words(desk.settings.slurm, person, work.job.id) if work and work.job else ""


def deliver(desk: Desk, report: Report, where: str) -> None:
    """Send the report, or keep it as a file that this process alone may read; and note it in the audit."""
    with desk.store.write() as db:
        known = people.person(db, report.person)
        subject = f"{desk.settings.site.name}: report {report.number}"
        key, reply_to = f"{REPORTED}:{report.number}", known.email if known else ""
        if not notices.send_report(desk, db, key, subject, str(report), reply_to):
            _keep(desk, report)
        desk.note(db, report.person, REPORTED, report.number, where)


def _keep(desk: Desk, report: Report) -> None:
    folder = desk.settings.home / "reports"
    folder.mkdir(mode=0o700, exist_ok=True)
    descriptor = os.open(folder / f"{report.number}.txt", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(str(report))
