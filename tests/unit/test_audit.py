"""The audit's pure parts: the chain, where a request came from, what a flood becomes."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.audit import GENESIS, Event, Link, event, faults, line, link, read_line
from portal.audit.folding import Folding, Tries
from portal.audit.kinds import KINDS
from portal.audit.origin import address, browser, network

texts = st.text(max_size=30)
events = st.builds(Event, st.integers(0, 2**40), texts, texts, texts, texts, texts)
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
EDGE = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/142.0 Safari/537.36 Edg/142.0"
IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Version/18.0 Mobile/15E148 Safari/604.1"
DENIED = event(100, "", "access.denied", "internal", "192.0.2.1", reason="token")


def chained(*written: Event) -> list[Link]:
    links, previous = [], GENESIS
    for number, one in enumerate(written, 1):
        links.append(Link(number, one, previous, link(previous, one)))
        previous = links[-1].hash
    return links


@given(st.lists(events, max_size=8))
def test_a_chain_as_written_is_whole_and_survives_shipping(written: list[Event]) -> None:
    """Whatever the fields hold; a line that is read back is the line that was written."""
    links = chained(*written)
    assert list(faults(links)) == []
    assert [read_line(line(item)) for item in links] == links
    assert all("\n" not in line(item) and line(item).isascii() for item in links)


@given(st.lists(events, min_size=2, max_size=8), st.data())
def test_every_change_of_a_chain_is_named_with_its_line(written: list[Event], data: st.DataObject) -> None:
    """A field edited, a line removed before the end, two lines exchanged."""
    links = chained(*written)
    at = data.draw(st.integers(0, len(links) - 2))
    field = data.draw(st.sampled_from(["who", "what", "subject", "where", "detail"]))
    old = links[at]
    edited = replace(old, event=replace(old.event, **{field: getattr(old.event, field) + "x"}))
    assert list(faults([*links[:at], edited, *links[at + 1 :]])) == [
        f"line {at + 1} was changed after it was written"
    ]
    assert next(faults([*links[:at], *links[at + 1 :]])) == f"line {at + 1} is missing"
    forged = replace(edited, hash=link(edited.previous, edited.event))
    assert list(faults([*links[:at], forged, *links[at + 1 :]])) == [
        f"line {at + 2} does not follow the line before it"
    ]


@pytest.mark.parametrize("text", ["", "{}", "[]", "1", '{"number": 1}', "not json", '{"number": "x"}'])
def test_what_is_no_line_is_not_read_as_one(text: str) -> None:
    """A torn line at the end of a shipped file."""
    assert read_line(text) is None


@pytest.mark.parametrize(
    ("forwarded", "before", "found"),
    [
        ("203.0.113.9", 0, "203.0.113.9"),
        ("1.2.3.4, 203.0.113.9", 0, "203.0.113.9"),
        ("1.2.3.4,10.0.0.1,203.0.113.9", 0, "203.0.113.9"),
        ("1.2.3.4, 203.0.113.9, 10.0.0.1", 1, "203.0.113.9"),
        ("203.0.113.9", 1, "203.0.113.9"),
        ("", 0, "127.0.0.1"),
        ("unknown", 0, ""),
        ("1.2.3.4, <script>", 0, ""),
        ("::ffff:203.0.113.9", 0, "203.0.113.9"),
        ("2001:DB8::1", 0, "2001:db8::1"),
        ("[2001:db8::1]", 0, "2001:db8::1"),
        ("1.2.3.4," * 1000 + "203.0.113.9", 0, "203.0.113.9"),
    ],
)
def test_an_address_is_what_our_own_proxy_saw(forwarded: str, before: int, found: str) -> None:
    """What a client writes into the header stands before it and does not count."""
    assert address(forwarded, "127.0.0.1", before) == found


@given(st.text(max_size=300))
def test_a_client_cannot_forge_its_address(written: str) -> None:
    """Whatever it sends, our proxy appends the truth."""
    assert address(f"{written},203.0.113.9", "127.0.0.1") == "203.0.113.9"


def test_a_network_is_coarse() -> None:
    """So that a new address of the same provider is no news."""
    assert network("203.0.113.9") == network("203.0.5.1") == "203.0.0.0/16"
    assert network("2001:db8:1::5") == network("2001:db8:ffff::1") == "2001:db8::/32"
    assert network("") == ""


@pytest.mark.parametrize(
    ("sent", "known"),
    [(FIREFOX, "Firefox/Linux"), (EDGE, "Edge/Windows"), (IPHONE, "Safari/iOS"), ("<b>", "other/other")],
)
def test_a_browser_is_one_of_a_small_set(sent: str, known: str) -> None:
    """Nothing that a client writes gets through."""
    assert browser(sent) == known


def test_equal_events_become_one_line_a_minute() -> None:
    """The first at once, the others as one with a count, and so on every minute."""
    folding = Folding()
    through = [
        one
        for second in range(180)
        for one in (folding.take(replace(DENIED, at=second), second), *folding.due(second))
        if one
    ]
    counts = [json.loads(one.detail).get("count", 1) for one in through]
    assert (len(counts), counts[0]) == (3, 1)
    assert sum(counts) + sum(json.loads(one.detail)["count"] for one in folding.due(180, all=True)) == 180


def test_many_different_events_are_only_counted() -> None:
    """A flood from everywhere fills neither memory nor disk."""
    folding = Folding(most=30)
    through = [folding.take(replace(DENIED, where=f"198.51.{n // 256}.{n % 256}"), 0) for n in range(5000)]
    assert len([one for one in through if one]) == 30
    (rest,) = folding.due(60)
    assert json.loads(rest.detail) == {"count": 4970, "many": True}


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 20)), max_size=60))
def test_no_event_is_lost_in_folding(steps: list[tuple[int, int]]) -> None:
    """However they come, the counts add up."""
    folding, now, seen = Folding(most=2, free=2), 0, 0
    for who, pause in steps:
        now += pause
        seen += sum(json.loads(one.detail).get("count", 1) for one in folding.due(now))
        seen += bool(folding.take(replace(DENIED, at=now, who=f"p{who}"), now))
    seen += sum(json.loads(one.detail)["count"] for one in folding.due(now, all=True))
    assert seen == len(steps)


def test_tries_are_counted_in_a_sliding_window() -> None:
    """Ten within any window count as ten, whenever it begins; each key by itself."""
    tries = Tries(seconds=60)
    assert [tries.add("a", at) for at in (0, 30, 59, 60, 90)] == [1, 2, 3, 3, 3]
    assert tries.add("b", 90, count=5) == 5


def test_tries_of_too_many_keys_forget_the_oldest() -> None:
    """Memory is bounded."""
    tries = Tries(seconds=60, most=2)
    for key in ("a", "b", "a", "c"):
        tries.add(key, 0)
    assert tries.add("b", 0) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_a_dotted_word(kind: str) -> None:
    """As the wire and a syslog's MSGID ask for."""
    assert kind.isascii() and kind.replace(".", "").replace("-", "").isalpha() and len(kind) <= 32
