"""From looks at Slurm to charges: which jobs there are, whose they are, and what each cost once it has ended.

Everything here may be told twice, in any order, after any crash: the outcome is the same.
"""

from __future__ import annotations

from dataclasses import replace

from portal.client import SESSION_NAME, Booked, FinishedJob, LiveJob, Unbooked, View
from portal.grants import Grant
from portal.ledger import Entry, Kind, LedgerError, charge_key
from portal.notices import events
from portal.pricing import price
from portal.service.desk import Desk
from portal.store import Db, books, people, programme, register
from portal.store.books import Job
from portal.store.register import Session

LAPSE_SECONDS = 300
"""A registration with no job of its name in a look begun this long after asking lapses (accounting.md, "committed")."""

SETTLE_SECONDS = 15
"""A job that the hub reported and no look has shown for this long is asked for by id: it may have ended in between."""

NO_RECORD_SECONDS = 24 * 3600
"""A job gone for so long without a record waits for an operator (accounting.md, "reading use")."""

ASKED_AT_ONCE = 100


def see(desk: Desk, view: View) -> list[Unbooked]:
    """Take in one look. Returns the jobs that are gone and not booked, oldest first."""
    missing: list[Unbooked] = []
    with desk.store.write() as db:
        before = int(desk.view.at) if desk.view and desk.view.cluster == view.cluster else int(view.at)
        if _is_news(desk, view):
            missing = _take_in(desk, db, view, before)
            desk.view = view
        waiting = _unbooked(db, view)
    return [*missing, *waiting][:ASKED_AT_ONCE]


def _unbooked(db: Db, view: View) -> list[Unbooked]:
    """The jobs to ask for by id. One long without a record is put aside: it stays committed, and delays no other."""
    found = []
    for job in books.open_jobs(db, view.cluster):
        if job.gone is None:
            continue
        if view.at - job.gone < NO_RECORD_SECONDS:
            found.append(Unbooked(id=job.id, submit=job.submit, gone=job.gone))
        else:
            books.put_aside(
                db, job.cluster, job.id, job.submit, "Slurm has no record of it", "", int(view.at)
            )
    return found


def _is_news(desk: Desk, view: View) -> bool:
    """Whether the look is newer than the last. One in the future was made before the clock was put right."""
    last = desk.view
    return last is None or last.cluster != view.cluster or not view.at < last.at <= desk.now()


def _take_in(desk: Desk, db: Db, view: View, before: int) -> list[Unbooked]:
    """Write down what a look shows. before: when the last one was made, in which a job now gone was alive."""
    accounts = {grant.account: grant for grant in programme.grants(db).values()}
    sessions = {session.id: session for session in register.alive(db) if session.cluster == view.cluster}
    by_job = {session.job: session for session in sessions.values() if session.job is not None}
    known = {(job.id, job.submit): job for job in books.open_jobs(db, view.cluster)}
    seen = {(live.id, live.submit) for live in view.jobs}
    for live in view.jobs:
        if live.account in accounts:
            old = known.get((live.id, live.submit))
            session = _see_job(db, view.cluster, live, accounts[live.account], by_job.get(live.id), old)
            if session and session.ended is None:
                sessions[session.id] = by_job[live.id] = session
    for key, job in known.items():
        if key not in seen and job.gone is None:
            books.put_job(db, replace(job, gone=before))
            _end_session(db, sessions.get(job.session or ""), job.id, before)
    return _unseen(desk, db, sessions, {live.id for live in view.jobs}, view.at)


def _see_job(
    db: Db, cluster: str, live: LiveJob, grant: Grant, mine: Session | None, old: Job | None
) -> Session | None:
    """Write down one job, and return its session. mine: the session that says it has this job."""
    session = _session_of(db, mine, cluster, live.id, live.name, live.account, live.qos, live.user)
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
        session=session.id if session else (old.session if old else None),
        person=session.person if session else _person(db, old, live.user),
    )
    if new != old:
        books.put_job(db, new)
    return session


def _person(db: Db, old: Job | None, user: str) -> str:
    """Whose job it is that no session claims: as it was known, else the owner of the Unix account."""
    return old.person if old and old.person else people.by_unix_user(db, user)


def _session_of(
    db: Db, mine: Session | None, cluster: str, id: int, name: str, account: str, qos: str, user: str
) -> Session | None:
    """The session that a job belongs to: the one whose job it is, or whose name it bears and which has none yet.

    mine: the session not ended whose job has this id. By name only if account, QOS and Unix user are those that were
    registered; the first wins (design.md, decision 5). A registration that lapsed or failed in the meantime still says
    whose job it is.
    """
    if mine and (mine.account == account or mine.job_name == name):
        return mine
    found = register.session(db, name.removeprefix(SESSION_NAME)) if name.startswith(SESSION_NAME) else None
    if found is None or found.job not in (None, id):
        return None
    if (found.cluster, found.account, found.account, found.unix_user) != (cluster, account, qos, user):
        return None
    if found.job is None:
        register.change(db, found.id, job=id)
    return replace(found, job=id)


def _unseen(
    desk: Desk, db: Db, sessions: dict[str, Session], in_view: set[int], looked: float
) -> list[Unbooked]:
    """Sessions without a sign of life: those without a job lapse, those with one are asked for by id."""
    missing = []
    for session in sessions.values():
        if session.job is None and looked - session.asked >= LAPSE_SECONDS:
            register.change(db, session.id, ended=int(looked), outcome="lapsed")
            events.session_failed(desk, db, session)
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
        mine = register.of_job(db, record.cluster, record.id)
        if (
            mine and mine.asked <= record.end
        ):  # an older record is of a job before Slurm began its numbers anew
            _end_session(db, mine, record.id, record.end)
        if grant is None:
            return _aside(db, record, f"no grant has the account {record.account!r}", desk.now())
        old = books.find_job(db, record.cluster, record.id, record.submit)
        if old and old.booked is not None:
            return Booked(id=record.id, submit=record.submit, outcome="already")
        job = _finished_job(db, record, grant, mine, old, desk.now())
        try:
            _charge(db, job, grant, desk.now())
        except LedgerError as error:
            return _aside(db, record, str(error), desk.now())
        books.put_job(db, job)
        session = register.session(db, job.session) if job.session else None
        _end_session(db, session, job.id, record.end)
        events.session_over(desk, db, session, job, grant)
    return Booked(id=record.id, submit=record.submit, outcome="booked")


def _finished_job(
    db: Db, record: FinishedJob, grant: Grant, mine: Session | None, old: Job | None, now: int
) -> Job:
    session = None
    if old is None or old.session is None:
        session = _session_of(
            db, mine, record.cluster, record.id, record.name, record.account, record.qos, record.user
        )
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
        person=session.person if session else _person(db, old, record.user),
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
