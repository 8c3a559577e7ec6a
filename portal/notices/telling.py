"""Telling somebody something, in the transaction in which it happened."""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from portal.notices.kinds import ALARMS, CAUSES, KINDS, Channel, Kind
from portal.service.desk import Desk
from portal.settings import Settings
from portal.store import Db, notices
from portal.store.notices import Notice, Preference

LONGEST = 200
"""Characters of a value at most; what people attach may be ATTACHED long."""
ATTACHED = 100_000


def tell(desk: Desk, db: Db, kind: str, person: str, key: str, **values: str | int) -> None:
    """Tell a person something, once for a key. Writes a row in the caller's transaction; nothing is sent here.

    kind: a name in KINDS. person: opaque id. key: stable name of the event, such as `session-ended:<id>`.
    values: ids, milli-GPU-seconds, cents, seconds: as they are; they are put into words for the reader.

    Raises:
        ValueError: a value is missing, unknown, or not in its list.
    """
    one = KINDS[kind]
    _check(one, values)
    now = desk.now()
    wishes = notices.wishes(db, person)
    due = None
    if desk.settings.mail.host and wants(one, wishes, "mail"):
        due = now if one.essential else quiet_end(desk.settings, wishes, now)
        if one.good_for and due - now > one.good_for:
            due = None
    notices.add(db, Notice(key[:LONGEST], person, kind, _short(one, values), now, mail_due=due))


def letter_to(
    desk: Desk, db: Db, address: str, kind: str, key: str, *, reply_to: str = "", **values: str | int
) -> bool:
    """Write to an address rather than a person, once for a key. False where the site sends no mail.

    Raises:
        ValueError: a value is missing, unknown, or not in its list.
    """
    one = KINDS[kind]
    _check(one, values)
    if not desk.settings.mail.host:
        return False
    now = desk.now()
    letter = Notice(key[:LONGEST], "", kind, _short(one, values), now, address, reply_to, mail_due=now)
    notices.add(db, letter)
    return True


def send_report(desk: Desk, db: Db, key: str, subject: str, text: str, reply_to: str = "") -> bool:
    """Send a person's report of a problem to those who run the portal. False where the site sends no mail.

    text: follows as it stands, at most ATTACHED characters of it. reply_to: the person's address.
    """
    site = desk.settings.site
    address = site.operators or site.contact
    return letter_to(desk, db, address, "problem-report", key, reply_to=reply_to, subject=subject, text=text)


def wants(kind: Kind, wishes: Preference, channel: Channel) -> bool:
    """Whether a kind reaches a person this way: as chosen, else as usual."""
    usual = kind.mail if channel == "mail" else kind.browser
    if kind.essential:
        return usual
    return f"{channel}+{kind.name}" in wishes.choices or (
        usual and f"{channel}-{kind.name}" not in wishes.choices
    )


def quiet_end(settings: Settings, wishes: Preference, now: int) -> int:
    """When a letter that can wait may go: now, or when the person's quiet hours end."""
    mail, zone = settings.mail, ZoneInfo(settings.site.timezone)
    start = mail.quiet_from if wishes.quiet_from is None else wishes.quiet_from
    end = mail.quiet_until if wishes.quiet_until is None else wishes.quiet_until
    local = datetime.fromtimestamp(now, zone)
    quiet = start <= local.hour < end if start < end else local.hour >= start or local.hour < end
    if start == end or not quiet:
        return now
    opens = local.replace(hour=end, minute=0, second=0, microsecond=0)
    if opens <= local:
        opens += timedelta(days=1)
    return int(opens.timestamp())


def _check(kind: Kind, values: dict[str, str | int]) -> None:
    if values.keys() != kind.places:
        raise ValueError(f"{kind.name} takes the values {sorted(kind.places)}, not {sorted(values)}")
    for name, known in (("cause", CAUSES), ("alarm", ALARMS)):
        if name in values and values[name] not in known:
            raise ValueError(f"{name} = {values[name]!r}; allowed: {sorted(known)}")


def _short(kind: Kind, values: dict[str, str | int]) -> dict[str, str | int]:
    def bounded(name: str, value: str | int) -> str | int:
        if not isinstance(value, str):
            return value
        return value[: ATTACHED if name == kind.attached else LONGEST]

    return {name: bounded(name, value) for name, value in values.items()}
