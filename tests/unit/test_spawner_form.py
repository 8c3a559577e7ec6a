"""The start form: every price ready to read, everything escaped, nothing to press where nothing can start."""

from __future__ import annotations

import html
import json
import re

import pytest

from portal.client import OfferedGrant, OfferedSize, Offering, Quote
from portal.hub.choice import Fault
from portal.locale import CHINESE, ENGLISH
from portal.settings import Settings
from spawners import form

EVIL = "\"><script>alert('1')</script>{{ 7*7 }}"
SETTINGS = Settings()


def offering(title: str = "Proteins", refusal: str = "", grant_refusal: str = "") -> Offering:
    return Offering(
        grants=[
            OfferedGrant(
                code="AISS-1",
                title=title,
                available=7_200_000,
                ends=None,
                share=7000,
                refusal=grant_refusal,
            ),
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
                    ),
                    90: Quote(
                        amount=5_400_000,
                        list_cents=18000,
                        subsidy_cents=12600,
                        own_cents=5400,
                        leaves=1_800_000,
                    ),
                }
            }
        },
        hourly={"AISS-1": {"gpu1": 3600}},
        refusals={"AISS-1": {"gpu1": {60: refusal}}} if refusal else {},
        refusal="",
    )


def prices(page: str) -> dict[str, dict[str, dict[str, dict[str, str]]]]:
    """The table that the script reads, as a browser would find it."""
    found = re.search(r'data-prices="([^"]*)"', page)
    assert found
    table: dict[str, dict[str, dict[str, dict[str, str]]]] = json.loads(html.unescape(found[1]))
    return table


def shown(page: str, id: str) -> str:
    """The text of one element."""
    found = re.search(rf'id="{id}">([^<]*)<', page)
    assert found
    return found[1]


def test_a_price_is_list_subsidy_own_share_and_what_it_leaves() -> None:
    """The browser does no sums: each line of the price box comes ready."""
    page = form.open_form(SETTINGS, offering(), ENGLISH)

    assert prices(page)["AISS-1"]["gpu1"]["60"] == {
        "share": "70 %",
        "list": "HK$120.00",
        "subsidy": "−HK$84.00",
        "own": "HK$36.00",
        "most": "3600",
        "leaves": "1.0 GPU-hours",
        "refusal": "",
    }


def test_without_a_script_the_price_of_the_choice_is_there_and_the_button_works() -> None:
    """The page comes with the price of what is chosen, sends along what was seen, and says what an hour costs."""
    page = form.open_form(SETTINGS, offering(), ENGLISH)

    assert shown(page, "price-own") == "HK$36.00" and shown(page, "price-list") == "HK$120.00"
    assert 'name="most" id="price-most" value="3600"' in page
    assert "own share HK$36.00 an hour" in page
    assert 'formmethod="get" formaction="/hub/spawn"' in page
    assert " disabled" not in page


def test_a_choice_that_the_request_carries_is_shown_with_its_price() -> None:
    """Of a link, of the button that shows prices, or of a form that comes back refused."""
    page = form.open_form(SETTINGS, offering(), ENGLISH, {"minutes": "90"})

    assert re.search(r'value="90" required\s+checked', page)
    assert shown(page, "price-own") == "HK$54.00" and 'id="price-most" value="5400"' in page


@pytest.mark.parametrize("sent", [EVIL, "x", "-1", "AISS-2", "999999999"])
def test_a_choice_that_is_not_offered_is_not_shown(sent: str) -> None:
    """The portal's own proposal stands instead; what was sent appears nowhere."""
    page = form.open_form(SETTINGS, offering(), ENGLISH, dict.fromkeys(("grant", "size", "minutes"), sent))

    assert page == form.open_form(SETTINGS, offering(), ENGLISH)


@pytest.mark.parametrize("field", ["grant", "size", "minutes"])
def test_a_refusal_stands_at_the_field_at_fault(field: str) -> None:
    """The group is marked as invalid and described by the sentence."""
    fault = Fault("Choose another.", field)
    page = form.open_form(SETTINGS, offering(), ENGLISH, fault=fault)

    assert re.search(rf'{field}-name"\s+aria-invalid="true" aria-describedby="{field}-fault"', page)
    assert f'id="{field}-fault">Choose another.</p>' in page
    assert page.count("aria-invalid") == 1


def test_a_refusal_of_no_field_marks_none() -> None:
    """Such as a portal that does not answer."""
    assert "aria-invalid" not in form.open_form(SETTINGS, offering(), ENGLISH, fault=Fault("Away.", "portal"))


def test_a_refused_choice_says_why() -> None:
    """The sentence of the portal stands where the price stands."""
    page = form.open_form(SETTINGS, offering(refusal="Too dear: 0.5 GPU-hours are left."), ENGLISH)

    assert prices(page)["AISS-1"]["gpu1"]["60"]["refusal"] == "Too dear: 0.5 GPU-hours are left."


def test_a_grant_that_cannot_be_used_cannot_be_chosen() -> None:
    """It is shown, with the reason, and its radio button is off."""
    page = form.open_form(SETTINGS, offering(grant_refusal="It ended on 30 June."), ENGLISH)

    assert re.search(r'value="AISS-1" required id="grant-first"\s+disabled>', page)
    assert "It ended on 30 June." in page


@pytest.mark.parametrize("language", [ENGLISH, CHINESE])
def test_everything_is_escaped(language: str) -> None:
    """Titles and refusals are other people's text."""
    page = form.open_form(SETTINGS, offering(title=EVIL, refusal=EVIL, grant_refusal=EVIL), language)
    alone = form.closed(language, EVIL)

    assert "<script>alert" not in page + alone
    assert page.count("<script") == 1 and "<script" not in alone
    assert prices(page)["AISS-1"]["gpu1"]["60"]["refusal"] == EVIL


def test_there_is_no_inline_script_and_no_inline_style() -> None:
    """The policy of the hub's pages forbids both."""
    page = form.open_form(SETTINGS, offering(), ENGLISH)

    assert not re.search(r"\son\w+=|style=|javascript:|<style", page)
    assert re.search(r'<script src="/hub/scripts/start-form\.js\?v=[0-9a-f]+" defer></script>', page)


def test_without_a_grant_there_is_a_sentence_and_no_form() -> None:
    """Why, which names whom to ask, and the way home; nothing to send."""
    nobody = offering().model_copy(update={"grants": [], "refusal": "You have no grant yet."})
    page = form.open_form(SETTINGS, nobody, ENGLISH)

    assert "You have no grant yet." in page
    assert 'href="/hub/home"' in page
    assert "<button" not in page and "<input" not in page


@pytest.mark.parametrize(
    ("minutes", "words"), [(30, "30 min"), (60, "1 h"), (90, "1 h 30 min"), (1440, "24 h")]
)
def test_a_time_is_said_as_people_say_it(minutes: int, words: str) -> None:
    """Hours and minutes, no more than needed."""
    assert form.duration(minutes, ENGLISH) == words
