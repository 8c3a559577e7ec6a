"""The start form: every price ready to read, everything escaped, nothing to press where nothing can start."""

from __future__ import annotations

import html
import json
import re

import pytest

from portal.client import OfferedGrant, OfferedSize, Offering, Quote
from portal.locale import CHINESE, ENGLISH
from portal.settings import Settings
from spawners import form

EVIL = "\"><script>alert('1')</script>{{ 7*7 }}"
SETTINGS = Settings()


def offering(title: str = "Proteins", refusal: str = "", grant_refusal: str = "") -> Offering:
    return Offering(
        grants=[
            OfferedGrant(code="AISS-1", title=title, available=7_200_000, ends=None, refusal=grant_refusal),
            OfferedGrant(code="AISS-2", title="Other", available=0, ends=None),
        ],
        sizes=[OfferedSize(id="gpu1", label="1 GPU", detail=title, gpus="1")],
        minutes=[30, 60, 90],
        default_grant="AISS-1",
        default_size="gpu1",
        default_minutes=60,
        quotes={
            "AISS-1": {
                "gpu1": {
                    60: Quote(
                        amount=3_600_000,
                        list_cents=12000,
                        subsidy_cents=8400,
                        own_cents=3600,
                        leaves=3_600_000,
                    )
                }
            }
        },
        refusals={"AISS-1": {"gpu1": {60: refusal}}} if refusal else {},
        refusal="",
    )


def prices(page: str) -> dict[str, dict[str, dict[str, dict[str, str]]]]:
    """The table that the script reads, as a browser would find it."""
    found = re.search(r'data-prices="([^"]*)"', page)
    assert found
    table: dict[str, dict[str, dict[str, dict[str, str]]]] = json.loads(html.unescape(found[1]))
    return table


def test_a_price_is_list_subsidy_own_share_and_what_it_leaves() -> None:
    """The browser does no sums: each line of the price box comes ready."""
    page = form.open_form(SETTINGS, offering(), ENGLISH)

    assert prices(page)["AISS-1"]["gpu1"]["60"] == {
        "list": "HK$120.00",
        "subsidy": "−HK$84.00",
        "own": "HK$36.00",
        "leaves": "1.0 GPU-hours",
        "refusal": "",
    }


def test_the_button_waits_for_a_choice_with_a_price() -> None:
    """Nothing can be sent before the script has shown what it costs."""
    page = form.open_form(SETTINGS, offering(), ENGLISH)

    assert re.search(r'<button [^>]*type="submit" disabled>', page)


def test_a_refused_choice_says_why() -> None:
    """The sentence of the portal stands where the price stands."""
    page = form.open_form(SETTINGS, offering(refusal="Too dear: 0.5 GPU-hours are left."), ENGLISH)

    assert prices(page)["AISS-1"]["gpu1"]["60"]["refusal"] == "Too dear: 0.5 GPU-hours are left."


def test_a_grant_that_cannot_be_used_cannot_be_chosen() -> None:
    """It is shown, with the reason, and its radio button is off."""
    page = form.open_form(SETTINGS, offering(grant_refusal="It ended on 30 June."), ENGLISH)

    assert re.search(r'value="AISS-1" required\s+disabled>', page)
    assert "It ended on 30 June." in page


@pytest.mark.parametrize("language", [ENGLISH, CHINESE])
def test_everything_is_escaped(language: str) -> None:
    """Titles and refusals are other people's text."""
    page = form.open_form(SETTINGS, offering(title=EVIL, refusal=EVIL, grant_refusal=EVIL), language)
    alone = form.closed(SETTINGS, language, EVIL)

    assert "<script>alert" not in page + alone
    assert page.count("<script") == 1 and "<script" not in alone
    assert prices(page)["AISS-1"]["gpu1"]["60"]["refusal"] == EVIL


def test_there_is_no_inline_script_and_no_inline_style() -> None:
    """The policy of the hub's pages forbids both."""
    page = form.open_form(SETTINGS, offering(), ENGLISH)

    assert not re.search(r"\son\w+=|style=|javascript:|<style", page)
    assert re.search(r'<script src="/hub/scripts/start-form\.js\?v=[0-9a-f]+" defer></script>', page)


def test_without_a_grant_there_is_a_sentence_and_no_form() -> None:
    """Why, and whom to ask; nothing to press."""
    nobody = offering().model_copy(update={"grants": [], "refusal": "You have no grant yet."})
    page = form.open_form(SETTINGS, nobody, ENGLISH)

    assert "You have no grant yet." in page
    assert f"mailto:{SETTINGS.site.contact}" in page
    assert "<button" not in page and "<input" not in page


@pytest.mark.parametrize(
    ("minutes", "words"), [(30, "30 min"), (60, "1 h"), (90, "1 h 30 min"), (1440, "24 h")]
)
def test_a_time_is_said_as_people_say_it(minutes: int, words: str) -> None:
    """Hours and minutes, no more than needed."""
    assert form.duration(minutes, ENGLISH) == words
