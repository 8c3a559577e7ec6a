"""What goes on in the background for the audit: events are written, the chain is checked, lines are shipped."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from portal.service import shipping
from portal.service.auditing import Auditor, raise_alarm
from portal.service.desk import Desk
from portal.service.verifying import Verifier

log = logging.getLogger("portal.audit")

WRITE_SECONDS, CHECK_SECONDS, SHIP_SECONDS = 1.0, 30.0, 2.0
PATIENCE = 30
"""Rounds of shipping that may fail before an alarm is raised: the first minutes of an outage are the log's affair."""


@contextmanager
def kept(desk: Desk, auditor: Auditor, verifier: Verifier) -> Iterator[None]:
    """Do all of it while the service runs."""
    auditor.started()
    over = threading.Event()
    work: dict[str, tuple[float, Callable[[], object]]] = {
        "write": (WRITE_SECONDS, auditor.flush),
        "check": (CHECK_SECONDS, verifier.look),
    }
    if desk.settings.audit.ship:
        work["ship"] = (SHIP_SECONDS, Shipper(desk).once)
    threads = [
        threading.Thread(target=_again, args=(name, over, *each), name=f"audit-{name}", daemon=True)
        for name, each in work.items()
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join(5)
        auditor.flush(all=True)


def _again(name: str, over: threading.Event, seconds: float, once: Callable[[], object]) -> None:
    """Do one thing over and over; an error is logged, and the next round tries again."""
    while True:
        try:
            once()
        except Exception:
            log.exception("audit: %s failed", name)
        if over.wait(seconds):
            return


class Shipper:
    """Ships, says in the log when that begins to fail and when it is well again, and raises an alarm if it stays so."""

    def __init__(self, desk: Desk) -> None:
        self._desk, self._failed = desk, 0

    def once(self) -> None:
        try:
            shipping.ship(self._desk.settings, self._desk.store)
        except shipping.Tampered as error:
            if not self._failed:  # the check of the chain finds it too, and raises the alarm
                log.error("the audit is not shipped: %s", error)
            self._failed += 1
        except shipping.ShippingError as error:
            if not self._failed:
                log.warning("the audit is not shipped for now: %s", error)
            self._failed += 1
            if self._failed == PATIENCE:
                with self._desk.store.write() as db:
                    raise_alarm(self._desk, db, "alarm.shipping", self._desk.settings.audit.ship[:200])
        else:
            if self._failed:
                log.info("the audit is shipped again")
            self._failed = 0
