"""Organisations, grants and memberships as stored."""

from __future__ import annotations

from sqlalchemy import Connection, Row, select

from portal.grants import Category, Decided, Grant, Membership, Organisation, Role
from portal.store import tables


def add_organisation(db: Connection, new: Organisation) -> None:
    db.execute(
        tables.organisation.insert().values(
            id=new.id, name=new.name, name_zh=new.name_zh, category=new.category.value
        )
    )


def organisations(db: Connection) -> dict[str, Organisation]:
    rows = db.execute(select(tables.organisation))
    return {row.id: Organisation(row.id, row.name, row.name_zh, Category(row.category)) for row in rows}


def add_grant(db: Connection, new: Grant) -> None:
    values = {
        name: getattr(new, name)
        for name in (
            "code",
            "account",
            "title",
            "organisation",
            "field",
            "purpose",
            "title_zh",
            "starts",
            "ends",
        )
    }
    db.execute(
        tables.grant.insert().values(
            **values,
            decision=new.decision,
            list_price=new.list_price,
            share=new.share,
            decided=new.decided.value,
            conditions=new.conditions,
        )
    )


def grants(db: Connection) -> dict[str, Grant]:
    """All grants by code, oldest first."""
    rows = db.execute(select(tables.grant).order_by(tables.grant.c.starts, tables.grant.c.code))
    return {row.code: _grant(row) for row in rows}


def grant(db: Connection, code: str) -> Grant | None:
    row = db.execute(select(tables.grant).where(tables.grant.c.code == code)).one_or_none()
    return _grant(row) if row else None


def _grant(row: Row[tuple[object, ...]]) -> Grant:
    return Grant(
        code=row.code,
        title=row.title,
        organisation=row.organisation,
        field=row.field,
        purpose=row.purpose,
        starts=row.starts,
        ends=row.ends,
        decision=row.decision,
        list_price=row.list_price,
        share=row.share,
        decided=Decided(row.decided),
        conditions=row.conditions,
        title_zh=row.title_zh,
    )


def add_membership(db: Connection, new: Membership) -> None:
    db.execute(
        tables.membership.insert().values(
            grant=new.grant,
            person=new.person,
            role=new.role.value,
            starts=new.starts,
            ends=new.ends,
            cap=new.cap,
        )
    )


def memberships(db: Connection, person: str | None = None) -> list[Membership]:
    """Every membership, or one person's."""
    query = select(tables.membership)
    if person is not None:
        query = query.where(tables.membership.c.person == person)
    return [
        Membership(row.grant, row.person, Role(row.role), row.starts, row.ends, row.cap)
        for row in db.execute(query)
    ]
