"""A person's tokens for scripts: see them, make one, revoke one. Forms alone, so that it works without scripts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from jupyterhub.handlers.base import BaseHandler
from tornado import web

from portal.hub.language import current
from portal.hub.language import gettext as _
from portal.hub.refusal import Refusal, Step
from portal.units import moment

HOURS = (1, 4, 8)
"""How long a token may live; the last is as long as a sign-in of the browser."""
MOST = 10
LONGEST_NAME = 60
SCOPES = ("read:users!user", "servers!user", "access:servers!user")
"""What a script may do: read its person's state, start and stop that person's sessions, and open them."""
PATH = "/hub/token"
HUB = "jupyterhub"
"""The hub's name for itself as the issuer of a token; others are of browsers that signed in to a service."""
SESSION = "Server at "
"""How the hub's own note of a session's token begins."""


@dataclass(frozen=True)
class Token:
    """One row of the page; instants as people read them."""

    id: str
    name: str
    made: str
    used: str
    ends: str
    session: bool


class Tokens(BaseHandler):
    """GET shows them, POST makes or revokes one. The new one is shown once, in the answer itself."""

    @web.authenticated
    async def get(self) -> None:
        await self._show()

    @web.authenticated
    async def post(self) -> None:
        if self.get_argument("revoke", ""):
            self._revoke(self.get_argument("revoke"))
            self.redirect(PATH)
            return
        name = " ".join(self.get_argument("name", "").split())
        if not name or len(name) > LONGEST_NAME or not name.isprintable() or name.startswith(SESSION):
            await self._show(fault=_("Give the token a name of 1 to 60 letters, which says what it is for."))
            return
        if len(list(self._kept())) >= MOST:
            await self._show(fault=_("You have 10 tokens already. Revoke one that you no longer need first."))
            return
        await self._show(made=self._make(name))

    def _make(self, name: str) -> str:
        hours = self.get_argument("hours", "")
        if hours not in [str(offered) for offered in HOURS]:
            raise Refusal(
                400,
                _("There is no such choice"),
                _("Choose one of the times that the page offers."),
                Step(_("Tokens for scripts"), PATH),
            )
        token: str = self.current_user.new_api_token(
            note=name, expires_in=int(hours) * 3600, scopes=list(SCOPES)
        )
        self.log.info("%s made a token for scripts, good for %s h", self.current_user.name, hours)
        return token

    def _revoke(self, id: str) -> None:
        for token in self._kept():
            if token.api_id == id:
                self.db.delete(token)
                self.db.commit()
                self.log.info("%s revoked a token for scripts", self.current_user.name)

    def _kept(self) -> Iterator[Any]:
        """The tokens that still hold and were made for scripts, the newest first."""
        yield from (token for token in self._all() if not (token.note or "").startswith(SESSION))

    def _all(self) -> list[Any]:
        now = datetime.now(UTC).replace(tzinfo=None)
        held = (
            token
            for token in self.current_user.api_tokens
            if token.client_id == HUB and (token.expires_at is None or token.expires_at > now)
        )
        return sorted(held, key=lambda token: token.created or now, reverse=True)

    async def _show(self, made: str = "", fault: str = "") -> None:
        self.set_header("Cache-Control", "no-store")
        page = self.render_template(
            "token.html",
            tokens=[self._row(token) for token in self._all()],
            hours=HOURS,
            most_letters=LONGEST_NAME,
            made=made,
            fault=fault,
            api=f"{self.authenticator.portal.web.url}/hub/api",
        )
        if fault:
            self.set_status(400)
        self.finish(await page)

    def _row(self, token: Any) -> Token:
        session = (token.note or "").startswith(SESSION)
        return Token(
            id=token.api_id,
            name=_("Your session") if session else str(token.note or ""),
            made=self._when(token.created),
            used=self._when(token.last_activity),
            ends=self._when(token.expires_at),
            session=session,
        )

    def _when(self, instant: datetime | None) -> str:
        """JupyterHub keeps UTC without saying so."""
        if instant is None:
            return ""
        seconds = int(instant.replace(tzinfo=UTC).timestamp())
        return moment(seconds, self.authenticator.portal.site.timezone, current())


class Closed(BaseHandler):
    """Pages of JupyterHub that nobody has a use for here: its administration, and sharing of sessions."""

    def get(self, *_: Any) -> None:
        raise web.HTTPError(404)
