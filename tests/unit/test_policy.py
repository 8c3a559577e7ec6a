"""Admission: a table of standing, wish and answer."""

from dataclasses import replace

import pytest

from portal import reasons
from portal.grants import (
    Claim,
    Decided,
    Grant,
    Membership,
    Role,
    State,
    account_name,
    committed,
    job_claim,
    state,
)
from portal.policy import Standing, admit
from portal.units import GPU_HOUR

NOW = 1_000_000
GRANT = Grant("AISS-2025-0007", "Proteins", "hku", "life", "research", 0, 2_000_000, "C-12", 3000, 7000)
MEMBER = Membership(GRANT.code, "p1", Role.MEMBER, starts=0)
GOOD = Standing(GRANT, MEMBER, balance=10 * GPU_HOUR, committed=0)


def code(standing: Standing, billing: int = 1000, minutes: int = 60, now: int = NOW) -> str:
    refused = admit(standing, billing, minutes, now, cheapest=40)
    return refused.code if refused else "admitted"


@pytest.mark.parametrize(
    ("standing", "answer"),
    [
        (GOOD, "admitted"),
        (replace(GOOD, membership=None), "grant-not-yours"),
        (replace(GOOD, membership=replace(MEMBER, starts=NOW + 1)), "grant-not-yours"),
        (replace(GOOD, membership=replace(MEMBER, ends=NOW)), "grant-not-yours"),
        (replace(GOOD, grant=replace(GRANT, decided=Decided.DRAFT)), "grant-draft"),
        (replace(GOOD, grant=replace(GRANT, decided=Decided.SUSPENDED)), "grant-suspended"),
        (replace(GOOD, grant=replace(GRANT, decided=Decided.CLOSED)), "grant-closed"),
        (replace(GOOD, grant=replace(GRANT, starts=NOW + 1)), "grant-not-started"),
        (replace(GOOD, grant=replace(GRANT, ends=NOW)), "grant-expired"),
        (replace(GOOD, grant=replace(GRANT, ends=NOW + 3599)), "past-the-end"),
        (replace(GOOD, grant=replace(GRANT, ends=NOW + 3600)), "admitted"),
        (replace(GOOD, balance=40 * 60 - 1), "grant-exhausted"),
        (replace(GOOD, balance=-1), "grant-exhausted"),
        (replace(GOOD, balance=GPU_HOUR), "admitted"),
        (replace(GOOD, balance=GPU_HOUR - 1), "too-dear"),
        (replace(GOOD, committed=9 * GPU_HOUR), "admitted"),
        (replace(GOOD, committed=9 * GPU_HOUR + 1), "too-dear"),
        (replace(GOOD, membership=replace(MEMBER, cap=GPU_HOUR)), "admitted"),
        (replace(GOOD, membership=replace(MEMBER, cap=GPU_HOUR), person_spent=1), "over-the-cap"),
        (replace(GOOD, membership=replace(MEMBER, cap=GPU_HOUR), person_committed=1), "over-the-cap"),
    ],
)
def test_a_start_is_judged_by_grant_person_and_what_is_left(standing: Standing, answer: str) -> None:
    """One rule a line."""
    assert code(standing) == answer


def test_each_refusal_sentence_takes_its_values() -> None:
    """No placeholder is left in what people read."""
    refused = admit(replace(GOOD, balance=GPU_HOUR - 1), 1000, 60, NOW, cheapest=40)
    assert refused and refused.field == "minutes"
    assert "{" not in reasons.say(refused.code, "en", **refused.values)


def test_an_exhausted_grant_with_running_jobs_is_only_committed() -> None:
    """Available at or below zero is not exhausted (accounting.md, Lifecycle)."""
    assert state(GRANT, GPU_HOUR, NOW, cheapest=40) is State.ACTIVE


def test_committed_is_the_sum_of_what_may_still_be_charged() -> None:
    """To everybody, or to one person."""
    claims = [Claim("g", "p1", 5), Claim("g", "p2", 7)]
    assert committed(claims) == 12
    assert committed(claims, "p1") == 5


def test_a_job_without_a_limit_commits_until_the_grant_ends() -> None:
    """There is no later moment that it could be charged for."""
    assert job_claim(1000, None, start=100, grant_ends=200) == 100_000
    assert job_claim(1000, 60, start=100, grant_ends=200) == 60_000


def test_an_account_name_holds_letters_and_digits_only() -> None:
    """Slurm names cannot carry the code as people write it."""
    assert account_name("AISS-2025-0007") == "gaiss20250007"
    assert account_name("x; rm -rf/") == "gxrmrf"
