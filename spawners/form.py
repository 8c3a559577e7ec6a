"""The start form: what the portal offers to this person, every price as the portal worked it out."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from pydantic import ValidationError

from portal import reasons
from portal.client import Client, Offering, Refused, Unreachable
from portal.hub.language import current, script
from portal.locale import translator
from portal.settings import Settings
from portal.units import gpu_hours, money

_PAGES = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
)


def language() -> str:
    """The language of the person who is asking."""
    return current()


async def render(settings: Settings, portal: Client, person: str, log: logging.Logger) -> Markup:
    """The form for this person; a sentence and no form where nothing can be started."""
    spoken = language()
    try:
        offering = await portal.offering(person, spoken)
    except (Unreachable, Refused, ValidationError) as error:
        log.warning("No start form for %s: %s", person, error)
        return closed(settings, spoken, reasons.say("form", spoken))
    return open_form(settings, offering, spoken)


def closed(settings: Settings, spoken: str, refusal: str) -> Markup:
    """Only the sentence, and whom to ask."""
    return _render("form_closed.html", spoken, refusal=refusal, contact=settings.site.contact)


def open_form(settings: Settings, offering: Offering, spoken: str) -> Markup:
    """The choices, and the table of prices that the script shows one line of."""
    if offering.refusal or not offering.grants:
        return closed(settings, spoken, offering.refusal)
    _ = translator(spoken).gettext
    return _render(
        "form.html",
        spoken,
        offering=offering,
        times=[(minutes, duration(minutes, spoken)) for minutes in offering.minutes],
        prices=json.dumps(prices(settings, offering, spoken), ensure_ascii=False),
        hours=gpu_hours,
        script=script("start-form.js"),
    )


def prices(
    settings: Settings, offering: Offering, spoken: str
) -> dict[str, dict[str, dict[int, dict[str, str]]]]:
    """Grant > size > minutes > the words of the price box: list, subsidy, own, leaves, and the refusal or nothing."""
    _ = translator(spoken).gettext
    currency = settings.site.currency
    return {
        grant: {
            size: {
                minutes: {
                    "list": money(quote.list_cents, currency),
                    "subsidy": money(-quote.subsidy_cents, currency),
                    "own": money(quote.own_cents, currency),
                    "leaves": _("%s GPU-hours") % gpu_hours(quote.leaves),
                    "refusal": offering.refusals.get(grant, {}).get(size, {}).get(minutes, ""),
                }
                for minutes, quote in by_minutes.items()
            }
            for size, by_minutes in by_size.items()
        }
        for grant, by_size in offering.quotes.items()
    }


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
