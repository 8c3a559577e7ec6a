"""What Slurm should enforce, what it enforces now, and the sacctmgr calls that lead from one to the other.

The rules are those of docs/accounting: an account and one QOS for each grant, both of the grant's own name; credits as
`GrpTRESMins=billing`; blocks as `GrpSubmitJobs=0` and `GrpJobs=0`; a person as an association under the account with
that QOS as the only and default one. `difference` is pure, `read` and `apply` run commands. Nothing is ever deleted:
Slurm kills the jobs of an association that goes. Names that no grant of the wish has are never touched.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from portal.client import Wish, WishedGrant
from portal.slurm.commands import Slurm
from portal.slurm.text import seconds, tres_count

_GRANT = re.compile(r"g[a-z0-9]{1,60}")
"""`g` and the code of the grant in lower case, letters and digits only."""
_USER = re.compile(r"[a-z_][a-z0-9_.-]{0,63}")
_QOS_FIELDS = "name,id,flags,grptresmins,grpsubmitjobs,grpjobs,maxwall"
_ASSOCIATION_FIELDS = "account,user,partition,qos,defaultqos,maxsubmitjobs"
_NO_LIMIT = -1
_USERS_AT_ONCE = 500


@dataclass(frozen=True)
class Qos:
    """A QOS as slurmdbd has it. minutes, submit, run, max_wall (minutes): None where there is no limit."""

    id: int
    no_decay: bool
    minutes: int | None
    submit: int | None
    run: int | None
    max_wall: int | None


@dataclass(frozen=True)
class Association:
    """A user under an account. submit: MaxSubmitJobs, None where there is no limit."""

    qos: str
    default_qos: str
    submit: int | None


@dataclass(frozen=True)
class Accounting:
    """What slurmdbd holds for one cluster. associations: by account and user."""

    qos: dict[str, Qos] = field(default_factory=dict)
    accounts: frozenset[str] = frozenset()
    associations: dict[tuple[str, str], Association] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """Arguments of sacctmgr, one call each, in their order; and what cannot be wished, one line each."""

    calls: tuple[tuple[str, ...], ...] = ()
    faults: tuple[str, ...] = ()


async def read(slurm: Slurm, cluster: str) -> Accounting:
    """Ask slurmdbd what it holds.

    Raises:
        SlurmError: sacctmgr failed, such as for want of slurmdbd.
    """
    qos = await slurm.sacctmgr_show("qos", f"format={_QOS_FIELDS}")
    associations = await slurm.sacctmgr_show(
        "associations", f"cluster={cluster}", f"format={_ASSOCIATION_FIELDS}"
    )
    return accounting(qos, associations)


async def apply(slurm: Slurm, plan: Plan) -> None:
    """Make the calls in their order, and stop at the first that fails. What was done stays: apply again later.

    Raises:
        SlurmError: a call failed.
    """
    for call in plan.calls:
        await slurm.sacctmgr_change(*call)


def is_of_a_grant(account: str) -> bool:
    """Whether this is the name of a grant's account. One that is not may be somebody else's."""
    return _GRANT.fullmatch(account) is not None


def accounting(qos: str, associations: str) -> Accounting:
    """Read what `sacctmgr -nP show qos` and `show associations` print for the formats of this module.

    Lines that are not of the form are passed over: names of ours hold neither `|` nor newline, names of others may.
    """
    known = {row[0]: _qos(row) for row in _rows(qos, 7) if row[1].isdigit()}
    rows = list(_rows(associations, 6))
    return Accounting(
        qos=known,
        accounts=frozenset(account for account, user, *_ in rows if not user),
        associations={
            (account, user): Association(its_qos, default, _number(submit))
            for account, user, partition, its_qos, default, submit in rows
            if user and not partition
        },
    )


def counters(have: Accounting, wish: Wish) -> dict[str, int]:
    """The id in slurmdbd of each QOS of the wish that exists."""
    return {grant.qos: have.qos[grant.qos].id for grant in wish.grants if grant.qos in have.qos}


def difference(wish: Wish, have: Accounting) -> Plan:
    """The calls that make Slurm enforce the wish; none when it does already.

    The order keeps every moment safe: a QOS has its limits before anybody may use it.
    """
    grants, faults = _sound(wish.grants)
    new_qos = sorted({grant.qos for grant in grants} - have.qos.keys())
    new_accounts = sorted({grant.account for grant in grants} - have.accounts)
    calls: list[tuple[str, ...]] = []
    if new_qos:
        calls.append(("add", "qos", ",".join(new_qos), "Flags=NoDecay"))
    for grant in grants:
        calls.extend(_limits(grant, have.qos.get(grant.qos)))
    if new_accounts:
        calls.append(("add", "account", ",".join(new_accounts), f"cluster={wish.cluster}"))
    for grant in grants:
        calls.extend(_people(grant, wish.cluster, have))
    return Plan(tuple(calls), tuple(faults))


def _sound(grants: Sequence[WishedGrant]) -> tuple[list[WishedGrant], list[str]]:
    """The grants that may be carried out. A name that is not of our form could be somebody else's account."""
    sound: dict[str, WishedGrant] = {}
    faults: list[str] = []
    for grant in grants:
        if grant.account != grant.qos or not is_of_a_grant(grant.account):
            faults.append(f"account {grant.account!r} with QOS {grant.qos!r} is not the name of a grant")
        elif grant.account in sound:
            faults.append(f"account {grant.account!r} is wished twice; the first wish counts")
        else:
            faults.extend(
                f"{user!r} is not a Unix user for account {grant.account!r}"
                for user in grant.users
                if not _USER.fullmatch(user)
            )
            users = sorted({user for user in grant.users if _USER.fullmatch(user)})
            sound[grant.account] = grant.model_copy(update={"users": users})
    return list(sound.values()), faults


def _limits(grant: WishedGrant, now: Qos | None) -> Iterator[tuple[str, ...]]:
    """Set what differs. Credits are raised before a block is lifted, so that nothing starts on the old figure."""
    have = now or Qos(id=0, no_decay=True, minutes=None, submit=None, run=None, max_wall=None)
    change = ["Flags+=NoDecay"] if not have.no_decay else []
    if have.minutes != grant.minutes:
        change.append(f"GrpTRESMins=billing={grant.minutes}")
    if have.max_wall != grant.max_wall:
        change.append(f"MaxWall={_NO_LIMIT if grant.max_wall is None else grant.max_wall}")
    block = _block("GrpSubmitJobs", have.submit, grant.submit) + _block("GrpJobs", have.run, grant.run)
    lifted = [setting for setting in block if setting.endswith(str(_NO_LIMIT))]
    first = change + [setting for setting in block if setting not in lifted]
    for settings in (first, lifted):
        if settings:
            yield ("modify", "qos", "where", f"name={grant.qos}", "set", *settings)


def _block(name: str, now: int | None, allowed: bool) -> list[str]:
    """Close with 0, open with no limit. A limit other than 0 was set by the site and stays."""
    if allowed:
        return [f"{name}={_NO_LIMIT}"] if now == 0 else []
    return [] if now == 0 else [f"{name}=0"]


def _people(grant: WishedGrant, cluster: str, have: Accounting) -> Iterator[tuple[str, ...]]:
    """Associations to add, to put right, to open and to close; a person who leaves keeps a closed one."""
    its = {user: known for (account, user), known in have.associations.items() if account == grant.account}
    only_qos = (f"qos={grant.qos}", f"defaultqos={grant.qos}")
    where = (f"account={grant.account}", f"cluster={cluster}")
    wished = set(grant.users)
    wrong = [
        user for user in wished & its.keys() if (its[user].qos, its[user].default_qos) != (grant.qos,) * 2
    ]
    closed = [user for user in wished & its.keys() if its[user].submit == 0]
    leaving = [user for user in its.keys() - wished if its[user].submit != 0]
    for users in _groups(wished - its.keys()):
        yield ("add", "user", users, *where, *only_qos)
    for people, settings in (
        (wrong, only_qos),
        (closed, (f"MaxSubmitJobs={_NO_LIMIT}",)),
        (leaving, ("MaxSubmitJobs=0",)),
    ):
        for users in _groups(people):
            yield ("modify", "user", "where", f"name={users}", *where, "set", *settings)


def _groups(users: Sequence[str] | set[str]) -> Iterator[str]:
    names = sorted(users)
    for start in range(0, len(names), _USERS_AT_ONCE):
        yield ",".join(names[start : start + _USERS_AT_ONCE])


def _rows(text: str, width: int) -> Iterator[list[str]]:
    for line in text.split("\n"):
        cells = line.split("|")
        if len(cells) == width:
            yield cells


def _qos(row: list[str]) -> Qos:
    _name, id, flags, tres_minutes, submit, run, wall = row
    wall_seconds = seconds(wall)
    return Qos(
        id=int(id),
        no_decay="NoDecay" in flags.split(","),
        minutes=tres_count(tres_minutes, "billing") if "billing=" in tres_minutes else None,
        submit=_number(submit),
        run=_number(run),
        max_wall=None if wall_seconds is None else wall_seconds // 60,
    )


def _number(cell: str) -> int | None:
    return int(cell) if cell.isascii() and cell.isdigit() else None
