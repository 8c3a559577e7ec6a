"""The start form: what the portal offers to this person, every price as the portal worked it out."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from pydantic import ValidationError

from portal import reasons
from portal.client import Client, Offering, Refused, Unreachable
from portal.hub import choice
from portal.hub.choice import Fault
from portal.hub.language import current, script
from portal.locale import CHINESE, translator
from portal.settings import Settings
from portal.units import gpu_hours, money

SUMMARY_SECONDS = 2.0
"""How long the page on which one waits waits for the portal."""
_PAGES = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
)


def language() -> str:
    """The language of the person who is asking."""
    return current()


@dataclass(frozen=True)
class Chosen:
    """What the form shows as chosen. Always something that is offered, empty only where nothing is."""

    grant: str
    size: str
    minutes: int


async def render(
    settings: Settings, portal: Client, person: str, log: logging.Logger, fault: Fault | None = None
) -> Markup:
    """The form for this person; a sentence and no form where nothing can be started. fault: as for `open_form`."""
    spoken = language()
    try:
        offering = await portal.offering(person, spoken)
    except (Unreachable, Refused, ValidationError) as error:
        log.warning("No start form for %s: %s", person, error)
        return closed(spoken, reasons.say("form", spoken), again=True)
    return open_form(settings, offering, spoken, choice.current(), fault)


async def summary(
    settings: Settings, portal: Client, person: str, chosen: Mapping[str, object], spoken: str
) -> dict[str, str]:
    """What was asked for, and its price at most, for the page on which one waits; empty where the portal is away."""
    try:
        async with asyncio.timeout(SUMMARY_SECONDS):
            offering = await portal.offering(person, spoken)
    except (Unreachable, Refused, ValidationError, TimeoutError):
        return {}
    grant, size, minutes = str(chosen.get("grant")), str(chosen.get("size")), chosen.get("minutes")
    labels = {one.id: one.label for one in offering.sizes}
    titles = {one.code: one.title for one in offering.grants}
    price = prices(settings, offering, spoken).get(grant, {}).get(size, {})
    if not isinstance(minutes, int) or size not in labels or minutes not in price:
        return {}
    named = {"grant": grant, "title": titles[grant], "size": labels[size], "time": duration(minutes, spoken)}
    return named | price[minutes]


def closed(spoken: str, refusal: str, again: bool = False) -> Markup:
    """Only the sentence and the way on. again: it may be different in a minute."""
    return _render("form_closed.html", spoken, refusal=refusal, again=again)


def open_form(
    settings: Settings,
    offering: Offering,
    spoken: str,
    asked: Mapping[str, str] | None = None,
    fault: Fault | None = None,
) -> Markup:
    """The choices with the price of the one that is chosen, and the table by which the script shows the others.

    asked: what the request carries, as it was sent. fault: why the last start was refused.
    """
    if offering.refusal or not offering.grants:
        return closed(spoken, offering.refusal)
    chosen = _chosen(offering, asked or {})
    table = prices(settings, offering, spoken)
    return _render(
        "form.html",
        spoken,
        offering=offering,
        chosen=chosen,
        times=[(minutes, duration(minutes, spoken)) for minutes in offering.minutes],
        price=table.get(chosen.grant, {}).get(chosen.size, {}).get(chosen.minutes),
        prices=json.dumps(table, ensure_ascii=False),
        hourly=hourly(settings, offering, spoken),
        fault=fault,
        hours=gpu_hours,
        script=script("start-form.js"),
    )


def _chosen(offering: Offering, asked: Mapping[str, str]) -> Chosen:
    """What was asked for, as far as it is offered; the rest as the portal proposes."""
    sizes = [size.id for size in offering.sizes]
    times = {str(minutes): minutes for minutes in offering.minutes}
    grant, size = asked.get("grant", ""), asked.get("size", "")
    return Chosen(
        grant=grant if grant in offering.quotes else offering.default_grant,
        size=size if size in sizes else offering.default_size,
        minutes=times.get(asked.get("minutes", ""), offering.default_minutes),
    )


def prices(
    settings: Settings, offering: Offering, spoken: str
) -> dict[str, dict[str, dict[int, dict[str, str]]]]:
    """Grant > size > minutes > the words of the price box, and the refusal or nothing.

    most: the own share in cents, which a start sends along.
    """
    _ = translator(spoken).gettext
    currency = settings.site.currency
    shares = {grant.code: percent(grant.share, spoken) for grant in offering.grants}
    return {
        grant: {
            size: {
                minutes: {
                    "share": shares.get(grant, ""),
                    "list": money(quote.list_cents, currency),
                    "subsidy": money(-quote.subsidy_cents, currency),
                    "own": money(quote.own_cents, currency),
                    "most": str(quote.own_cents),
                    "leaves": _("%s GPU-hours") % gpu_hours(quote.leaves),
                    "refusal": offering.refusals.get(grant, {}).get(size, {}).get(minutes, ""),
                }
                for minutes, quote in by_minutes.items()
            }
            for size, by_minutes in by_size.items()
        }
        for grant, by_size in offering.quotes.items()
    }


def hourly(settings: Settings, offering: Offering, spoken: str) -> dict[str, dict[str, str]]:
    """Grant > size > what an hour costs the person, in words for the card of the size."""
    said = translator(spoken).gettext("own share {price} an hour")
    return {
        grant: {
            size: said.format(price=money(cents, settings.site.currency)) for size, cents in by_size.items()
        }
        for grant, by_size in offering.hourly.items()
    }


def percent(share: int, spoken: str) -> str:
    """Basis points as people read them: `70 %`, in Chinese `70%`."""
    return f"{share / 100:g}{'%' if spoken == CHINESE else ' %'}"


def duration(minutes: int, spoken: str) -> str:
    """`30 min`, `2 h`, `1 h 30 min`."""
    _ = translator(spoken).gettext
    hours, rest = divmod(minutes, 60)
    if not hours:
        return _("{minutes} min").format(minutes=rest)
    if not rest:
        return _("{hours} h").format(hours=hours)
    return _("{hours} h {minutes} min").format(hours=hours, minutes=rest)


def _render(template: str, spoken: str, **values: Any) -> Markup:
    return Markup(_PAGES.get_template(template).render(_=translator(spoken).gettext, **values))
