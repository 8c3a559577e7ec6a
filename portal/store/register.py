"""The session register: every notebook session, from the moment it was admitted.

A session without a job is one that was admitted and is not yet visible in Slurm: it commits its maximum cost until it
has ended or its registration lapses.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, Row, select

from portal.client import SESSION_NAME
from portal.store import tables


@dataclass(frozen=True)
class Session:
    """One session. billing: milli-GPUs. Times: seconds since 1970. outcome: ended, failed or lapsed, once over."""

    id: str
    person: str
    grant: str
    size: str
    minutes: int
    billing: int
    unix_user: str
    cluster: str
    account: str
    partition: str
    asked: int
    kind: str = "notebook"
    server: str = ""
    job: int | None = None
    reported: int | None = None
    ready: int | None = None
    ended: int | None = None
    outcome: str | None = None

    @property
    def amount(self) -> int:
        """Most it can cost, in milli-GPU-seconds."""
        return self.billing * self.minutes * 60

    @property
    def job_name(self) -> str:
        return SESSION_NAME + self.id


COLUMNS = [column for column in tables.session.c if column.name != "token_hash"]


def register(db: Connection, new: Session) -> None:
    db.execute(
        tables.session.insert().values(
            **{column.name: getattr(new, column.name) for column in COLUMNS},
        )
    )


def session(db: Connection, id: str) -> Session | None:
    row = db.execute(select(*COLUMNS).where(tables.session.c.id == id)).one_or_none()
    return _session(row) if row else None


def of_job(db: Connection, cluster: str, job: int) -> Session | None:
    """The session not ended that has this job; the one asked for last, should Slurm have begun its numbers anew."""
    mine = (tables.session.c.cluster == cluster) & (tables.session.c.job == job)
    query = select(*COLUMNS).where(mine, tables.session.c.ended.is_(None))
    row = db.execute(query.order_by(tables.session.c.asked.desc()).limit(1)).one_or_none()
    return _session(row) if row else None


def by_token(db: Connection, token_hash: str) -> Session | None:
    """The session whose notebook holds this token, while it has not ended."""
    query = select(*COLUMNS).where(
        tables.session.c.token_hash == token_hash, tables.session.c.ended.is_(None)
    )
    row = db.execute(query).one_or_none()
    return _session(row) if row else None


def alive(db: Connection, person: str | None = None, grant: str | None = None) -> list[Session]:
    """Sessions not ended, of everybody or of one person or one grant."""
    query = select(*COLUMNS).where(tables.session.c.ended.is_(None)).order_by(tables.session.c.asked)
    if person is not None:
        query = query.where(tables.session.c.person == person)
    if grant is not None:
        query = query.where(tables.session.c.grant == grant)
    return [_session(row) for row in db.execute(query)]


def recent(db: Connection, person: str, most: int) -> list[Session]:
    """A person's latest ended sessions, newest first."""
    query = select(*COLUMNS).where(tables.session.c.person == person, tables.session.c.ended.is_not(None))
    return [_session(row) for row in db.execute(query.order_by(tables.session.c.ended.desc()).limit(most))]


def lapsed(db: Connection) -> list[Session]:
    """Sessions whose registration lapsed: a job of such a name must not run."""
    query = select(*COLUMNS).where(tables.session.c.outcome.in_(("lapsed", "failed")))
    return [_session(row) for row in db.execute(query)]


def change(db: Connection, id: str, **values: int | str | None) -> None:
    db.execute(tables.session.update().where(tables.session.c.id == id).values(**values))


def _session(row: Row[tuple[object, ...]]) -> Session:
    return Session(**row._mapping)
