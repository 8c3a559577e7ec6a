"""From looks at Slurm to charges: which jobs there are, whose they are, and what each cost once it has ended.

Everything here may be told twice, in any order, after any crash: the outcome is the same.
"""

from __future__ import annotations

from dataclasses import replace

from portal.client import SESSION_NAME, Booked, FinishedJob, LiveJob, Unbooked, View
from portal.grants import Grant
from portal.ledger import Entry, Kind, LedgerError, charge_key
from portal.pricing import price
from portal.service.desk import Desk
from portal.store import Db, books, people, programme, register
from portal.store.books import Job
from portal.store.register import Session

LAPSE_SECONDS = 300
"""A registration with no job of its name in a look begun this long after asking lapses (accounting.md, "committed")."""

SETTLE_SECONDS = 15
"""A job that the hub reported and no look has shown for this long is asked for by id: it may have ended in between."""

ASKED_AT_ONCE = 100


def see(desk: Desk, view: View) -> list[Unbooked]:
    """Take in one look. Returns the jobs that are gone and not booked, oldest first."""
    before = int(desk.view.at) if desk.view and desk.view.cluster == view.cluster else int(view.at)
    with desk.store.write() as db:
        accounts = {grant.account: grant for grant in programme.grants(db).values()}
        sessions = {session.id: session for session in register.alive(db) if session.cluster == view.cluster}
        known = {(job.id, job.submit): job for job in books.open_jobs(db, view.cluster)}
        seen = {(live.id, live.submit) for live in view.jobs}
        for live in view.jobs:
            if live.account in accounts:
                _see_job(
                    db,
                    view.cluster,
                    live,
                    accounts[live.account],
                    sessions,
                    known.get((live.id, live.submit)),
                )
        for key, job in known.items():
            if key not in seen and job.gone is None:
                books.put_job(db, replace(job, gone=before))
                _end_session(db, sessions.get(job.session or ""), job.id, before)
        missing = _unseen(db, sessions, {live.id for live in view.jobs}, view.at)
        gone = [job for job in books.open_jobs(db, view.cluster) if job.gone is not None]
    if desk.view is None or desk.view.at < view.at:
        desk.view = view
    waiting = [Unbooked(id=job.id, submit=job.submit, gone=job.gone or before) for job in gone]
    return [*missing, *waiting][:ASKED_AT_ONCE]


def _see_job(
    db: Db, cluster: str, live: LiveJob, grant: Grant, sessions: dict[str, Session], old: Job | None
) -> None:
    session = _bind(db, live.id, live.name, live.account, live.qos, live.user, sessions)
    new = Job(
        cluster=cluster,
        id=live.id,
        submit=live.submit,
        name=live.name,
        user=live.user,
        account=live.account,
        qos=live.qos,
        partition=live.partition,
        state=live.state,
        reason=live.reason,
        nodes=live.nodes,
        tres=live.tres,
        billing=live.billing,
        limit_seconds=live.limit_seconds,
        start=live.start,
        grant=grant.code,
        session=session.id if session else None,
        person=session.person if session else people.by_unix_user(db, live.user),
    )
    if new != old:
        books.put_job(db, new)


def _bind(
    db: Db, id: int, name: str, account: str, qos: str, user: str, sessions: dict[str, Session]
) -> Session | None:
    """The session that a job belongs to: the one whose job it is, or whose name it bears and which has none yet.

    By name only if account, QOS and Unix user are those that were registered; the first wins (design.md, decision 5).
    """
    mine = next(
        (session for session in sessions.values() if session.job == id and session.account == account), None
    )
    if mine:
        return mine
    session = sessions.get(name.removeprefix(SESSION_NAME)) if name.startswith(SESSION_NAME) else None
    if session is None or session.job is not None:
        return None
    if (session.account, session.account, session.unix_user) != (account, qos, user):
        return None
    register.change(db, session.id, job=id)
    sessions[session.id] = replace(session, job=id)
    return sessions[session.id]


def _unseen(db: Db, sessions: dict[str, Session], in_view: set[int], looked: float) -> list[Unbooked]:
    """Sessions without a sign of life: those without a job lapse, those with one are asked for by id."""
    missing = []
    for session in sessions.values():
        if session.job is None and looked - session.asked >= LAPSE_SECONDS:
            register.change(db, session.id, ended=int(looked), outcome="lapsed")
        elif session.job is not None and session.job not in in_view:
            reported = session.reported or session.asked
            if looked - reported >= SETTLE_SECONDS and not books.jobs_of_session(db, session.id):
                missing.append(Unbooked(id=session.job, submit=0, gone=reported))
    return missing


def _end_session(db: Db, session: Session | None, job: int, at: int) -> None:
    if session and session.job == job and session.ended is None:
        register.change(db, session.id, ended=at, outcome="ended")


def book(desk: Desk, finished: list[FinishedJob]) -> list[Booked]:
    """Charge each finished job once; what cannot be charged is put aside with its reason."""
    return [_book(desk, record) for record in finished]


def _book(desk: Desk, record: FinishedJob) -> Booked:
    with desk.store.write() as db:
        accounts = {grant.account: grant for grant in programme.grants(db).values()}
        grant = accounts.get(record.account)
        if grant is None:
            return _aside(db, record, f"no grant has the account {record.account!r}", desk.now())
        old = books.find_job(db, record.cluster, record.id, record.submit)
        if old and old.booked is not None:
            return Booked(id=record.id, submit=record.submit, outcome="already")
        job = _finished_job(db, record, grant, old, desk.now())
        try:
            _charge(db, job, grant, desk.now())
        except LedgerError as error:
            return _aside(db, record, str(error), desk.now())
        books.put_job(db, job)
        session = register.session(db, job.session) if job.session else None
        _end_session(db, session, job.id, record.end)
    return Booked(id=record.id, submit=record.submit, outcome="booked")


def _finished_job(db: Db, record: FinishedJob, grant: Grant, old: Job | None, now: int) -> Job:
    session = None
    if old is None or old.session is None:
        alive = {one.id: one for one in register.alive(db) if one.cluster == record.cluster}
        session = _bind(db, record.id, record.name, record.account, record.qos, record.user, alive)
    who = old.person if old and old.person else ""
    return Job(
        cluster=record.cluster,
        id=record.id,
        submit=record.submit,
        name=record.name,
        user=record.user,
        account=record.account,
        qos=record.qos,
        partition=record.partition,
        state=record.state,
        nodes=record.nodes,
        tres=record.tres,
        billing=record.billing,
        limit_seconds=old.limit_seconds if old else None,
        start=record.start,
        end=record.end,
        elapsed=record.elapsed,
        gone=old.gone if old else None,
        booked=now,
        counter=books.counters(db, record.cluster).get(record.qos),
        session=session.id if session else (old.session if old else None),
        grant=grant.code,
        person=session.person if session else (who or people.by_unix_user(db, record.user)),
    )


def _charge(db: Db, job: Job, grant: Grant, now: int) -> None:
    """One charge = billing x elapsed whole seconds; a job that never ran leaves no line."""
    amount = -job.billing * (job.elapsed or 0)
    if amount == 0:
        return
    books.append(
        db,
        Entry(
            key=charge_key(job.cluster, job.id, job.submit),
            grant=grant.code,
            kind=Kind.CHARGE,
            amount=amount,
            price=price(amount, grant.list_price, grant.share),
            at=job.end or now,
            booked=now,
            person=job.person,
            note=f"job {job.id}: billing {job.billing} x {job.elapsed} s",
        ),
    )


def _aside(db: Db, record: FinishedJob, why: str, now: int) -> Booked:
    books.put_aside(db, record.cluster, record.id, record.submit, why, record.model_dump_json(), now)
    return Booked(id=record.id, submit=record.submit, outcome="aside", why=why)
