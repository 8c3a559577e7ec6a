"""Whether the portal answers, and telling it what happened at the hub. The hub goes on without it."""

from __future__ import annotations

import asyncio
import json
import logging
import time

from portal.audit import Event, event
from portal.audit.folding import Folding
from portal.audit.kinds import FLOODABLE
from portal.client import Client, Refused, SignIn, Told, Unreachable
from portal.hub.spool import Spool

LOOK_SECONDS = 2.0
AT_ONCE = 20
"""So many equal refusals a minute are told one by one; of the others only the number."""


class PortalWatch:
    """Looks at the portal in the background, so that no page of the hub ever waits for it.

    up: whether the last look was answered; None before the first. since: when `up` last changed (clock of the host).
    """

    def __init__(self, client: Client, spool: Spool, log: logging.Logger) -> None:
        self.up: bool | None = None
        self.since = time.time()
        self._client = client
        self._spool = spool
        self._log = log
        self._telling = asyncio.Lock()
        self._folding = Folding(free=AT_ONCE, most=200)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look; safe to call twice."""
        if self._task is None:
            self.note("service.started", "process:hub")
            self._task = asyncio.get_running_loop().create_task(self._keep_looking())

    async def look(self) -> bool:
        """Ask the portal once whether it answers."""
        try:
            await self._client.health()
            answers = True
        except Refused:
            answers = True  # it answers, if only to say no
        except Unreachable:
            answers = False
        if answers != self.up:
            self.up, self.since = answers, time.time()
            self._log.log(
                logging.INFO if answers else logging.WARNING,
                "The portal %s",
                "answers" if answers else "does not answer: /hub/home is shown instead",
            )
        return answers

    def note(
        self, what: str, who: str = "", subject: str = "", where: str = "", reason: str = "", by: str = ""
    ) -> None:
        """Keep an event for the portal; it is told within a few seconds, or once the portal answers."""
        now = int(time.time())
        new = event(now, who, what, subject, where, reason=reason)
        if what in FLOODABLE and not self._folding.take(new, now):
            return
        self._spool.add(what, who=who, subject=subject, where=where, reason=reason, by=by)

    async def tell(self, what: str, who: SignIn, where: str = "", browser: str = "") -> None:
        """Tell the portal who signed in; if it does not answer, as soon as it does."""
        self._spool.add(what, who=who.person, where=where, browser=browser, person=who)
        await self._tell_untold()

    async def _keep_looking(self) -> None:
        while True:
            try:
                for folded in self._folding.due(int(time.time())):
                    self._add_folded(folded)
                if await self.look():
                    await self._tell_untold()
            except Exception:
                self._log.exception("A look at the portal failed; the next comes")
            await asyncio.sleep(LOOK_SECONDS)

    def _add_folded(self, folded: Event) -> None:
        """Keep what was held back of equal events, as one with a count."""
        told = json.loads(folded.detail)
        reason = "many" if told.get("many") else str(told.get("reason", ""))
        self._spool.add(
            folded.what,
            at=folded.at,
            who=folded.who,
            subject=folded.subject,
            where=folded.where,
            reason=reason,
            count=told["count"],
        )

    async def _tell_untold(self) -> None:
        async with self._telling:
            while told := self._spool.next():
                try:
                    await self._client.tell(told)
                except Unreachable as error:
                    self._log.warning(
                        "%d events are not yet known to the portal: %s", len(self._spool), error
                    )
                    return
                except Refused as error:
                    if not await self._tell_singly(told, error):
                        return
                self._spool.told(told.events[-1].number)

    async def _tell_singly(self, told: Told, error: Refused) -> bool:
        """One event that the portal cannot read must not hold up all others. False if it refuses the hub itself."""
        if error.status != 400:
            self._log.error("The portal refuses what the hub tells it: %s", error)
            return False
        for one in told.events:
            try:
                await self._client.tell(Told(stream=told.stream, events=[one]))
            except Unreachable:
                return False
            except Refused as no:
                self._log.error("The portal refuses event %d (%s): %s", one.number, one.what, no)
                self._spool.dropped += 1
        return True
