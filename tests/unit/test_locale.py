"""Which language a page is in, and where its words come from."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.locale import LANGUAGES, cookie_domain, html_lang, negotiate, translator


@pytest.mark.parametrize(
    ("header", "cookie", "language"),
    [
        (None, None, "en"),
        ("zh-HK", None, "zh_Hant_HK"),
        ("zh-TW,zh;q=0.9,en;q=0.8", None, "zh_Hant_HK"),
        ("zh-Hans-CN", None, "zh_Hant_HK"),
        ("en-GB,zh;q=0.9", None, "en"),
        ("en;q=0.5, zh;q=0.7", None, "zh_Hant_HK"),
        ("zh;q=0, fr, en;q=0.1", None, "en"),
        ("fr, de", None, "en"),
        ("zh-HK", "en", "en"),
        ("en", "zh_Hant_HK", "zh_Hant_HK"),
        ("zh-HK", "../../etc", "zh_Hant_HK"),
        ("zh;q=huge", None, "en"),
        ("zh;q=nan, en", None, "en"),
    ],
)
def test_the_choice_wins_then_the_browser_then_english(
    header: str | None, cookie: str | None, language: str
) -> None:
    """A person's own choice is kept; a broken header falls back to English."""
    assert negotiate(header, cookie) == language


@given(st.text(), st.text())
def test_no_header_breaks_a_page(header: str, cookie: str) -> None:
    """Headers come from strangers."""
    assert negotiate(header, cookie) in LANGUAGES


def test_a_message_without_translation_is_the_english_sentence() -> None:
    """A missing word shows in English, never as an error."""
    for language in (*LANGUAGES, "fr", "../.."):
        assert translator(language).gettext("No such sentence.") == "No such sentence."


def test_pages_say_their_language() -> None:
    """Screen readers and fonts choose by it."""
    assert [html_lang(language) for language in (*LANGUAGES, "fr")] == ["en", "zh-Hant-HK", "en"]


@pytest.mark.parametrize(
    ("url", "domain"),
    [
        ("http://localhost:8000", None),
        ("http://127.0.0.1:8000", None),
        ("http://[::1]:8000", None),
        ("http://hub.localhost", None),
        ("http://aisc.test:8000", "aisc.test"),
        ("https://hub.example.hk", "hub.example.hk"),
    ],
)
def test_the_language_cookie_covers_the_whole_domain_where_browsers_allow(
    url: str, domain: str | None
) -> None:
    """On localhost every host keeps its own."""
    assert cookie_domain(url) == domain
