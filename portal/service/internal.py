"""The portal's API for processes of ours: hub, agent, dashboards. Outside the public prefix, each caller by its token."""

from __future__ import annotations

import secrets
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel

from portal.client import (
    Admitted,
    Allocation,
    Booked,
    Counters,
    FinishedJob,
    JobReport,
    Offering,
    Queue,
    SessionRequest,
    Told,
    Unbooked,
    View,
    Wish,
)
from portal.notices import events
from portal.service import admission, booking, documents, views, wishes
from portal.service.access import SIGNED_IN_SECONDS, Denied, Staff, bearer
from portal.service.auditing import Auditor
from portal.service.desk import Desk
from portal.service.words import Words
from portal.store import books, people, programme, register

router = APIRouter(prefix="/internal")


def the_desk(request: Request) -> Desk:
    desk: Desk = request.app.state.desk
    return desk


def by(*names: str) -> Any:
    """A dependency that lets only these processes through."""

    def check(request: Request) -> None:
        staff: Staff = request.app.state.staff
        staff.require(request, *names)

    return Depends(check)


def lent_to(request: Request) -> str:
    """The person whose capability the asker holds."""
    desk = the_desk(request)
    with desk.store.read() as db:
        person = people.borrower(db, bearer(request), desk.now())
    if person is None:
        raise Denied
    return person


ADesk = Annotated[Desk, Depends(the_desk)]
APerson = Annotated[str, Depends(lent_to)]


@router.get("/health")
def health(desk: ADesk) -> dict[str, Any]:
    """Whether the portal works, and how fresh what it knows is. Names nobody, so needs no token.

    unbooked: jobs that have run and have no charge yet. not_in_slurm: grants whose QOS the agent has not made yet.
    """
    with desk.store.read() as db:
        unbooked = [job for job in books.open_jobs(db) if job.start is not None]
        known = books.counters(db, desk.settings.slurm.cluster)
        unknown = [grant for grant in programme.grants(db).values() if grant.account not in known]
    return {
        "ok": True,
        "as_at": desk.view.at if desk.view else None,
        "unbooked": len(unbooked),
        "not_in_slurm": len(unknown),
    }


@router.post("/events", dependencies=[by("hub")])
def hear(request: Request, told: Told) -> None:
    auditor: Auditor = request.app.state.auditor
    auditor.take(told)


@router.get("/people/{person}/offering", dependencies=[by("hub")])
def offering(person: str, desk: ADesk, language: str = "en") -> Offering:
    return admission.offering(desk, person, Words(desk.settings, language))


@router.post("/sessions", dependencies=[by("hub")])
def request_session(request: Request, asked: SessionRequest, desk: ADesk) -> Admitted:
    request.state.language = asked.language  # a refusal is told in the language of who asked
    return admission.request(desk, asked)


@router.post("/sessions/{session}/job", dependencies=[by("hub")])
def report_job(session: str, report: JobReport, desk: ADesk) -> None:
    with desk.store.write() as db:
        found = register.session(db, session)
        if found and (found.job is None or found.job == report.job):
            register.change(
                db, session, job=report.job, reported=desk.now(), token_hash=report.token_hash or None
            )


@router.post("/sessions/{session}/ready", dependencies=[by("hub")])
def report_ready(session: str, desk: ADesk) -> None:
    with desk.store.write() as db:
        events.session_ready(desk, db, register.session(db, session))
        register.change(db, session, ready=desk.now())


@router.post("/sessions/{session}/failed", dependencies=[by("hub")])
def report_failed(session: str, desk: ADesk) -> None:
    with desk.store.write() as db:
        found = register.session(db, session)
        if found and found.job is None and found.ended is None:
            register.change(db, session, ended=desk.now(), outcome="failed")
            events.session_failed(desk, db, found)


@router.post("/view", dependencies=[by("agent")])
def take_view(view: View, desk: ADesk) -> list[Unbooked]:
    return booking.see(desk, view)


@router.post("/finished", dependencies=[by("agent")])
def take_finished(jobs: list[FinishedJob], desk: ADesk) -> list[Booked]:
    return booking.book(desk, jobs)


@router.post("/counters", dependencies=[by("agent")])
def take_counters(counters: Counters, desk: ADesk) -> None:
    with desk.store.write() as db:
        known = books.counters(db, counters.cluster)
        for qos, id in counters.ids.items():
            if known.get(qos) != id:
                books.set_counter(db, counters.cluster, qos, id)


@router.get("/wish", dependencies=[by("agent")])
def wish(desk: ADesk) -> Wish:
    return wishes.wish(desk)


class Lend(BaseModel):
    person: str


class Lent(BaseModel):
    token: str


@router.post("/capabilities", dependencies=[by("dashboards")])
def lend(asked: Lend, desk: ADesk) -> Lent:
    documents.require(desk, asked.person)
    token = secrets.token_urlsafe(32)
    with desk.store.write() as db:
        people.lend(db, token, asked.person, desk.now() + SIGNED_IN_SECONDS)
    return Lent(token=token)


@router.post("/capabilities/close", dependencies=[by("dashboards")])
def take_back(lent: Lent, desk: ADesk) -> None:
    with desk.store.write() as db:
        people.take_back(db, lent.token, desk.now())


@router.get("/my/allocation")
def my_allocation(person: APerson, desk: ADesk, language: str = "en") -> Allocation:
    return views.allocation(desk, person, Words(desk.settings, language))


@router.get("/my/queue")
def my_queue(person: APerson, desk: ADesk, language: str = "en") -> Queue:
    return views.queue(desk, person, Words(desk.settings, language))
