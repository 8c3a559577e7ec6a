"""The sample programme: five organisations, one per category, their grants, and six weeks of use.

The past is synthetic `sacct` text, booked through the real parser and the real booking under the cluster name
`demo-history`: everything the pages show has come the way a real charge comes.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from portal.grants import Category, Grant, Membership, Organisation, Role
from portal.identity import person_id
from portal.ledger import Entry, Kind
from portal.pricing import price
from portal.service.booking import book
from portal.service.desk import Desk
from portal.settings import Settings
from portal.slurm import text
from portal.store import Store, books, connect, people, programme, writer
from portal.units import GPU_HOUR, day_ends, day_of, day_starts

HISTORY = "demo-history"
DAYS = 42
LIST_PRICE = 3000
"""Cents for a GPU-hour: a sample, no centre's price."""

ORGANISATIONS = (
    Organisation(
        "harbour-university", "Harbour University (sample)", "海港大學（示範）", Category.INSTITUTION
    ),
    Organisation(
        "materials-institute", "Materials Institute (sample)", "物料研究院（示範）", Category.RESEARCH_CENTRE
    ),
    Organisation("delta-industries", "Delta Industries (sample)", "三角洲實業（示範）", Category.ENTERPRISE),
    Organisation("lantern-ai", "Lantern AI (sample)", "明燈人工智能（示範）", Category.STARTUP),
    Organisation("city-department", "City Department (sample)", "城市事務署（示範）", Category.GOVERNMENT),
)


@dataclass(frozen=True)
class Sample:
    """A grant of the sample. awarded, used: GPU-hours; used None leaves exactly nothing. members: subject > role."""

    code: str
    title: str
    title_zh: str
    organisation: str
    field: str
    purpose: str
    awarded: int
    left: int
    share: int
    days_before: int
    days_after: int
    members: dict[str, Role]


SAMPLES = (
    Sample(
        "AISS-2026-0001",
        "Protein language models",
        "蛋白質語言模型",
        "harbour-university",
        "life-and-health",
        "research",
        20_000,
        16_480,
        7000,
        120,
        245,
        {"pi": Role.PI, "researcher": Role.MEMBER},
    ),
    Sample(
        "AISS-2026-0002",
        "Catalysts found by simulation",
        "以模擬尋找催化劑",
        "materials-institute",
        "manufacturing-and-energy",
        "research",
        600,
        6,
        9000,
        90,
        60,
        {"pi": Role.MANAGER, "researcher": Role.MEMBER},
    ),
    Sample(
        "AISS-2026-0003",
        "Speech recognition in Cantonese",
        "粵語語音識別",
        "delta-industries",
        "ai-and-data",
        "proof-of-concept",
        400,
        0,
        7000,
        90,
        90,
        {"pi": Role.MEMBER},
    ),
    Sample(
        "AISS-2026-0004",
        "Workshops on small language models",
        "小型語言模型工作坊",
        "lantern-ai",
        "ai-and-data",
        "training",
        1_500,
        1_130,
        7000,
        60,
        120,
        {"instructor": Role.PI},
    ),
    Sample(
        "AISS-2026-0005",
        "Flood forecasts street by street",
        "逐街水浸預報",
        "city-department",
        "ai-and-data",
        "research",
        3_000,
        2_210,
        7000,
        100,
        200,
        {"city-lead": Role.PI, "operator": Role.MEMBER},
    ),
)

JOBS = ((1000, 4), (2000, 6), (4000, 8), (8000, 10), (1000, 12))
"""Billing in milli-GPUs, usual hours."""


def plant(settings: Settings, now: datetime | None = None) -> bool:
    """Plant the sample into an empty database; False, and nothing changed, if grants are there already."""
    now = now or datetime.now(UTC)
    engine = connect(settings.database_url)
    try:
        with writer(engine):
            store = Store(engine)
            with store.read() as db:
                if programme.grants(db):
                    return False
            _plant(Desk(settings, store), int(now.timestamp()))
    finally:
        engine.dispose()
    return True


def _plant(desk: Desk, now: int) -> None:
    subjects = sorted({subject for sample in SAMPLES for subject in sample.members})
    _record_people(desk, subjects, now, history=True)
    with desk.store.write() as db:
        for organisation in ORGANISATIONS:
            programme.add_organisation(db, organisation)
    for number, sample in enumerate(SAMPLES):
        _plant_grant(desk, sample, now)
        jobs, faults = text.finished_jobs(*_history(desk, sample, number, now))
        refused = [booked for booked in book(desk, jobs) if booked.outcome != "booked"]
        if faults or refused:
            raise ValueError(f"the sample's own history does not book: {faults or refused}")
    _record_people(desk, subjects, now, history=False)


def _record_people(desk: Desk, subjects: list[str], now: int, history: bool) -> None:
    """During the history each person has a Unix account of their own, so that each job has an owner."""
    slurm, issuer = desk.settings.slurm, desk.settings.identity.issuer
    for subject in subjects:
        id = person_id(issuer, subject)
        now_user = slurm.shared_user if slurm.accounts == "shared" else id
        unix_user = _history_user(subject) if history else now_user
        with desk.store.write() as db:
            people.record(db, people.Person(id, issuer, subject, unix_user, "", "", frozenset()), now)


def _history_user(subject: str) -> str:
    return f"demo-{subject}"


def _plant_grant(desk: Desk, sample: Sample, now: int) -> None:
    zone = desk.settings.site.timezone
    today = day_of(now, zone)
    starts = day_starts(today - timedelta(days=sample.days_before), zone)
    grant = Grant(
        code=sample.code,
        title=sample.title,
        title_zh=sample.title_zh,
        organisation=sample.organisation,
        field=sample.field,
        purpose=sample.purpose,
        starts=starts,
        ends=day_ends(today + timedelta(days=sample.days_after), zone),
        decision=f"Sample decision on {sample.code}",
        list_price=LIST_PRICE,
        share=sample.share,
    )
    amount = sample.awarded * GPU_HOUR
    with desk.store.write() as db:
        programme.add_grant(db, grant)
        for subject, role in sample.members.items():
            who = person_id(desk.settings.identity.issuer, subject)
            programme.add_membership(db, Membership(grant.code, who, role, starts))
        books.append(
            db,
            Entry(
                key=f"award:{grant.code}:1",
                grant=grant.code,
                kind=Kind.AWARD,
                amount=amount,
                price=price(amount, grant.list_price, grant.share),
                at=starts,
                booked=now,
                note=grant.decision,
            ),
        )


def _history(desk: Desk, sample: Sample, number: int, now: int) -> tuple[str, str]:
    """Six weeks of jobs as `sacct` prints them, that use all but `sample.left`; and the mark between the fields."""
    mark, chance = "demohistory", random.Random(sample.code)
    zone = desk.settings.site.timezone
    first = day_starts(day_of(now, zone) - timedelta(days=DAYS - 1), zone)
    account = Grant(sample.code, "", "", "", "", 0, 0, "", 0, 0).account
    rest = (sample.awarded - sample.left) * GPU_HOUR
    usual = max(1, rest // (5 * DAYS))
    lines, id = [], 1000 * (number + 1)
    while rest > 0:
        billing, hours = chance.choice(JOBS)
        billing *= max(1, usual // (billing * hours * 3600))
        elapsed = min(max(60, int(hours * 3600 * chance.uniform(0.2, 1.6))), -(-rest // billing))
        billing = min(billing, max(1, rest // elapsed)) if elapsed * billing > rest else billing
        submit = first + chance.randrange(DAYS * 86_400 - 90_000)
        start = min(submit + chance.randrange(5, 3600), now - elapsed - 60)
        id, rest = id + 1, rest - billing * elapsed
        user = _history_user(chance.choice(sorted(sample.members)))
        gpus = max(1, billing // 1000)
        tres = f"billing={billing},cpu={16 * gpus},gres/gpu={gpus},node=1"
        name = chance.choice(("train", "evaluate", "sweep", "prepare", "fold"))
        fields = (
            HISTORY, id, min(submit, start), start, start + elapsed, elapsed, "COMPLETED",
            user, account, account, "gpu", "gpu01", tres, name,
        )  # fmt: skip
        lines.append("".join(f"{field}{mark}" for field in fields) + "\n")
    return "".join(lines), mark
