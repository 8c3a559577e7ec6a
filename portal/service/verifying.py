"""Checks the chain of the audit again and again, a little at a time, so that nobody waits for it."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

from portal.audit import MISSING, Checker, Fault
from portal.service import shipping
from portal.service.auditing import raise_alarm
from portal.service.desk import Desk
from portal.store import audit

AT_ONCE = 500
PAUSE_SECONDS = 0.02
ANEW_SECONDS = 3600
"""How long after a check of everything the next begins; new lines are checked as they come."""


@dataclass(frozen=True)
class Verdict:
    """What the last look showed: lines 1 to `number` follow one another, or `fault` says where they do not."""

    number: int
    at: int
    fault: Fault | None = None


class Verifier:
    """One for the life of the service. verdict: None until the first check is through."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._anew = threading.Event()
        self._began = 0.0
        self._checker = Checker()
        self.verdict: Verdict | None = None

    def ask(self) -> None:
        """Have everything checked at the next look."""
        self._anew.set()

    def look(self, pause: float = PAUSE_SECONDS) -> Verdict:
        """Check the lines that are new, or all of them where that is due."""
        now = time.monotonic()
        if self._anew.is_set() or now - self._began > ANEW_SECONDS or self._checker.fault:
            self._anew.clear()
            self._checker, self._began = Checker(), now
        while not self._checker.fault:
            with self._desk.store.read() as db:
                links = list(audit.chain(db, after=self._checker.number, most=AT_ONCE))
            for item in links:
                self._checker.take(item)
            if len(links) < AT_ONCE:
                break
            time.sleep(pause)
        fault = self._checker.fault or self._missing()
        if fault and not (self.verdict and self.verdict.fault == fault):
            self._alarm(fault)
        self.verdict = Verdict(self._checker.number, self._desk.now(), fault)
        return self.verdict

    def _missing(self) -> Fault | None:
        """Lines at the end leave no gap behind; but what was shipped must still be there, and what was checked as well."""
        with self._desk.store.read() as db:
            if self._checker.number and not audit.at_number(db, self._checker.number):
                last = audit.head(db)
                return Fault(last.number + 1 if last else 1, MISSING)
            return shipping.missing(db, shipping.mark(self._desk.settings))

    def _alarm(self, fault: Fault) -> None:
        with self._desk.store.write() as db:
            raise_alarm(self._desk, db, "alarm.chain-broken", str(fault.line))
