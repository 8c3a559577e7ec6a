"""Person ids, roles and the second factor, from the provider's claims."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.identity import Role, RoleGroups, has_second_factor, one_line, person_id, roles, words

NAMED = RoleGroups(officer="aisc-officers", operator="aisc-operators", instructor="aisc-instructors")
LINES = st.text(min_size=1).filter(lambda text: "\n" not in text and text.isprintable())


def test_the_id_of_a_person_never_changes() -> None:
    """The id is part of stored ledgers: this value must stay what it is."""
    assert person_id("http://127.0.0.1:8005", "pi") == "prq7zxp33xki7"


@given(LINES, LINES)
def test_an_id_is_a_dns_label_and_a_unix_name(issuer: str, subject: str) -> None:
    """Whatever the provider calls people, the id is 13 plain characters."""
    assert re.fullmatch(r"p[a-z2-7]{12}", person_id(issuer, subject))


def test_the_same_subject_of_another_issuer_is_another_person() -> None:
    """Nobody becomes somebody else by a second provider."""
    assert person_id("https://a.example", "ann") != person_id("https://b.example", "ann")


@pytest.mark.parametrize(("issuer", "subject"), [("", "x"), ("x", ""), ("a\nb", "c"), ("a", "b\nc")])
def test_an_id_that_could_be_ambiguous_is_refused(issuer: str, subject: str) -> None:
    """A newline would let two pairs of issuer and subject share one id."""
    with pytest.raises(ValueError, match="one line"):
        person_id(issuer, subject)


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        (["aisc-officers"], [Role.OFFICER]),
        (["aisc-instructors", "aisc-operators"], [Role.OPERATOR, Role.INSTRUCTOR]),
        (["AISC-OFFICERS", "officer", "", "admin"], []),
        ([], []),
    ],
)
def test_roles_come_from_the_named_groups_only(groups: list[str], expected: list[Role]) -> None:
    """A group that is not named in the settings gives nothing."""
    assert roles(groups, NAMED) == expected


def test_an_unset_group_gives_its_role_to_nobody() -> None:
    """An empty setting must not match an empty group."""
    assert roles(["", "x"], RoleGroups()) == []


@pytest.mark.parametrize(
    ("claims", "proved"),
    [
        ({"amr": ["pwd", "otp", "mfa"]}, True),
        ({"amr": ["hwk"]}, True),
        ({"amr": "mfa"}, True),
        ({"amr": ["pwd"]}, False),
        ({"amr": "pwd mfa"}, False),
        ({"amr": [["mfa"]]}, False),
        ({"amr": {"mfa": True}}, False),
        ({"amr": None}, False),
        ({"acr": "mfa"}, False),
        ({}, False),
    ],
)
def test_only_amr_proves_a_second_factor(claims: dict[str, Any], proved: bool) -> None:
    """Absent, malformed or password-only: no second factor."""
    assert has_second_factor(claims, ("mfa", "otp", "hwk")) is proved


def test_a_claim_of_mixed_values_keeps_its_words() -> None:
    """Values that are no text are dropped, not guessed at."""
    assert words(["a", 1, None, "b"]) == ("a", "b")
    assert words(7) == ()


@pytest.mark.parametrize(
    ("claim", "read"),
    [
        ("Chan Tai Man  陳大文", "Chan Tai Man 陳大文"),
        ("evil\u202etxt.exe\x00\ud800\r\nBcc: x", "eviltxt.exe Bcc: x"),
        ("x" * 5000, "x" * 200),
        (["a", "list"], ""),
        (None, ""),
    ],
)
def test_a_name_is_one_short_line_whatever_somebody_calls_themselves(claim: object, read: str) -> None:
    """It is shown to others, put into sentences of the audit and written to a database that takes no NUL."""
    assert one_line(claim) == read
