"""Who a person is to us, from what the identity provider says: opaque id, roles, second factor.

Pure: no I/O, no clock. Nothing here grants compute; that is the grants' affair.
"""

from __future__ import annotations

import base64
import hashlib
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

ID_LETTERS = 12


class Role(StrEnum):
    """What a person may do beyond their grants, decided by a group at the identity provider."""

    OFFICER = "officer"
    OPERATOR = "operator"
    INSTRUCTOR = "instructor"


@dataclass(frozen=True)
class RoleGroups:
    """The provider's group behind each role; an empty name gives the role to nobody."""

    officer: str = ""
    operator: str = ""
    instructor: str = ""


def person_id(issuer: str, subject: str) -> str:
    """The opaque id of a person, the same for ever, computed without asking anybody.

    `p` and 12 characters of base32(SHA-256(issuer, newline, subject)), lower case: a DNS label and a Unix name.

    Raises:
        ValueError: issuer or subject is empty, or holds a newline (two people could then share one id).
    """
    for word, value in (("issuer", issuer), ("subject", subject)):
        if not value or "\n" in value:
            raise ValueError(f"{word} {value!r}: must be one line and not empty")
    digest = hashlib.sha256(f"{issuer}\n{subject}".encode()).digest()
    return "p" + base64.b32encode(digest).decode().lower()[:ID_LETTERS]


def roles(groups: Iterable[str], named: RoleGroups) -> list[Role]:
    """The roles that the provider's groups give, in a fixed order. Unknown groups give nothing."""
    held = set(groups)
    behind = {
        Role.OFFICER: named.officer,
        Role.OPERATOR: named.operator,
        Role.INSTRUCTOR: named.instructor,
    }
    return [role for role, group in behind.items() if group and group in held]


def words(claim: object) -> tuple[str, ...]:
    """A claim that should be a list of words. Anything else, or a word that is no text, counts as absent."""
    if isinstance(claim, str):
        return (claim,)
    if not isinstance(claim, (list, tuple)):
        return ()
    return tuple(word for word in claim if isinstance(word, str))


def one_line(claim: object, most: int = 200) -> str:
    """A claim as a short line of text; empty for anything else.

    People write their own names: no letter of it may break a line, turn the direction of writing, or be none at all.
    """
    text = " ".join(claim.split()) if isinstance(claim, str) else ""
    return "".join(letter for letter in text if unicodedata.category(letter)[0] != "C")[:most].strip()


def has_second_factor(claims: Mapping[str, Any], proving: Iterable[str]) -> bool:
    """True only if `amr` of the verified claims names a method that proves a second factor."""
    return bool(set(words(claims.get("amr"))) & set(proving))
