"""The words people read, in their language. The message id is the English sentence itself.

Catalogues are `<language>/LC_MESSAGES/portal.po`, read once per process; nothing is compiled beforehand.
"""

from __future__ import annotations

import io
import re
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.support import NullTranslations, Translations

DOMAIN = "portal"
ENGLISH = "en"
CHINESE = "zh_Hant_HK"
LANGUAGES = (ENGLISH, CHINESE)
COOKIE = "aisc-language"
"""Holds one of LANGUAGES; set for the whole domain where the domain allows it (`cookie_domain`)."""
COOKIE_DAYS = 365

_CATALOGUES = Path(__file__).parent
_BETWEEN_CHINESE = re.compile(
    r"(?<=[\u3000-\u303f\u4e00-\u9fff\uff00-\uffef]) (?=[\u3000-\u303f\u4e00-\u9fff\uff00-\uffef])"
)
_HTML_LANG = {ENGLISH: "en", CHINESE: "zh-Hant-HK"}


@cache
def translator(language: str) -> NullTranslations:
    """The translations of a language; English, that is the message ids, for one we do not have."""
    path = _CATALOGUES / language / "LC_MESSAGES" / f"{DOMAIN}.po"
    if language not in LANGUAGES or not path.is_file():
        return NullTranslations()
    with path.open("rb") as file:
        catalogue = read_po(file, locale=language, domain=DOMAIN, abort_invalid=True)
    compiled = io.BytesIO()
    write_mo(compiled, catalogue)
    compiled.seek(0)
    return Translations(compiled, domain=DOMAIN)


def N_(sentence: str) -> str:
    """Mark a sentence for translation where it is defined; it is translated where it is shown."""
    return sentence


def filled(sentence: str, **values: object) -> str:
    """A translated sentence with its values. Blanks around a value stay only where Latin letters or figures stand.

    Raises:
        KeyError: a value is missing.
    """
    return _BETWEEN_CHINESE.sub("", sentence.format(**values))


def negotiate(accept_language: str | None, cookie: str | None = None) -> str:
    """The language to answer in: what the person chose, else the best of `Accept-Language`, else English.

    Any Chinese gets ours: a reader of another Chinese reads it more easily than English.
    """
    if cookie in LANGUAGES:
        return str(cookie)
    for tag in _by_preference(accept_language or ""):
        primary = tag.split("-")[0]
        if primary == "zh":
            return CHINESE
        if primary == "en":
            return ENGLISH
    return ENGLISH


def html_lang(language: str) -> str:
    """The value of the `lang` attribute of a page."""
    return _HTML_LANG.get(language, "en")


def cookie_domain(url: str) -> str | None:
    """The domain that the language cookie is set for, given the hub's address; None: only the host itself.

    Browsers keep no cookie for the whole of `localhost`, nor of an address in figures.
    """
    host = urlsplit(url).hostname or ""
    if "." not in host or host.endswith(".localhost") or host.replace(".", "").isdigit() or ":" in host:
        return None
    return host


def _by_preference(header: str) -> list[str]:
    """Language tags of an `Accept-Language` header in lower case, most wanted first; rubbish is skipped."""
    weighed: list[tuple[float, str]] = []
    for part in header[:1000].split(","):
        tag, _, parameter = part.strip().lower().partition(";")
        if weight := _weight(parameter.strip()):
            weighed.append((weight, tag.strip()))
    return [tag for _, tag in sorted(weighed, key=lambda pair: -pair[0])]


def _weight(parameter: str) -> float:
    if not parameter:
        return 1.0
    name, _, value = parameter.partition("=")
    try:
        weight = float(value) if name.strip() == "q" else 0.0
    except ValueError:
        return 0.0
    return weight if 0 < weight <= 1 else 0.0
