"""The letter of a notice: plain text of 72 columns, in the reader's language, or in both where that is not known.

Pure. A letter says what happened, where to go on, why it came and how to have no more of its kind. It names the person
nowhere but in its address.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Sequence
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime

from portal.locale import N_
from portal.notices.kinds import KINDS
from portal.notices.wording import plain, told
from portal.service.access import BASE
from portal.service.words import Words
from portal.settings import Settings
from portal.store.notices import Notice

COLUMNS = 72
SUBJECT = 78
"""Columns of a subject at most, as RFC 5322 would have it."""

SETTINGS_PATH = f"{BASE}/notices/settings"

ESSENTIAL = N_(
    "You get this letter because it concerns the security of your account. It cannot be switched off."
)
USUAL = N_("You get this letter because you use the portal. Choose here what is sent to you, and when:")
OFFICE = N_("You get this letter because the portal is set to write to this address.")

_WORD = r"[A-Za-z0-9!#$%&'*+/=^_`{|}~-]+"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
ADDRESS = re.compile(rf"{_WORD}(?:\.{_WORD})*@{_LABEL}(?:\.{_LABEL})*")
"""RFC 5321 without quotes: what is more liberal here is an error where the message is put together."""


class NoAddress(Exception):
    """There is no address, or none that can be written to."""


def letter(settings: Settings, notice: Notice, languages: Sequence[str], to: str, now: int) -> EmailMessage:
    """The message as it is sent. Its Message-ID is the same at every try, so that a second copy can be told.

    Raises:
        NoAddress: `to` is not an address.
    """
    if not to:
        raise NoAddress("there is no address to write to")
    if not is_address(to):
        raise NoAddress("the address is not well formed")
    readers = [Words(settings, language) for language in languages]
    message = EmailMessage(policy=SMTP)
    names = " ".join(dict.fromkeys(plain(words.site_name) for words in readers))
    message["From"] = Address(names, addr_spec=settings.mail.sender)
    message["To"] = Address(addr_spec=to)
    if is_address(notice.reply_to):
        message["Reply-To"] = Address(addr_spec=notice.reply_to)
    message["Subject"] = subject(settings, notice, readers)
    message["Date"] = format_datetime(datetime.fromtimestamp(now, UTC))
    message["Message-ID"] = message_id(settings, notice)
    message["Auto-Submitted"] = "auto-generated"
    if not KINDS[notice.kind].essential:
        message["List-Unsubscribe"] = f"<{settings.web.service_origin('portal')}{SETTINGS_PATH}>"
    message.set_content(text(settings, notice, readers), charset="utf-8")
    message["Content-Language"] = ", ".join(words.lang for words in readers)
    return message


def is_address(text: str) -> bool:
    """Whether a mail server can be given this as an address: no spaces, marks or letters beyond ASCII."""
    return bool(ADDRESS.fullmatch(text)) and text.isascii() and text.isprintable() and len(text) <= 254


def message_id(settings: Settings, notice: Notice) -> str:
    """Tells nothing about the notice; made of its key and its time, so that no two letters share one."""
    mark = hashlib.sha256(f"{notice.key}\n{notice.at}".encode()).hexdigest()[:32]
    return f"<{mark}@{settings.mail.sender.rpartition('@')[2]}>"


def subject(settings: Settings, notice: Notice, readers: Sequence[Words]) -> str:
    return cut(" / ".join(told(settings, notice, words).title for words in readers), SUBJECT)


def text(settings: Settings, notice: Notice, readers: Sequence[Words]) -> str:
    """The body, one language after the other, then what somebody attached, then the site's name."""
    parts = ["\n\n".join(_one(settings, notice, words)) for words in readers]
    whole = f"\n\n{'-' * COLUMNS}\n\n".join(parts)
    attached = told(settings, notice, readers[0]).attached
    if attached:
        whole += f"\n\n{'=' * COLUMNS}\n\n{attached}"
    names = " ".join(dict.fromkeys(plain(words.site_name) for words in readers))
    return f"{whole}\n\n-- \n{names}\n{settings.web.service_origin('portal')}{BASE}/\n"


def _one(settings: Settings, notice: Notice, words: Words) -> list[str]:
    kind, said = KINDS[notice.kind], told(settings, notice, words)
    origin = settings.web.service_origin("portal")
    colon = "：" if words.chinese else ":"
    paragraphs = [
        wrapped(said.title),
        wrapped(said.body),
        f"{wrapped(said.action + colon)}\n{origin}{said.path}",
    ]
    if not kind.to_person:
        paragraphs.append(wrapped(words.gettext(OFFICE)))
    elif kind.essential:
        paragraphs.append(wrapped(words.gettext(ESSENTIAL)))
    else:
        paragraphs.append(f"{wrapped(words.gettext(USUAL))}\n{origin}{SETTINGS_PATH}")
    return paragraphs


def width(text: str) -> int:
    """Columns that a text takes: two for each character of full width."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def cut(text: str, columns: int) -> str:
    """The text, or as much of it as fits, and an ellipsis."""
    if width(text) <= columns:
        return text
    while width(text) > columns - 1:
        text = text[:-1]
    return text.rstrip() + "…"


_WIDE = "⺀-鿿豈-﫿\uff00-\uffef\u3000-\u303f"
_OPENING, _CLOSING = "（「『《〈【", "）」』》〉】，。、；：！？…"
_UNITS = re.compile(rf"\s+|[{_OPENING}]*(?:[{_WIDE}]|[^\s{_WIDE}]+)[{_CLOSING}]*")
"""What a line may end between: words, and single characters of Chinese with the marks that stay beside them."""


def wrapped(text: str, columns: int = COLUMNS) -> str:
    """Break a text into lines. No line begins with a closing mark; a long word, such as an address, stays whole."""
    lines, line = [], ""
    for unit in _UNITS.findall(text):
        if line and width(line + unit.rstrip()) > columns:
            lines.append(line.rstrip())
            line = ""
        line += unit if line else unit.lstrip()
    return "\n".join([*lines, line.rstrip()])
