"""Whether the portal answers, and telling it who signed in. The hub goes on without it."""

from __future__ import annotations

import asyncio
import logging
import time

from portal.client import Client, Refused, SignIn, Unreachable

LOOK_SECONDS = 2.0


class PortalWatch:
    """Looks at the portal in the background, so that no page of the hub ever waits for it.

    up: whether the last look was answered; None before the first. since: when `up` last changed (clock of the host).
    """

    def __init__(self, client: Client, log: logging.Logger) -> None:
        self.up: bool | None = None
        self.since = time.time()
        self._client = client
        self._log = log
        self._untold: dict[str, SignIn] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look; safe to call twice."""
        if self._task is None:
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

    async def tell(self, who: SignIn) -> None:
        """Tell the portal who signed in; if it does not answer, as soon as it does."""
        self._untold[who.person] = who
        await self._tell_untold()

    async def _keep_looking(self) -> None:
        while True:
            if await self.look():
                await self._tell_untold()
            await asyncio.sleep(LOOK_SECONDS)

    async def _tell_untold(self) -> None:
        for person, who in list(self._untold.items()):
            try:
                await self._client.sign_in(who)
            except Unreachable as error:
                self._log.warning("Sign-in of %s is not yet known to the portal: %s", person, error)
                return
            except Refused as error:
                self._log.error("The portal refuses the sign-in of %s: %s", person, error)
            if self._untold.get(person) is who:
                del self._untold[person]
