"""What becomes of an event: it is written, folded with its equals, or makes an alarm.

A change writes its line in its own transaction (`Desk.note`). What is refused is only handed over here (`Auditor.hear`)
and written a second later by a thread, so that a flood of refusals costs one transaction a second.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import threading

from portal import notices
from portal.audit import Event, event, origin
from portal.audit.folding import Folding, Tries
from portal.audit.kinds import COUNTED, FLOODABLE
from portal.client import HubEvent, SignIn, Told
from portal.service.desk import Desk
from portal.settings import Section, Settings
from portal.store import Db, audit, people, register

log = logging.getLogger("portal.audit")

PORTAL = "process:portal"
ALARM_SECONDS = 3600
"""An alarm about the same subject is not repeated within this time."""
LETTERS_MOST = 5
"""Letters about one kind of alarm within that time: many addresses must not make many letters. The audit has them all."""
TOKEN_SECONDS = 300
LETTERS = {
    "alarm.brute-force": "refused-sign-ins-address",
    "alarm.chain-broken": "chain-broken",
    "alarm.shipping": "shipping-failed",
}
"""Alarms that a letter goes out for at once, and what the letter calls them."""
PENDING_MOST = 10_000
"""Events kept while the database cannot be written."""
SEEN_DAYS, SEEN_MOST = 400, 20
"""How long, and how many, places and browsers of a person are remembered."""


class Auditor:
    """One for the life of the service; safe to use from any thread."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._lock = threading.Lock()
        self._folding = Folding()
        self._pending: list[Event] = []
        self._alarming: dict[str, int] = {}
        settings = desk.settings.audit
        self._refusals = Tries(settings.refused_minutes * 60)
        self._bad_tokens = Tries(TOKEN_SECONDS)
        self._key = hmac.digest(desk.settings.secret("portal.key").encode(), b"sighting", "sha256")

    def started(self) -> None:
        """Write down that the portal began and which settings are new, and count on from before."""
        now, desk = self._desk.now(), self._desk
        with desk.store.write() as db:
            desk.note(db, PORTAL, "service.started")
            last = audit.last_of_each(db, "settings.changed")
            for section, digest in digests(desk.settings).items():
                if section not in last or json.loads(last[section].detail).get("sha256") != digest:
                    desk.note(db, PORTAL, "settings.changed", section, sha256=digest)
            for old in audit.since(db, "sign-in.refused", now - desk.settings.audit.refused_minutes * 60):
                self._count(old)

    def hear(self, what: str, who: str = "", subject: str = "", where: str = "", reason: str = "") -> None:
        """Take an event that anybody can cause; never waits, and is written soon."""
        now = self._desk.now()
        with self._lock:
            new = self._folding.take(event(now, who, what, subject, where, reason=reason), now)
            if new:
                self._pending.append(new)

    def bad_token(self, subject: str, where: str) -> bool:
        """Take a token that is not good; whether there were too many from this address."""
        self.hear("access.denied", subject=subject, where=where, reason="token")
        return self._too_many(where, self._desk.now())

    def _too_many(self, where: str, at: int, count: int = 1) -> bool:
        """Count bad tokens from an address, and keep the alarm for the next `flush` once there are too many."""
        limit = self._desk.settings.audit.bad_tokens
        with self._lock:
            number = self._bad_tokens.add(where, at, count)
            if number > limit >= number - count:
                self._alarming[where] = number
        return number > limit

    def flush(self, all: bool = False) -> None:
        """Write what was heard. all: also what would still be held back."""
        with self._lock:
            pending, self._pending = self._pending, []
            pending += self._folding.due(self._desk.now(), all)
            alarming, self._alarming = self._alarming, {}
        if not pending and not alarming:
            return
        try:
            with self._desk.store.write() as db:
                for one in pending:
                    self._append(db, one)
                for where, count in alarming.items():
                    facts = {"count": count, "minutes": TOKEN_SECONDS // 60}
                    raise_alarm(self._desk, db, "alarm.bad-tokens", where, where, **facts)
        except Exception:
            with self._lock:  # the next round tries again
                self._pending = (pending + self._pending)[:PENDING_MOST]
                self._alarming = alarming | self._alarming
            raise

    def take(self, told: Told) -> None:
        """Write what the hub tells, each event once however often it is told."""
        with self._desk.store.write() as db:
            last = audit.heard(db, told.stream)
            for one in told.events:
                if one.number > last:
                    self._take(db, one)
                    last = one.number
            audit.hear(db, told.stream, last, self._desk.now())

    def _take(self, db: Db, told: HubEvent) -> None:
        at = min(told.at, self._desk.now())
        if told.person:
            self._signed_in(db, told, told.person, at)
        elif told.what in FLOODABLE:
            new = event(at, told.who, told.what, told.subject, told.where, reason=told.reason)
            if told.what == "sign-in.refused":
                self._refused(db, new, told.count)
            elif told.reason == "token":
                self._too_many(told.where, at, told.count)
            for _each in range(min(told.count, 1000)):
                with self._lock:
                    through = self._folding.take(new, self._desk.now())
                if through:
                    self._append(db, through)
        else:
            facts: dict[str, str | int] = {"by": told.by} if told.by else {}
            if told.count > 1 or told.what == "events.dropped":
                facts["count"] = told.count
            audit.append(db, event(at, told.who, told.what, told.subject, told.where, **facts))
            self._desk.heard(told.what, told.subject)

    def _append(self, db: Db, new: Event) -> None:
        audit.append(db, new)
        facts = json.loads(new.detail)
        if facts.get("many"):
            raise_alarm(self._desk, db, "alarm.flood", new.what, count=facts["count"])

    # sign-ins

    def _refused(self, db: Db, new: Event, count: int) -> None:
        settings = self._desk.settings.audit
        for subject, number in self._count(new, count):
            if number >= settings.refused_sign_ins:
                raise_alarm(
                    self._desk,
                    db,
                    "alarm.brute-force",
                    subject,
                    new.where,
                    count=number,
                    minutes=settings.refused_minutes,
                )

    def _count(self, refused: Event, count: int = 1) -> list[tuple[str, int]]:
        """How often this person and this address were refused by now."""
        facts = json.loads(refused.detail)
        if facts.get("reason") not in COUNTED:
            return []
        count = max(count, int(facts.get("count", 1)))
        with self._lock:
            return [
                (key, self._refusals.add(key, refused.at, count))
                for key in (refused.who, refused.where)
                if key
            ]

    def _signed_in(self, db: Db, told: HubEvent, person: SignIn, at: int) -> None:
        """Record who it is; of a fresh sign-in also that it was, and whether it was from where the person usually is."""
        before = people.person(db, person.person)
        record(self._desk, db, person)
        if told.what == "sign-in":
            where, browser = told.where, told.browser
            audit.append(db, event(at, person.person, "sign-in", where=where, browser=browser))
            self._odd(db, person.person, where, browser, at)
        roles = (before.roles if before else frozenset(), frozenset(person.roles))
        if roles[0] != roles[1]:
            was, now = (" ".join(sorted(one)) or "-" for one in roles)
            detail = {"before": was, "after": now}
            audit.append(db, event(at, person.person, "role.changed", where=told.where, **detail))

    def _odd(self, db: Db, person: str, where: str, browser: str, at: int) -> None:
        """Raise an alarm on a new network with this browser, or on a new network while a session runs."""
        network = origin.network(where)
        place = self._mark("place", person, network)
        device = self._mark("device", person, f"{network} {browser}")
        known = audit.seen_before(db, person)
        if known:
            second = place not in known and bool(register.alive(db, person))
            if second or device not in known:
                reason = "second-session" if second else "new-device"
                raise_alarm(
                    self._desk, db, "alarm.odd-sign-in", person, where, browser=browser, reason=reason
                )
        audit.see(db, person, [place, device], at, SEEN_DAYS, SEEN_MOST)

    def _mark(self, sort: str, person: str, what: str) -> str:
        """A keyed hash: whoever reads the table learns neither where a person was nor what they used."""
        mac = hmac.digest(self._key, f"{person} {sort} {what}".encode(), "sha256")
        return f"{sort}:{mac.hex()[:40]}"


def record(desk: Desk, db: Db, who: SignIn) -> None:
    """Write down a person as the identity provider named them; safe to repeat."""
    unix_user = desk.settings.slurm.shared_user if desk.settings.slurm.accounts == "shared" else who.person
    seen = people.Person(
        who.person, who.issuer, who.subject, unix_user, who.name, who.email, frozenset(who.roles)
    )
    people.record(db, seen, desk.now())


def raise_alarm(
    desk: Desk, db: Db, what: str, subject: str, where: str = "", **detail: str | int | bool
) -> bool:
    """Write an alarm and tell whom it concerns, at most once an hour about the same subject; whether it was raised.

    Of an unusual sign-in the person learns, of the others those who answer for security.
    """
    now = desk.now()
    if audit.happened(db, what, subject, now - ALARM_SECONDS):
        return False
    desk.note(db, PORTAL, what, subject, where, **detail)
    log.warning("alarm: %s, %s", what, subject)
    key = f"{what}:{subject}:{now}"
    if what == "alarm.odd-sign-in":
        device = str(detail["browser"])
        notices.tell(desk, db, "sign-in-new-device", subject, key, at=now, where=where or "-", device=device)
    elif what in LETTERS and audit.count(db, PORTAL, what, now - ALARM_SECONDS) <= LETTERS_MOST:
        one_person = what == "alarm.brute-force" and subject != where
        notices.letter_to(
            desk,
            db,
            desk.settings.audit.alarm_to or desk.settings.site.contact,
            "alarm",
            key,
            alarm="refused-sign-ins-person" if one_person else LETTERS[what],
            at=now,
            who=subject if one_person else "-",
            where=where or "-",
            count=int(detail.get("count", 0)),
        )
    return True


def digests(settings: Settings) -> dict[str, str]:
    """SHA-256 of each section of the settings, in hex. Secrets are in files of their own, so none is in it."""
    found = {}
    for name in type(settings).model_fields:
        section = getattr(settings, name)
        facts = section.model_dump(mode="json") if isinstance(section, Section) else str(section)
        text = json.dumps(facts, sort_keys=True, ensure_ascii=True)
        found[name] = hashlib.sha256(text.encode()).hexdigest()
    return found
