"""The allocation dashboard: what is left of each of my grants, what is committed, what was spent, until when."""

from __future__ import annotations

from portal.client import Allocation, Client, GrantView
from portal.dashboards import live
from portal.dashboards.pieces import DAY, Reader, as_at, bar, hours_figure, last_day, status, text
from portal.forecast import told
from portal.units import date_words, gpu_hours, money

REGIONS = ("title", "age", "notice", "grants")
HISTORY_DAYS = 30


def show() -> None:
    """Draw the dashboard in the notebook and keep it up to date."""
    live.show(REGIONS, _read, render)


async def _read(client: Client, reader: Reader) -> Allocation:
    return await client.allocation(reader.language)


def render(view: Allocation, reader: Reader) -> dict[str, str]:
    """The page in pieces: region > HTML."""
    _ = reader.say
    grants = "".join(_grant(grant, view.at, reader) for grant in view.grants) or _empty(reader)
    return {
        "title": f'<h1 class="page-title">{text(_("What is left of my grants"))}</h1>',
        "age": as_at(view.as_at, reader) if view.grants else "",
        "grants": grants,
    }


def _empty(reader: Reader) -> str:
    _ = reader.say
    ask = _("Who to ask: %(contact)s") % {"contact": reader.contact} if reader.contact else ""
    return (
        f'<div class="empty"><p class="lede">{text(_("You have no grant yet."))}</p><p>{text(ask)}</p></div>'
    )


def _grant(grant: GrantView, now: int, reader: Reader) -> str:
    return (
        '<section class="region">'
        f'<div class="region-head"><h2>{text(grant.title)}</h2><span class="quiet">{text(grant.code)} · '
        f"{text(grant.organisation)}</span>{_state(grant, reader)}</div>"
        f'<div class="grant-body"><div class="grant-evidence">{_figures(grant, reader)}'
        f"{_outlook(grant, reader)}{_sparkline(grant, reader)}</div>{_terms(grant, now, reader)}</div></section>"
    )


def _state(grant: GrantView, reader: Reader) -> str:
    _ = reader.say
    words = {
        "active": ("running", _("Active")),
        "ending": ("attention", _("Ends soon")),
        "exhausted": ("attention", _("Used up")),
        "suspended": ("attention", _("Suspended")),
        "draft": ("waiting", _("Not decided yet")),
        "not-started": ("waiting", _("Not started yet")),
        "expired": ("stopped", _("Ended")),
        "closing": ("stopped", _("Ended, last jobs being booked")),
        "closed": ("stopped", _("Closed")),
    }
    return status(*words.get(grant.state, ("stopped", grant.state)))


def _figures(grant: GrantView, reader: Reader) -> str:
    _ = reader.say
    if grant.balance < 0:
        left = hours_figure(-grant.balance, reader, _("overrun"), "figure-large figure-attention")
    else:
        kind = "figure-large" + (" figure-attention" if grant.available <= 0 else "")
        left = hours_figure(grant.balance, reader, _("left"), kind)
    committed = min(max(0, grant.committed), max(0, grant.balance))
    free = max(0, grant.balance - committed)
    small = (
        ("spent", grant.spent, _("spent")),
        ("committed", grant.committed, _("of it committed")),
        ("left", grant.available, _("free to start with")),
    )
    others = "".join(
        hours_figure(amount, reader, label, "figure-small", part) for part, amount, label in small
    )
    drawn = bar({"spent": max(0, grant.spent), "committed": committed, "left": free})
    return f'{left}{drawn}<div class="figure-row">{others}</div>'


def _outlook(grant: GrantView, reader: Reader) -> str:
    """Why it cannot be used, or until when it lasts at this pace and how that was worked out."""
    if grant.remedy or grant.run_out is None:
        return f"<p>{text(grant.remedy)}</p>" if grant.remedy else ""
    lasts, how = told(
        grant.run_out.forecast,
        reader.say,
        gpu_hours,
        lambda at: date_words(at, reader.timezone, reader.language),
    )
    return f'<p>{text(lasts)} <span class="small quiet">{text(how)}</span></p>' if lasts else ""


def _sparkline(grant: GrantView, reader: Reader) -> str:
    """Spent a day, the last 30 days; a day without a record is a day of nothing."""
    _ = reader.say
    if not grant.history:
        return ""
    spent = {day // DAY: amount for day, amount in grant.history}
    newest = max(spent)
    days = [max(0, spent.get(day, 0)) for day in range(newest - HISTORY_DAYS + 1, newest + 1)]
    most = max(days)
    if not most:
        return ""
    bars = "".join(
        f'<rect x="{10 * index}" y="{48 - 46 * amount / most:.1f}" width="8" height="{46 * amount / most:.1f}"/>'
        for index, amount in enumerate(days)
    )
    words = _("Spent a day over %(days)d days; the most on one day was %(hours)s GPU-hours") % {
        "days": HISTORY_DAYS,
        "hours": gpu_hours(most),
    }
    return (
        f'<div><svg class="sparkline" viewBox="0 0 {10 * HISTORY_DAYS} 49" preserveAspectRatio="none" '
        f'aria-hidden="true">{bars}<line x1="0" y1="48.5" x2="{10 * HISTORY_DAYS}" y2="48.5"/></svg>'
        f'<p class="small quiet">{text(words)}</p></div>'
    )


def _terms(grant: GrantView, now: int, reader: Reader) -> str:
    """When it ends, my part in it, and what was spent in money: list, subsidy, own share, in that order."""
    _ = reader.say
    roles = {"pi": _("Principal investigator"), "manager": _("Manager"), "member": _("Member")}
    days = (grant.ends - now) // DAY
    left = _("%(days)d days left") % {"days": days} if days > 0 else ""
    rows = [
        (_("Ends"), last_day(grant.ends, reader) + (f" · {left}" if left else "")),
        (_("My part"), roles.get(grant.role, grant.role)),
        (_("Spent so far, list price"), money(grant.list_cents, reader.currency)),
        (_("Subsidy"), money(-grant.subsidy_cents, reader.currency)),
    ]
    lines = "".join(f"<div><dt>{text(name)}</dt><dd>{text(value)}</dd></div>" for name, value in rows)
    own = f"<dt>{text(_('Own share'))}</dt><dd>{text(money(grant.own_cents, reader.currency))}</dd>"
    return f'<dl class="receipt">{lines}<div class="receipt-total">{own}</div></dl>'
