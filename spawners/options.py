"""What a person asked for: form or REST data to ids and types, and nothing else.

Pure. Whether a value was offered is the portal's answer; here it only becomes something that can be asked. Every way in
(the form, a link with `opt-...`, the REST API, options kept from an earlier start) ends in `parse`, so no other shape
of data gets further.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from portal import reasons
from portal.locale import ENGLISH

FIELDS = ("grant", "size", "minutes")
MOST = "most"
LONGEST_MINUTES = 366 * 24 * 60
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_DIGITS = re.compile(r"[1-9][0-9]{0,6}")
_CENTS = re.compile(r"[0-9]{1,12}")
_NAME = re.compile(r"[A-Za-z0-9_-]{1,40}")


class BadOption(ValueError):
    """A value cannot be used. The message is fit to show; it never repeats what was sent.

    field: which value; one of FIELDS, MOST, "kind", or "options" where a name is unknown or the whole is of no use.
    """

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field, self.message = field, message


@dataclass(frozen=True)
class Options:
    """What to ask the portal for. grant: its code. size: id of a size. minutes: time limit.

    most: the highest own share, in cents, that the person has agreed to; None: whatever it costs.
    """

    grant: str
    size: str
    minutes: int
    most: int | None = None

    def as_dict(self) -> dict[str, object]:
        """The form that JupyterHub keeps; `parse` reads it back."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def parse(data: object, language: str = ENGLISH) -> Options:
    """Return what was asked for, from a JSON object or from form data (a list of one text for each name).

    Raises:
        BadOption: a name unknown or missing, a value of another type, more than one, or not shaped like an id or number.
    """
    if not isinstance(data, Mapping):
        raise BadOption("options", reasons.say("options", language))
    for name in data:
        if name not in (*FIELDS, MOST):
            shown = name if isinstance(name, str) and _NAME.fullmatch(name) else "?"
            raise BadOption("options", reasons.say("unknown-option", language, value=shown))
    return Options(
        grant=_id("grant", data, language),
        size=_id("size", data, language),
        minutes=_minutes(data, language),
        most=_most(data, language),
    )


def single(value: object) -> object:
    """The value itself, or the one entry of a list of one. None where there is none or more than one."""
    if isinstance(value, list | tuple):
        return value[0] if len(value) == 1 else None
    return value


def _id(field: str, data: Mapping[str, object], language: str) -> str:
    value = single(data.get(field))
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise BadOption(field, reasons.say(field, language))
    return value


def _most(data: Mapping[str, object], language: str) -> int | None:
    if MOST not in data:
        return None
    value = single(data[MOST])
    if isinstance(value, str) and _CENTS.fullmatch(value) and value.isascii():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 10**12:
        raise BadOption(MOST, reasons.say(MOST, language))
    return value


def _minutes(data: Mapping[str, object], language: str) -> int:
    value = single(data.get("minutes"))
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= LONGEST_MINUTES:
        raise BadOption("minutes", reasons.say("minutes", language))
    return value
