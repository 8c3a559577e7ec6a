"""Jobs from the command line: what each costs, and cancelling it.

The portal has no rights in Slurm. A cancel is written down and becomes part of the wish; the agent carries it out
within a round, and only where id, submit time and account are those of a job it sees (`portal.agent.cancellable`).
"""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from portal.service import views
from portal.service.access import BASE
from portal.service.desk import Desk
from portal.service.frame import AReader, AViewer, Missing, address_of, page
from portal.service.internal import ADesk
from portal.service.pages import lasting, receipt_values
from portal.service.views import Work
from portal.store import Db, books

router = APIRouter(prefix=f"{BASE}/jobs")


def _work(desk: Desk, db: Db, person: str, cluster: str, id: int, submit: int) -> Work:
    found = views.of_job(desk, db, person, cluster, id, submit)
    if found is None:
        raise Missing
    return found


def _read(desk: Desk, person: str, cluster: str, id: int, submit: int) -> Work:
    with desk.store.read() as db:
        return _work(desk, db, person, cluster, id, submit)


@router.get("/{cluster}/{id}/{submit}")
def job(
    request: Request, cluster: str, id: int, submit: int, person: AViewer, words: AReader, desk: ADesk
) -> Response:
    """A job: while it lasts what it costs so far, after its end the receipt."""
    work = _read(desk, person, cluster, id, submit)
    return page(request, words, "session.html", person, **receipt_values(desk, person, work, words))


@router.get("/{cluster}/{id}/{submit}/live")
def job_live(
    request: Request, cluster: str, id: int, submit: int, person: AViewer, words: AReader, desk: ADesk
) -> Response:
    work = _read(desk, person, cluster, id, submit)
    response = page(request, words, "receipt.html", person, **receipt_values(desk, person, work, words))
    return lasting(request, response, work.state in views.OVER)


@router.get("/{cluster}/{id}/{submit}/cancel")
def ask(
    request: Request, cluster: str, id: int, submit: int, person: AViewer, words: AReader, desk: ADesk
) -> Response:
    """Ask before work is lost."""
    work = _read(desk, person, cluster, id, submit)
    if not work.may_cancel:
        return RedirectResponse(f"{BASE}/jobs/{cluster}/{id}/{submit}", 303)
    return page(request, words, "cancel.html", person, work=work, now=desk.now())


@router.post("/{cluster}/{id}/{submit}/cancel")
def cancel(
    request: Request, cluster: str, id: int, submit: int, person: AViewer, words: AReader, desk: ADesk
) -> Response:
    """Write down that it is to be cancelled; asking twice changes nothing."""
    with desk.store.write() as db:
        work = _work(desk, db, person, cluster, id, submit)
        if work.may_cancel:
            _cancel(desk, db, person, work, address_of(request))
    back = f"{BASE}/jobs/{cluster}/{id}/{submit}" if work.state == "running" else f"{BASE}/"
    return RedirectResponse(back, 303)


def _cancel(desk: Desk, db: Db, person: str, work: Work, where: str) -> None:
    job = work.job
    if job and books.cancel(db, job.cluster, job.id, job.submit, person, desk.now()):
        subject = f"{job.cluster}/{job.id}/{job.submit}"
        desk.note(db, person, "job.cancel", subject, where, grant=work.grant, state=job.state)


waiting = APIRouter(prefix=BASE)


@waiting.get("/cancel-waiting")
def ask_waiting(request: Request, person: AViewer, words: AReader, desk: ADesk) -> Response:
    """Ask before a whole queue of one's own is given up."""
    with desk.store.read() as db:
        works = _waiting(desk, db, person)
    if not works:
        return RedirectResponse(f"{BASE}/", 303)
    return page(request, words, "cancel_waiting.html", person, jobs=sum(work.tasks for work in works))


@waiting.post("/cancel-waiting")
def cancel_waiting(request: Request, person: AViewer, words: AReader, desk: ADesk) -> Response:
    with desk.store.write() as db:
        for work in _waiting(desk, db, person):
            _cancel(desk, db, person, work, address_of(request))
    return RedirectResponse(f"{BASE}/", 303)


def _waiting(desk: Desk, db: Db, person: str) -> list[Work]:
    return [work for work in views.work(desk, db, person) if work.may_cancel and work.state == "waiting"]
