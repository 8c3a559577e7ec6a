"""Asks the portal whether a session may start. No answer in time is a no: starts fail closed (design, decision 3)."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from datetime import datetime
from zoneinfo import ZoneInfo

from jupyterhub.spawner import SpawnException
from pydantic import ValidationError

from portal import reasons
from portal.client import Admitted, Client, Refused, SessionRequest, Unreachable

ANSWER_SECONDS = 2.0
"""How long a start waits for the portal."""
_REASON = re.compile(r"[a-z][a-z_-]{0,30}")


class Admission:
    """One portal, as the starts of this process see it. timezone: in which people read times."""

    def __init__(self, client: Client, timezone: str, log: logging.Logger) -> None:
        self.client, self._zone, self._log = client, ZoneInfo(timezone), log
        self._away_since: float | None = None

    async def ask(self, request: SessionRequest) -> Admitted:
        """Return the registered session.

        Raises:
            SpawnException: the portal refuses, or does not answer in time; the message is for the person.
        """
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                admitted = await self.client.request_session(request)
        except Refused as no:
            if no.status in (401, 403) and not no.field:
                self._log.error("The portal refuses the hub itself: %s", no.message)
                raise SpawnException(
                    reasons.say("hub-refused", request.language), reason="portal", status_code=503
                ) from None
            raise _refusal(no) from None
        except (Unreachable, TimeoutError, ValidationError) as error:
            self._log.warning("No session can be started: %s", str(error) or "the portal is too slow")
            self._away_since = self._away_since or time.time()
            raise self._away(self._away_since, request.language) from None
        self._away_since = None
        return admitted

    def _away(self, since: float, language: str) -> SpawnException:
        clock = datetime.fromtimestamp(since, self._zone).strftime("%H:%M")
        return SpawnException(reasons.say("portal", language, time=clock), reason="portal", status_code=503)


def _refusal(no: Refused) -> SpawnException:
    """In the portal's words, which name what is wrong in the language of who asked."""
    reason = no.field or no.code
    return refused(no.message, reason if _REASON.fullmatch(reason) else "refused")


def refused(message: str, field: str) -> SpawnException:
    """A no to a start. A form marks the field itself; a program that asked over REST reads its name behind the words."""
    error = SpawnException(message, reason=field)
    error.jupyterhub_message = f"{message} ({field})"  # JupyterHub answers REST calls with it
    return error
