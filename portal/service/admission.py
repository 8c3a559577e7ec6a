"""Admission: what a person may start, at what price, and the registration of what was admitted."""

from __future__ import annotations

import secrets
from collections import defaultdict

from portal.client import Admitted, OfferedGrant, OfferedSize, Offering, Quote, SessionRequest
from portal.grants import Claim, Grant, Membership, committed, job_claim
from portal.policy import Refusal, Standing, admit, usable
from portal.pricing import price
from portal.service import documents
from portal.service.desk import Desk
from portal.service.words import Words
from portal.sizes import Size, gres
from portal.store import Db, books, people, programme, register

NOT_YET_ACCEPTED = Refusal("terms-not-accepted", "")
STALE_SECONDS = 60
"""A look at Slurm older than this is no ground to admit anything."""


class RefusedStart(Exception):
    """A start is refused; `refusal` says why. asked: what was asked for, once the audit is to be told."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.code)
        self.refusal = refusal
        self.asked: SessionRequest | None = None


def claims(db: Db, grants: dict[str, Grant]) -> dict[str, list[Claim]]:
    """What may still be charged to each grant (accounting.md, "committed")."""
    found: dict[str, list[Claim]] = defaultdict(list)
    sessions = {session.id: session for session in register.alive(db)}
    for job in books.open_jobs(db, started=True):
        if job.grant is None or job.start is None:
            continue
        if job.gone is not None:
            amount = job.billing * max(0, job.gone - job.start)
        else:
            amount = job_claim(job.billing, job.limit_seconds, job.start, grants[job.grant].ends)
            if job.session in sessions:
                amount = max(amount, sessions.pop(job.session).amount)
        found[job.grant].append(Claim(job.grant, job.person, amount))
    for session in sessions.values():
        found[session.grant].append(Claim(session.grant, session.person, session.amount))
    return found


def standings(db: Db, person: str, now: int) -> list[Standing]:
    """How one person stands with every grant of theirs; one they have left shows them nothing any more."""
    grants, balances = programme.grants(db), books.balances(db)
    mine = {one.grant: one for one in programme.memberships(db, person) if one.holds(now)}
    open_claims = claims(db, grants)
    return [
        _standing(db, grants[code], mine[code], balances.get(code, 0), open_claims.get(code, []))
        for code in grants
        if code in mine
    ]


def _standing(db: Db, grant: Grant, mine: Membership, balance: int, open_claims: list[Claim]) -> Standing:
    return Standing(
        grant=grant,
        membership=mine,
        balance=balance,
        committed=committed(open_claims),
        person_spent=books.person_spent(db, grant.code, mine.person),
        person_committed=committed(open_claims, mine.person),
    )


def request(desk: Desk, asked: SessionRequest) -> Admitted:
    """Authorise, price and register in one transaction.

    Raises:
        RefusedStart: with the field at fault.
    """
    try:
        documents.require(desk, asked.person)
    except documents.NotAccepted:
        raise RefusedStart(NOT_YET_ACCEPTED) from None
    with desk.store.write() as db:
        try:
            admitted = _request(desk, db, asked, desk.now())
        except RefusedStart as refused:
            refused.asked = asked
            raise
        desk.note(
            db,
            asked.person,
            "session.asked",
            admitted.id,
            asked.where,
            grant=asked.grant,
            size=asked.size,
            minutes=asked.minutes,
        )
        return admitted


def _request(desk: Desk, db: Db, asked: SessionRequest, now: int) -> Admitted:
    person = people.person(db, asked.person)
    _give_up_unsubmitted(db, asked, now)
    mine = standings(db, asked.person, now)
    standing = next((one for one in mine if one.grant.code == asked.grant), None)
    size = desk.settings.offer.size(asked.size)
    if person is None or not mine:
        raise RefusedStart(Refusal("no-grant", "grant"))
    if standing is None:
        raise RefusedStart(_not_offered("grant", asked.grant))
    if size is None:
        raise RefusedStart(_not_offered("size", asked.size))
    if asked.minutes not in desk.settings.offer.minutes:
        raise RefusedStart(_not_offered("minutes", str(asked.minutes)))
    if desk.view is None or now - desk.view.at > STALE_SECONDS:
        raise SlurmUnknown(None if desk.view is None else int(desk.view.at))
    billing = desk.size_billing(size.id)
    refused = admit(standing, billing, asked.minutes, now, desk.cheapest)
    if refused:
        raise RefusedStart(refused)
    own = quote(standing, billing, asked.minutes).own_cents
    if asked.most is not None and own > asked.most:
        raise RefusedStart(Refusal("dearer", "most", {"own": own}))
    session = _register(desk, db, asked, standing.grant, size, billing, person.unix_user, now)
    people.remember_choice(db, person.id, people.Choice(asked.grant, asked.size, asked.minutes))
    return Admitted(
        id=session.id,
        cluster=session.cluster,
        job_name=session.job_name,
        account=session.account,
        qos=session.account,
        unix_user=session.unix_user,
        partition=size.partition,
        gres=gres(size, desk.settings.offer.partition(size.partition)),
        cores=size.cores,
        memory_mb=size.memory_mb,
        minutes=asked.minutes,
    )


def _give_up_unsubmitted(db: Db, asked: SessionRequest, now: int) -> None:
    """End what was registered before for the same server and has no job.

    The hub has one session for a server and asks for the next only when it has given up the last: it waited too long
    for our answer, or died before it had it.
    """
    for session in register.alive(db, asked.person):
        if session.server == asked.server and session.job is None:
            register.change(db, session.id, ended=now, outcome="failed")


class SlurmUnknown(Exception):
    """The latest look at Slurm is missing or too old: starts fail closed."""

    def __init__(self, since: int | None) -> None:
        super().__init__("no recent look at Slurm")
        self.since = since


def _register(
    desk: Desk,
    db: Db,
    asked: SessionRequest,
    grant: Grant,
    size: Size,
    billing: int,
    unix_user: str,
    now: int,
) -> register.Session:
    session = register.Session(
        id=secrets.token_hex(16),
        person=asked.person,
        grant=grant.code,
        server=asked.server,
        size=size.id,
        minutes=asked.minutes,
        billing=billing,
        unix_user=unix_user,
        cluster=desk.settings.slurm.cluster,
        account=grant.account,
        partition=size.partition,
        asked=now,
    )
    register.register(db, session)
    return session


def _not_offered(field: str, value: str) -> Refusal:
    return Refusal(f"{field}-not-offered", field, {"value": value[:40]})


def offering(desk: Desk, person: str, words: Words) -> Offering:
    """Everything the start form shows, every price worked out: the browser does no sums."""
    now, offer = desk.now(), desk.settings.offer
    with desk.store.read() as db:
        mine, chosen = standings(db, person, now), people.last_choice(db, person)
    quotes: dict[str, dict[str, dict[int, Quote]]] = {}
    refusals: dict[str, dict[str, dict[int, str]]] = {}
    grants, hourly = [], {}
    for standing in mine:
        grant, unusable = standing.grant, usable(standing, now, desk.cheapest)
        grants.append(
            OfferedGrant(
                code=grant.code,
                title=grant.titled(words.chinese),
                available=standing.available,
                ends=grant.ends,
                share=grant.share,
                refusal=words.refusal(unusable) if unusable else "",
            )
        )
        if not unusable:
            quotes[grant.code], refusals[grant.code] = _quotes(desk, standing, words, now)
            hourly[grant.code] = {
                size.id: quote(standing, desk.size_billing(size.id), 60).own_cents for size in offer.sizes
            }
    usable_codes = [grant.code for grant in grants if not grant.refusal]
    kept = chosen if chosen and chosen.grant in usable_codes else None
    whole = next((size.id for size in offer.sizes if size.gpus == 1), offer.sizes[0].id)
    return Offering(
        grants=grants,
        sizes=[
            OfferedSize(
                id=size.id, label=words.size(size), detail=words.size_detail(size), gpus=_gpus(desk, size)
            )
            for size in offer.sizes
        ],
        minutes=list(offer.minutes),
        default_grant=kept.grant if kept else next(iter(usable_codes), ""),
        default_size=kept.size if kept and offer.size(kept.size) else whole,
        default_minutes=kept.minutes if kept and kept.minutes in offer.minutes else offer.default_minutes,
        quotes=quotes,
        refusals=refusals,
        hourly=hourly,
        refusal=words.refusal(nothing) if (nothing := _nothing_at_all(desk, person, mine)) else "",
    )


def _nothing_at_all(desk: Desk, person: str, mine: list[Standing]) -> Refusal | None:
    """Why this person can start nothing, whatever the choice."""
    try:
        documents.require(desk, person)
    except documents.NotAccepted:
        return NOT_YET_ACCEPTED
    return None if mine else Refusal("no-grant", "grant")


def _quotes(
    desk: Desk, standing: Standing, words: Words, now: int
) -> tuple[dict[str, dict[int, Quote]], dict[str, dict[int, str]]]:
    quotes: dict[str, dict[int, Quote]] = {}
    refusals: dict[str, dict[int, str]] = {}
    for size in desk.settings.offer.sizes:
        billing = desk.size_billing(size.id)
        for minutes in desk.settings.offer.minutes:
            quotes.setdefault(size.id, {})[minutes] = quote(standing, billing, minutes)
            refused = admit(standing, billing, minutes, now, desk.cheapest)
            if refused:
                refusals.setdefault(size.id, {})[minutes] = words.refusal(refused)
    return quotes, refusals


def quote(standing: Standing, billing: int, minutes: int) -> Quote:
    """The price of a start at its longest, and what it would leave available."""
    amount = billing * minutes * 60
    cost = price(amount, standing.grant.list_price, standing.grant.share)
    return Quote(
        amount=amount,
        list_cents=cost.list_cents,
        subsidy_cents=cost.subsidy_cents,
        own_cents=cost.own_cents,
        leaves=standing.available - amount,
    )


def _gpus(desk: Desk, size: Size) -> str:
    partition = desk.settings.offer.partition(size.partition)
    if size.shards and partition.shards_per_gpu:
        return f"{size.shards}/{partition.shards_per_gpu}"
    return str(size.gpus)
