"""Sends the letters that wait, and looks after notices in the background: one thread of the portal service.

Before the text of a letter goes out, its next try is moved into the future and it is marked; afterwards it is settled.
So a crash between the server's yes and ours sends it once more at most, with the same Message-ID.

A server that cannot be reached, or that no longer lets us in or our sender through, holds up all letters, with growing
pauses. Any other 4xx answer puts off the one letter, a 5xx answer refuses it for good.
"""

from __future__ import annotations

import logging
import smtplib
import socket
import ssl
import threading
from contextlib import suppress
from urllib.parse import urlsplit

from portal.locale import CHINESE, ENGLISH
from portal.notices import watch
from portal.notices.kinds import KINDS
from portal.notices.letters import NoAddress, letter
from portal.notices.telling import wants
from portal.notices.wording import plain
from portal.service.desk import Desk
from portal.settings import Mail, Settings, SettingsError
from portal.store import notices, people
from portal.store.notices import Notice

log = logging.getLogger("portal.notices")

TICK = 5.0
"""Seconds between two looks at what waits."""
WATCH_SECONDS = 60
"""Seconds between two looks at what nobody does and yet happens."""
TIDY_SECONDS = 3600
KEEP_SECONDS = 90 * 86_400
"""Older notices are deleted."""
PATIENCE_SECONDS = 3 * 86_400
"""A letter that could not be sent for so long is given up."""
AT_ONCE = 50
"""Letters over one connection."""
ANSWER_SECONDS = 20.0
"""How long a mail server may take for one answer."""

SENDING = "interrupted while it was sent"
SENDING_AGAIN = "interrupted while it was sent, twice"


class Outage(Exception):
    """The mail server takes nothing at present. The message says why, without a secret."""


def pause(tries: int) -> int:
    """Seconds before a letter's next try: 1, 2, 4 ... minutes, at most 4 hours."""
    return int(min(60 * 2 ** min(tries, 10), 4 * 3600))


class Post:
    """The background thread. `start` and `stop` are called by the service; `round` is what it does each time."""

    def __init__(self, desk: Desk, tick: float = TICK) -> None:
        self._desk, self._tick = desk, tick
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="notices", daemon=True)
        self._server: smtplib.SMTP | None = None
        self._outages, self._outage, self._again = 0, "", 0
        self._watched, self._tidied, self._ledger = 0, 0, 0

    def start(self) -> None:
        self._thread.start()

    def stop(self, seconds: float = 2.0) -> None:
        """End the thread, in the middle of a letter if need be: it is sent again after the next start."""
        self._over.set()
        server = self._server
        if server is not None and isinstance(server.sock, socket.socket):
            with suppress(OSError):
                server.sock.shutdown(socket.SHUT_RDWR)
        if self._thread.is_alive():
            self._thread.join(seconds)

    def _run(self) -> None:
        while not self._over.is_set():
            try:
                self.round()
            except Exception:  # whatever it is, the next round may go well, and letters are kept
                log.exception("a round of the notices failed")
            self._over.wait(self._tick)

    def round(self) -> None:
        """Watch and tidy where it is time to, and send what is due."""
        now = self._desk.now()
        if not 0 <= now - self._watched < WATCH_SECONDS:
            self._watched = now
            self._ledger = watch.grants_low(self._desk, self._ledger)
            watch.jobs_stuck(self._desk)
        if not 0 <= now - self._tidied < TIDY_SECONDS:
            self._tidied = now
            watch.grants_ending(self._desk)
            self._tidy(now)
        if self._desk.settings.mail.host:
            self.send(now)

    def _tidy(self, now: int) -> None:
        with self._desk.store.write() as db:
            notices.forget(db, now - KEEP_SECONDS)
            if not self._desk.settings.mail.host:
                notices.drop_waiting(db, "no mail server is set")

    def send(self, now: int) -> None:
        """Send what is due, as far as the server takes it."""
        with self._desk.store.read() as db:
            waiting = notices.due(db, now, AT_ONCE)
        for late in waiting:
            if now - late.at > PATIENCE_SECONDS:
                self._give_up(
                    late, f"given up after 3 days: {late.mail_fault or self._outage or 'no answer'}"
                )
        waiting = [one for one in waiting if now - one.at <= PATIENCE_SECONDS]
        if not waiting or now < self._again:
            return
        try:
            with suppress(smtplib.SMTPException, OSError), connect(self._desk.settings) as server:
                self._server = server
                self._again = 0
                for one in waiting:
                    if self._over.is_set():
                        break
                    self._send_one(server, one, now)
        except Outage as outage:
            self._wait_for_server(outage, now)
        finally:
            self._server = None

    def _wait_for_server(self, outage: Outage, now: int) -> None:
        self._outages += 1
        self._outage = str(outage)
        seconds = min(600, 5 * 2 ** min(self._outages, 10))
        self._again = now + seconds
        log.warning("the mail server takes no letters: %s; next try in %d s", outage, seconds)

    def _send_one(self, server: smtplib.SMTP, one: Notice, now: int) -> None:
        to, languages = self._reader(one, now)
        if not languages:
            self._settle(one, mail_due=None)
            return
        if one.mail_fault == SENDING_AGAIN:
            self._give_up(one, f"{SENDING_AGAIN}: it may have arrived")
            return
        try:
            message = letter(self._desk.settings, one, languages, to, now)
        except (NoAddress, ValueError, KeyError) as error:
            self._give_up(one, str(error) if isinstance(error, NoAddress) else "the letter cannot be written")
            return
        put_off = now + pause(one.mail_tries)
        later: dict[str, int | str | None] = {"mail_due": put_off, "mail_tries": one.mail_tries + 1}
        answer: bytes | str
        try:
            code, answer = server.mail(self._desk.settings.mail.sender)
            if code != 250:
                raise Outage(f"the sender is refused: {said(code, answer)}")
            code, answer = server.rcpt(to)
            if code in (250, 251):
                self._settle(one, **later, mail_fault=SENDING_AGAIN if one.mail_fault == SENDING else SENDING)
                code, answer = server.data(message.as_bytes())
        except smtplib.SMTPResponseException as refused:  # of DATA, before anything was sent
            code, answer = refused.smtp_code, refused.smtp_error
        except (smtplib.SMTPException, OSError) as error:
            self._settle(one, **later)
            raise Outage(f"the connection broke: {type(error).__name__}") from None
        except Outage as outage:
            self._settle(one, **later, mail_fault=str(outage))
            raise
        if code in (250, 251):
            wiped = {"values": "{}", "reply_to": ""} if one.address else {}
            self._settle(one, mail_due=None, mail_done=now, mail_fault="", **wiped)
            self._outages = 0
            return
        with suppress(smtplib.SMTPException, OSError):
            server.rset()
        if 400 <= code < 500:
            self._settle(one, **later, mail_fault=said(code, answer))
        else:
            self._give_up(one, said(code, answer))

    def _reader(self, one: Notice, now: int) -> tuple[str, list[str]]:
        """Address and languages of a letter; no languages: it need not be sent any more."""
        both = [CHINESE, ENGLISH]
        if one.address:
            return one.address, both
        kind = KINDS.get(one.kind)
        with self._desk.store.read() as db:
            wishes, person = notices.wishes(db, one.person), people.person(db, one.person)
        if kind is None or (not kind.essential and _is_moot(one, now)):
            return "", []
        if not wants(kind, wishes, "mail"):
            return "", []
        language = wishes.language or wishes.heard
        return person.email.strip() if person else "", [language] if language else both

    def _give_up(self, one: Notice, fault: str) -> None:
        log.error("letter %d of kind %s is not sent: %s", one.number, one.kind, fault)
        self._settle(one, mail_due=None, mail_fault=fault)

    def _settle(self, one: Notice, **values: int | str | None) -> None:
        with self._desk.store.write() as db:
            notices.change(db, one.number, **values)


def _is_moot(one: Notice, now: int) -> bool:
    """A letter that can wait says nothing new to who has read the notice, or after its time."""
    good_for = KINDS[one.kind].good_for
    return one.read is not None or (good_for > 0 and now - one.at > good_for)


def connect(settings: Settings) -> smtplib.SMTP:
    """A connection ready for letters.

    Raises:
        Outage: no connection, no trust in its certificate, or we are not let in.
    """
    mail = settings.mail
    server: smtplib.SMTP | None = None
    try:
        password = settings.secret("smtp.password") if mail.user else ""
        server = _open(mail, urlsplit(settings.web.url).hostname or "localhost")
        if mail.security == "starttls":
            server.starttls(context=_trust(mail))
        server.ehlo_or_helo_if_needed()
        if mail.user:
            server.login(mail.user, password)
    except (SettingsError, smtplib.SMTPException, OSError) as error:
        if server is not None:
            server.close()
        raise Outage(_why(error)) from None
    return server


def _open(mail: Mail, name: str) -> smtplib.SMTP:
    """name: what we call ourselves; left out, Python asks the name service, which may take long."""
    if mail.security == "tls":
        return smtplib.SMTP_SSL(mail.host, mail.port, name, timeout=ANSWER_SECONDS, context=_trust(mail))
    return smtplib.SMTP(mail.host, mail.port, name, timeout=ANSWER_SECONDS)


def _why(error: Exception) -> str:
    if isinstance(error, smtplib.SMTPResponseException):
        return said(error.smtp_code, error.smtp_error)
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    if isinstance(error, SettingsError):
        return str(error)
    return f"{type(error).__name__}: {plain(str(error))[:200]}"


def _trust(mail: Mail) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(mail.ca) if mail.ca else None)


def said(code: int, answer: bytes | str) -> str:
    """What a mail server answered, as one short line."""
    words = answer.decode("utf-8", "replace") if isinstance(answer, bytes) else answer
    return f"{code} {plain(words)}"[:300]
