"""What Slurm should enforce for every grant, worked out from the ledger (accounting.md, "Mapping to Slurm")."""

from __future__ import annotations

from portal.client import SESSION_NAME, Unwanted, Wish, WishedGrant
from portal.grants import Grant, State, state
from portal.service.desk import Desk
from portal.store import books, people, programme, register

LAST_DAYS = 7 * 86_400
HOUR = 3600


def wish(desk: Desk) -> Wish:
    """The whole wish; the agent finds the difference and applies it."""
    now, slurm = desk.now(), desk.settings.slurm
    with desk.store.read() as db:
        grants, balances = programme.grants(db), books.balances(db)
        counted, unix_users = books.counted(db, slurm.cluster), people.unix_users(db)
        members: dict[str, set[str]] = {}
        for membership in programme.memberships(db):
            if membership.holds(now):
                user = (
                    slurm.shared_user if slurm.accounts == "shared" else unix_users.get(membership.person, "")
                )
                members.setdefault(membership.grant, set()).update({user} - {""})
        dead = {session.job_name for session in register.lapsed(db)}
        unwanted = books.unwanted(db, slurm.cluster)
    return Wish(
        cluster=slurm.cluster,
        grants=[
            _wished(
                grant,
                balances.get(code, 0),
                counted.get(grant.account, 0),
                members.get(code, set()),
                now,
                desk,
            )
            for code, grant in grants.items()
        ],
        cancel=[
            job.id
            for job in (desk.view.jobs if desk.view else [])
            if job.name.startswith(SESSION_NAME) and job.name in dead
        ],
        unwanted=[Unwanted(id=id, submit=submit, account=account) for id, submit, account, _at in unwanted],
    )


def _wished(grant: Grant, balance: int, counted: int, users: set[str], now: int, desk: Desk) -> WishedGrant:
    current = state(grant, balance, now, desk.cheapest)
    return WishedGrant(
        account=grant.account,
        qos=grant.account,
        minutes=max(0, (balance + counted) // 60),
        submit=current is State.ACTIVE,
        run=current in (State.ACTIVE, State.EXHAUSTED),
        users=sorted(users),
        max_wall=_max_wall(grant.ends - now),
    )


def _max_wall(left: int) -> int | None:
    """Longest job in minutes in the last days of a grant, in steps of an hour until the last one."""
    if left <= 0 or left > LAST_DAYS:
        return None
    return left // HOUR * 60 if left >= HOUR else max(1, left // 60)
