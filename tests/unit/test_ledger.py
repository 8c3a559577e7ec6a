"""The ledger: signs, keys, sums and the chain of hashes."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.ledger import GENESIS, Entry, Kind, Link, balance, charge_key, faults, link
from portal.pricing import Price, price

AWARD = Entry("award:1", "physics", Kind.AWARD, 3_600_000, Price(3000, 2100), at=10, booked=11)
CHARGE = Entry(
    "charge:aisc:7:1", "physics", Kind.CHARGE, -1_000, Price(-1, -1), at=20, booked=21, person="p1"
)


def chained(entries: list[Entry]) -> list[Link]:
    links: list[Link] = []
    for number, entry in enumerate(entries, 1):
        previous = links[-1].hash if links else GENESIS
        links.append(Link(number, entry, previous, link(previous, entry)))
    return links


def test_the_balance_is_the_sum_of_the_entries() -> None:
    """Award less charge."""
    assert balance([AWARD, CHARGE]) == 3_599_000


def test_a_charge_cannot_give() -> None:
    """The kind fixes the sign."""
    with pytest.raises(ValueError, match="a charge cannot change the balance by 5"):
        replace(CHARGE, amount=5)


def test_the_same_event_written_later_is_the_same_event() -> None:
    """A retry, even a second later, is not a new event."""
    assert CHARGE.same_event(replace(CHARGE, booked=99))
    assert not CHARGE.same_event(replace(CHARGE, amount=-2))


def test_a_requeued_job_has_a_key_of_its_own() -> None:
    """Same id, new submit time."""
    assert charge_key("aisc", 7, 1) != charge_key("aisc", 7, 2)


def test_a_whole_chain_has_no_fault() -> None:
    """What was written in order verifies."""
    assert list(faults(chained([AWARD, CHARGE]))) == []


@given(st.integers(0, 4), st.integers(1, 10**12))
def test_an_edited_line_is_named(position: int, amount: int) -> None:
    """Whichever line is edited, it is found."""
    entries = [replace(AWARD, key=f"award:{n}") for n in range(5)]
    links = chained(entries)
    if amount == AWARD.amount:
        return
    links[position] = replace(links[position], entry=replace(entries[position], amount=amount))
    assert list(faults(links)) == [f"line {position + 1} (award:{position}) was changed after it was written"]


def test_a_removed_line_is_named() -> None:
    """The gap is found, even where the hashes around it are left alone."""
    links = chained([replace(AWARD, key=f"award:{n}") for n in range(3)])
    assert list(faults([links[0], links[2]])) == ["line 2 is missing: after it comes line 3 (award:2)"]


def test_two_exchanged_lines_are_found() -> None:
    """Order is part of the record."""
    one, two, three = chained([replace(AWARD, key=f"award:{n}") for n in range(3)])
    swapped = [one, replace(three, number=2), replace(two, number=3)]
    assert list(faults(swapped))


@given(st.integers(0, 10**15), st.integers(0, 10**6), st.integers(0, 10_000))
def test_subsidy_and_own_share_are_the_list_price_to_the_cent(amount: int, rate: int, share: int) -> None:
    """No cent is lost or made."""
    cost = price(amount, rate, share)
    assert cost.subsidy_cents + cost.own_cents == cost.list_cents
    assert 0 <= cost.subsidy_cents <= cost.list_cents


@given(st.integers(0, 10**15), st.integers(0, 10**6), st.integers(0, 10_000))
def test_a_charge_and_its_refund_cancel_to_the_cent(amount: int, rate: int, share: int) -> None:
    """Rounding is the same in both directions."""
    taken, given_back = price(-amount, rate, share), price(amount, rate, share)
    assert taken.list_cents + given_back.list_cents == 0
    assert taken.subsidy_cents + given_back.subsidy_cents == 0
