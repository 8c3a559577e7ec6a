"""Notices: told once, in the reader's words; letters sent over real SMTP, whatever the server says."""

from __future__ import annotations

import asyncio
import datetime
import email
import email.policy
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from portal import settings as settings_module
from portal.client import FinishedJob, View
from portal.grants import Category, Decided, Grant, Membership, Organisation, Role
from portal.ledger import Entry
from portal.ledger import Kind as Line
from portal.locale import CHINESE, ENGLISH
from portal.notices import events, letter_to, send_report, tell, watch
from portal.notices.kinds import ALARMS, CAUSES, KINDS
from portal.notices.letters import letter, width, wrapped
from portal.notices.post import KEEP_SECONDS, PATIENCE_SECONDS, SENDING, TIDY_SECONDS, Post
from portal.notices.telling import quiet_end
from portal.notices.wording import told
from portal.pricing import Price
from portal.service import internal
from portal.service.booking import LAPSE_SECONDS, book, see
from portal.service.desk import Desk
from portal.service.main import create
from portal.service.words import Words
from portal.settings import Database, Mail, Settings
from portal.store import Db, Store, books, connect, migrate, notices, people, programme, register
from portal.store.books import Job
from portal.store.notices import Notice, Preference
from portal.store.register import Session as NotebookSession
from portal.units import GPU_HOUR

HOUR, DAY = 3600, 86_400
NOW = int(datetime.datetime(2026, 11, 20, 4, tzinfo=datetime.UTC).timestamp())
"""Noon in Hong Kong."""
ENDS = int(datetime.datetime(2027, 6, 30, 16, tzinfo=datetime.UTC).timestamp())
GRANT = Grant("G-1", "Proteins", "uni", "life", "research", NOW - DAY, ENDS, "C-12", 3000, 7000)

SAMPLE: dict[str, str | int] = {
    "session": "0123456789abcdef0123456789abcdef",
    "grant": "AISS-2025-0007",
    "waited": 754,
    "cause": "time-limit",
    "used": 1_204 * GPU_HOUR,
    "awarded": 2_500_000 * GPU_HOUR,
    "left": 1_250_000 * GPU_HOUR,
    "committed": 32 * GPU_HOUR,
    "list": 6_123_456,
    "subsidy": 4_286_419,
    "own": 1_837_037,
    "job": 41_872,
    "reason": "PartitionTimeLimit",
    "ends": ENDS,
    "at": NOW,
    "where": "2001:db8:1234:5678:9abc:def0:1234:5678",
    "device": "Firefox, Linux",
    "alarm": "refused-sign-ins-address",
    "who": "pabcdefghijkl",
    "count": 9,
    "subject": "The notebook does not open",
    "text": "10:31:02 server started\n10:31:09 the kernel died",
}


ALARM: dict[str, Any] = {name: SAMPLE[name] for name in KINDS["alarm"].places}


class At(Desk):
    """A desk whose clock stands where the test puts it."""

    time = NOW

    def now(self) -> int:
        return self.time


class Box:
    """A mail server's mind: what it got, and what it answers."""

    def __init__(self) -> None:
        self.got: list[EmailMessage] = []
        self.answers: dict[str, str] = {}
        self.after: Callable[[], None] = lambda: None
        self.port = 0

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        answer = self.answers.get(address, "250 yes")
        if answer.startswith("250"):
            envelope.rcpt_tos.append(address)
        return answer

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        assert isinstance(envelope.content, bytes)
        self.got.append(email.message_from_bytes(envelope.content, policy=email.policy.default))
        self.after()
        return self.answers.get("data", "250 taken")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def box() -> Iterator[Box]:
    """A real mail server on this machine."""
    box = Box()
    box.port = free_port()
    controller = Controller(box, hostname="127.0.0.1", port=box.port)
    controller.start()
    yield box
    controller.stop()


def mail(port: int, **changes: Any) -> Mail:
    return Mail.model_validate(
        {"host": "127.0.0.1", "port": port, "security": "none", "sender": "no-reply@aisc.example", **changes}
    )


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_module.load(environ={}).model_copy(update={"home": tmp_path})


@pytest.fixture
def store(settings: Settings, database: Database) -> Iterator[Store]:
    engine = connect(settings.model_copy(update={"database": database}).database_url)
    migrate(engine)
    store = Store(engine)
    with store.write() as db:
        programme.add_organisation(db, Organisation("uni", "University", "大學", Category.INSTITUTION))
        programme.add_grant(db, GRANT)
        for person, role in (("p1", Role.PI), ("p2", Role.MANAGER), ("p3", Role.MEMBER)):
            known = people.Person(person, "iss", person, "u", "Name", f"{person}@uni.example", frozenset())
            people.record(db, known, NOW)
            programme.add_membership(db, Membership("G-1", person, role, NOW - DAY))
            notices.wish(db, Preference(person, heard=ENGLISH))
    yield store
    engine.dispose()


@pytest.fixture
def desk(settings: Settings, store: Store, box: Box) -> At:
    """A desk of a site that sends mail."""
    return At(settings.model_copy(update={"mail": mail(box.port)}), store)


def say(desk: Desk, kind: str = "grant-low", person: str = "p1", key: str = "k", **values: str | int) -> None:
    with desk.store.write() as db:
        tell(desk, db, kind, person, key, **{name: SAMPLE[name] for name in KINDS[kind].places} | values)


def only(desk: Desk, person: str = "p1") -> Notice:
    with desk.store.read() as db:
        (found,) = notices.of_person(db, person)
    return found


# Words


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
@pytest.mark.parametrize("languages", [[ENGLISH], [CHINESE], [CHINESE, ENGLISH]], ids=["en", "zh", "both"])
def test_every_kind_makes_a_letter_that_can_be_read(
    settings: Settings, kind: Any, languages: list[str]
) -> None:
    """No place is left open, lines and subject fit, and what was written is what is read."""
    notice = Notice("k", "p1", kind.name, {name: SAMPLE[name] for name in kind.places}, NOW)
    sent = letter(settings, notice, languages, "pi@uni.example", NOW)
    read = email.message_from_bytes(sent.as_bytes(), policy=email.policy.default)
    body = read.get_content()
    subject = str(read["Subject"])

    assert not set("{}") & set(subject + body)
    assert subject == str(sent["Subject"]) and width(subject) <= 78
    assert subject.startswith(told(settings, notice, Words(settings, languages[0])).title), "the first whole"
    lines = [line for line in body.splitlines() if not line.startswith("http")]
    assert all(width(line) <= (78 if languages == [ENGLISH] else 80) for line in lines)
    assert all(line.isascii() or CHINESE in languages for line in lines), "English needs no other letters"
    assert "http://portal--service.localhost:8000/services/portal/" in body


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
def test_every_kind_reads_differently_in_chinese(settings: Settings, kind: Any) -> None:
    """Title, body and link are translated."""
    notice = Notice("k", "p1", kind.name, {name: SAMPLE[name] for name in kind.places}, NOW)
    english, chinese = (told(settings, notice, Words(settings, language)) for language in (ENGLISH, CHINESE))
    assert english.title != chinese.title and english.body != chinese.body
    assert english.action != chinese.action and english.path == chinese.path


@pytest.mark.parametrize("name", ["cause", "alarm"])
def test_every_listed_value_has_words(settings: Settings, name: str) -> None:
    """In both languages."""
    kind, listed = ("session-ended", CAUSES) if name == "cause" else ("alarm", ALARMS)
    for value in listed:
        notice = Notice("k", "p1", kind, {x: SAMPLE[x] for x in KINDS[kind].places} | {name: value}, NOW)
        for language in (ENGLISH, CHINESE):
            said = told(settings, notice, Words(settings, language))
            assert "{" not in said.title + said.body


def test_a_line_of_chinese_breaks_between_characters_and_begins_with_no_closing_mark() -> None:
    """Full-width characters take two columns."""
    lines = wrapped("獲批資助（編號）尚餘十二，請現在申請增撥。" * 5, 20).splitlines()
    assert all(width(line) <= 22 for line in lines)
    assert not [line for line in lines if line[0] in "，。）"]
    assert wrapped("a https://example.hk/" + "x" * 90 + " b", 72).splitlines()[1].endswith("x")


# Telling


def test_the_same_event_is_told_once(desk: At) -> None:
    """Told twice, the first stays."""
    say(desk, left=GPU_HOUR)
    say(desk, left=2 * GPU_HOUR)
    assert only(desk).values["left"] == GPU_HOUR


def test_a_notice_happens_with_what_it_tells_of(desk: At) -> None:
    """Nothing is left of it where the caller's transaction fails."""
    with pytest.raises(RuntimeError), desk.store.write() as db:
        tell(desk, db, "session-failed", "p1", "k")
        raise RuntimeError
    with desk.store.read() as db:
        assert notices.of_person(db, "p1") == []


def test_values_must_be_those_of_the_kind(desk: At) -> None:
    """A slip is an error where it is made, not an empty place in a letter."""
    with desk.store.write() as db:
        with pytest.raises(ValueError, match="takes the values"):
            tell(desk, db, "session-failed", "p1", "k", grant="G-1")
        with pytest.raises(ValueError, match="cause = 'boredom'"):
            tell(desk, db, "session-ended", "p1", "k", **{**_places("session-ended"), "cause": "boredom"})


def _places(kind: str) -> dict[str, str | int]:
    return {name: SAMPLE[name] for name in KINDS[kind].places}


def hong_kong(hour: int, minute: int = 0) -> int:
    return NOW + (hour - 12) * HOUR + minute * 60


@pytest.mark.parametrize(
    ("own", "at", "due"),
    [
        ((None, None), hong_kong(12), hong_kong(12)),
        ((None, None), hong_kong(21, 59), hong_kong(21, 59)),
        ((None, None), hong_kong(22), hong_kong(32)),
        ((None, None), hong_kong(3), hong_kong(8)),
        ((None, None), hong_kong(8), hong_kong(8)),
        ((0, 0), hong_kong(3), hong_kong(3)),
        ((12, 14), hong_kong(13, 30), hong_kong(14)),
        ((12, 14), hong_kong(3), hong_kong(3)),
        ((13, 12), hong_kong(12, 30), hong_kong(12, 30)),
        ((13, 12), hong_kong(13), hong_kong(36)),
    ],
)
def test_a_letter_that_can_wait_waits_for_the_end_of_quiet_hours(
    settings: Settings, own: tuple[int | None, int | None], at: int, due: int
) -> None:
    """The site's hours are 22 to 8; a person may have other ones, or none."""
    assert quiet_end(settings, Preference("p1", "", "", *own), at) == due


def test_what_is_essential_goes_at_once_and_cannot_be_switched_off(desk: At) -> None:
    """At night too."""
    desk.time = hong_kong(23)
    with desk.store.write() as db:
        notices.wish(db, Preference("p1", choices=frozenset({"mail-sign-in-new-device"})))
    say(desk, "sign-in-new-device")
    assert only(desk).mail_due == desk.time


@pytest.mark.parametrize(
    ("kind", "choices", "mailed"),
    [
        ("grant-low", set(), True),
        ("grant-low", {"mail-grant-low"}, False),
        ("session-ended", set(), False),
        ("session-ended", {"mail+session-ended"}, True),
        ("session-ready", set(), False),
        ("session-ready-late", set(), True),
        ("session-ready-late", {"mail-session-ready"}, True),
    ],
)
def test_a_person_chooses_what_comes_by_mail(desk: At, kind: str, choices: set[str], mailed: bool) -> None:
    """Each kind has what is usual; only what differs from it is kept."""
    with desk.store.write() as db:
        notices.wish(db, Preference("p1", choices=frozenset(choices)))
    say(desk, kind)
    assert (only(desk).mail_due is not None) == mailed


def test_word_of_a_ready_session_does_not_wait_for_the_morning(desk: At) -> None:
    """After hours of quiet it would say nothing any more; the portal still shows it."""
    desk.time = hong_kong(23)
    say(desk, "session-ready-late")
    assert only(desk).mail_due is None


def test_without_a_mail_server_nothing_waits_to_be_sent(settings: Settings, store: Store) -> None:
    """So nothing bursts out on the day one is set; letters to addresses are refused, for the caller to say so."""
    desk = At(settings, store)
    say(desk)
    with store.write() as db:
        assert not letter_to(desk, db, "ops@aisc.example", "alarm", "a", **ALARM)
        assert notices.waiting(db) == 0
    assert only(desk).mail_due is None


def test_letters_left_from_when_there_was_a_mail_server_are_dropped(desk: At) -> None:
    """The setting was emptied."""
    say(desk)
    desk.settings = desk.settings.model_copy(update={"mail": Mail()})
    Post(desk).round()
    assert only(desk).mail_due is None and only(desk).mail_fault == "no mail server is set"


# Sending


def test_a_letter_arrives_with_all_that_it_needs(desk: At, box: Box) -> None:
    """Sender by name, subject in the reader's language, a way out, and no name of anybody."""
    with desk.store.write() as db:
        notices.wish(db, Preference("p1", language=CHINESE, heard=ENGLISH))
    say(desk)
    Post(desk).round()
    Post(desk).round()

    (got,) = box.got
    assert got["From"].addresses[0].display_name == "人工智能超算中心"
    assert got["From"].addresses[0].addr_spec == "no-reply@aisc.example"
    assert got["To"] == "p1@uni.example"
    assert got["Subject"] == "獲批資助 AISS-2025-0007 尚餘 1,250,000.0 GPU 小時"
    assert got["Auto-Submitted"] == "auto-generated"
    assert got["Content-Language"] == "zh-Hant-HK"
    assert got["List-Unsubscribe"].strip("<>").endswith("/services/portal/notices/settings")
    assert got["Date"].datetime.timestamp() == NOW
    assert got["Message-ID"].endswith("@aisc.example>")
    assert "Name" not in got.as_string()
    assert only(desk).mail_done == NOW and only(desk).mail_due is None


def test_who_has_not_been_heard_yet_gets_both_languages(desk: At, box: Box) -> None:
    """Traditional Chinese first."""
    with desk.store.write() as db:
        notices.wish(db, Preference("p1"))
    say(desk, "grant-ending")
    Post(desk).round()
    body = box.got[-1].get_content()
    assert body.index("獲批資助") < body.index("The last day of the grant")


def test_no_value_can_add_a_header_or_a_reader(desk: At, box: Box) -> None:
    """Newlines, in values and in addresses, are not obeyed."""
    evil = "x\r\nBcc: victim@example.org\r\n\r\nbody"
    with desk.store.write() as db:
        assert send_report(desk, db, "r1", evil, "a\r\n.\r\nMAIL FROM:<x>\r\n", "a@b.hk\r\nBcc: victim@c.org")
        known = people.Person("p1", "iss", "p1", "u", evil, f"a@b.hk\r\nRCPT TO:<v@c.org>{evil}", frozenset())
        people.record(db, known, NOW)
    say(desk, grant=evil)
    Post(desk).round()

    (got,) = box.got
    assert got["Bcc"] is None and got["Reply-To"] is None
    assert got["To"] == desk.settings.site.contact
    assert "MAIL FROM:<x>" in got.get_content()
    assert only(desk).mail_fault == "the address is not well formed"


@pytest.mark.parametrize("address", ["a@b.", "a@b..c", "a@.b", "a..b@c.hk", ".a@c.hk", "=?utf-8?q?a?=@c.hk"])
def test_an_address_that_is_none_holds_up_no_other_letter(desk: At, box: Box, address: str) -> None:
    """Neither a letter to it, nor a report whose writer has it."""
    with desk.store.write() as db:
        known = people.Person("p1", "iss", "p1", "u", "Name", address, frozenset())
        people.record(db, known, NOW)
    say(desk)
    with desk.store.write() as db:
        assert send_report(desk, db, "r1", "It does not open", "text", address)
    say(desk, person="p2", key="k2")
    Post(desk).round()

    assert [got["To"] for got in box.got] == [desk.settings.site.contact, "p2@uni.example"]
    assert only(desk).mail_fault == "the address is not well formed"


def test_a_report_reaches_the_operators_and_a_reply_the_person(desk: At, box: Box) -> None:
    """Once sent, nothing of what was written stays here."""
    site = desk.settings.site.model_copy(update={"operators": "ops@aisc.example"})
    desk.settings = desk.settings.model_copy(update={"site": site})
    with desk.store.write() as db:
        assert send_report(desk, db, "r1", "It does not open", "line 1\n\nline 3 – 行", "p1@uni.example")
        assert send_report(desk, db, "r1", "It does not open", "again", "p1@uni.example")
    Post(desk).round()
    (got,) = box.got
    assert got["To"] == "ops@aisc.example" and got["Reply-To"] == "p1@uni.example"
    assert "line 1\n\nline 3 – 行" in got.get_content().replace("\r\n", "\n")
    with desk.store.read() as db:
        (kept,) = notices.of_person(db, "")
    assert kept.values == {} and kept.reply_to == ""


def test_a_large_report_is_sent_up_to_a_bound(desk: At, box: Box) -> None:
    """Of one long line, which no server would take as it stands."""
    with desk.store.write() as db:
        send_report(desk, db, "r1", "s" * 10_000, "字" * 1_000_000, "")
    Post(desk).round()
    assert box.got[0].get_content().count("字") == 100_000
    assert width(str(box.got[0]["Subject"])) <= 78


def test_a_server_that_says_later_gets_the_letter_later(desk: At, box: Box) -> None:
    """Greylisting; the pauses grow, and the next letter does not wait for this one."""
    box.answers["p1@uni.example"] = "451 come again"
    say(desk)
    say(desk, person="p2", key="k2")
    post = Post(desk)
    post.round()
    assert [got["To"] for got in box.got] == ["p2@uni.example"]
    assert only(desk).mail_fault == "451 come again" and only(desk).mail_due == NOW + 60
    desk.time += 60
    post.round()
    assert only(desk).mail_due == desk.time + 120
    box.answers.clear()
    desk.time += 120
    post.round()
    assert box.got[-1]["To"] == "p1@uni.example" and only(desk).mail_fault == ""


@pytest.mark.parametrize("when", ["p1@uni.example", "data"])
def test_a_letter_refused_for_good_is_not_tried_again(desk: At, box: Box, when: str) -> None:
    """The fault is kept, and nothing else is held up."""
    box.answers[when] = "550 5.1.1 no such person"
    say(desk)
    post = Post(desk)
    post.round()
    box.answers.clear()
    say(desk, person="p2", key="k2")
    desk.time += DAY
    post.round()
    assert only(desk).mail_fault == "550 5.1.1 no such person"
    assert only(desk).mail_due is None and only(desk).mail_done is None
    assert box.got[-1]["To"] == "p2@uni.example"
    with desk.store.read() as db:
        assert notices.failed(db) == 1


def test_letters_outlast_an_outage_and_are_given_up_after_three_days(
    desk: At, box: Box, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is written of an outage but one line in the log a try; in the end the notice says so."""
    real = desk.settings
    desk.settings = real.model_copy(update={"mail": mail(free_port())})
    say(desk)
    say(desk, person="p2", key="k2")
    post = Post(desk)
    for _ in range(20):
        post.send(desk.time)
    assert len([line for line in caplog.messages if "takes no letters" in line]) == 1
    assert only(desk).mail_tries == 0
    desk.time += 600
    desk.settings = real
    post.send(desk.time)
    assert len(box.got) == 2

    desk.settings = real.model_copy(update={"mail": mail(free_port())})
    say(desk, person="p3", key="k3")
    desk.time += PATIENCE_SECONDS
    post.send(desk.time)
    assert only(desk, "p3").mail_due is not None
    desk.time += 1
    post.send(desk.time)
    assert only(desk, "p3").mail_due is None
    assert only(desk, "p3").mail_fault.startswith("given up after 3 days: ConnectionRefusedError")


def test_a_crash_after_the_server_took_it_sends_a_letter_twice_at_most(desk: At, box: Box) -> None:
    """With one Message-ID, so that the reader's mail program can tell."""

    class PowerCut(BaseException):
        pass

    class Dies(Post):
        def _settle(self, one: Notice, **values: int | str | None) -> None:
            if "mail_done" in values:
                raise PowerCut
            super()._settle(one, **values)

    say(desk)
    for _ in range(4):
        before = len(box.got)
        try:
            Dies(desk).round()
        except PowerCut:
            assert len(box.got) == before + 1
        desk.time += HOUR
    assert len(box.got) == 2 and box.got[0]["Message-ID"] == box.got[1]["Message-ID"]
    assert "it may have arrived" in only(desk).mail_fault

    say(desk, person="p2", key="k2")
    with pytest.raises(PowerCut):
        Dies(desk).round()
    assert only(desk, "p2").mail_fault == SENDING
    desk.time += HOUR
    Post(desk).round()
    assert only(desk, "p2").mail_done == desk.time


def test_who_has_been_erased_gets_no_letter(desk: At, box: Box) -> None:
    """The address is looked up when the letter goes."""
    say(desk)
    with desk.store.write() as db:
        known = people.Person("p1", "iss", "p1", "u", "", "", frozenset())
        people.record(db, known, NOW)
    Post(desk).round()
    assert box.got == [] and only(desk).mail_fault == "there is no address to write to"


@pytest.mark.parametrize("change", ["opted out", "read"])
def test_a_letter_that_waits_is_dropped_when_it_is_no_longer_wanted(desk: At, box: Box, change: str) -> None:
    """The person switched the kind off, or read the notice in the portal, during quiet hours."""
    desk.time = hong_kong(23)
    say(desk)
    with desk.store.write() as db:
        if change == "read":
            notices.mark_read(db, "p1", only(desk).number, desk.time)
        else:
            notices.wish(db, Preference("p1", choices=frozenset({"mail-grant-low"})))
    desk.time = hong_kong(32)
    Post(desk).round()
    assert box.got == []
    assert only(desk).mail_due is None and only(desk).mail_fault == ""


def test_old_notices_are_deleted(desk: At) -> None:
    """After 90 days, read or not."""
    say(desk, "session-failed")
    desk.time += KEEP_SECONDS
    post = Post(desk)
    post.round()
    assert only(desk)
    desk.time += TIDY_SECONDS
    post.round()
    with desk.store.read() as db:
        assert notices.of_person(db, "p1") == []


def certificate(folder: Path) -> Path:
    """A certificate for 127.0.0.1 that only itself vouches for, with its key in the same file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mail")])
    begins = datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=1)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(begins + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    path = folder / "mail.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return path


def test_the_connection_is_encrypted_and_the_server_must_prove_its_name(
    desk: At, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """STARTTLS and a password; without trust in the certificate neither letter nor password leaves."""
    path, box, asked = certificate(tmp_path), Box(), []

    def who(server: SMTP, session: Session, envelope: Envelope, way: str, data: LoginPassword) -> AuthResult:
        asked.append(data.password)
        good = data.login == b"portal" and data.password == b"open sesame"
        return AuthResult(success=good, handled=False)

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    box.port = free_port()
    controller = Controller(
        box,
        hostname="127.0.0.1",
        port=box.port,
        tls_context=context,
        require_starttls=True,
        auth_required=True,
        authenticator=who,
    )
    controller.start()
    try:
        (tmp_path / "secrets").mkdir(exist_ok=True)
        secret = tmp_path / "secrets" / "smtp.password"
        secret.write_text("wrong horse")
        strict = mail(box.port, security="starttls", user="portal")
        say(desk)
        desk.settings = desk.settings.model_copy(update={"mail": strict})
        Post(desk).round()
        assert box.got == [] and asked == [] and "certificate is not trusted" in caplog.text

        desk.settings = desk.settings.model_copy(update={"mail": strict.model_copy(update={"ca": path})})
        Post(desk).round()
        assert box.got == [] and "535" in caplog.text and "wrong horse" not in caplog.text
        assert only(desk).mail_due == NOW, "a password that is wrong today refuses no letter for good"

        secret.write_text("open sesame")
        Post(desk).round()
        assert len(box.got) == 1 and "open sesame" not in caplog.text
    finally:
        controller.stop()


def test_a_connection_in_the_clear_is_for_this_machine_only() -> None:
    """Anything else is a mistake in the settings."""
    with pytest.raises(ValueError, match="relay on this machine"):
        mail(25, host="mail.example.hk")
    assert mail(25, host="localhost").security == "none"


def test_the_service_stops_at_once_while_a_server_hangs(desk: At) -> None:
    """The letter is kept for the next start."""
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        desk.settings = desk.settings.model_copy(update={"mail": mail(deaf.getsockname()[1])})
        say(desk)
        post = Post(desk, tick=0.05)
        post.start()
        with deaf.accept()[0] as caller:
            caller.send(b"220 hello\r\n")
            time.sleep(0.2)
            begun = time.monotonic()
            post.stop(1.0)
            assert time.monotonic() - begun < 2
    assert only(desk).mail_due == NOW


def test_the_background_thread_sends_and_goes_on_after_a_fault(desk: At, box: Box) -> None:
    """A round that fails is logged; the next one is tried."""
    arrived = threading.Event()
    box.after = arrived.set
    failing = iter([True])

    class Stumbles(Post):
        def round(self) -> None:
            if next(failing, False):
                raise RuntimeError("once")
            super().round()

    say(desk)
    post = Stumbles(desk, tick=0.05)
    post.start()
    assert arrived.wait(10)
    post.stop()


# What nobody does and yet happens


def award(db: Db, amount: int, kind: Line = Line.AWARD, key: str = "award") -> None:
    books.append(db, Entry(f"{key}:{amount}", "G-1", kind, amount, Price(0, 0), NOW, NOW))


@pytest.mark.parametrize(
    ("days", "steps"),
    [
        (31, []),
        (30, [30]),
        (29, [30]),
        (14, [14]),
        (10, [14]),
        (7, [7]),
        (2, [7]),
        (1, [1]),
        (0, [1]),
        (-1, []),
    ],
)
def test_the_end_of_a_grant_is_told_once_at_each_step(desk: At, days: int, steps: list[int]) -> None:
    """To its principal investigator and managers, by the calendar of the site."""
    desk.time = ENDS - 12 * HOUR - days * DAY
    for _ in range(2):
        watch.grants_ending(desk)
    with desk.store.read() as db:
        for person, expected in (("p1", steps), ("p2", steps), ("p3", [])):
            keys = [one.key for one in notices.of_person(db, person)]
            assert keys == [f"grant-ending:G-1:{ENDS}:{step}:{person}" for step in expected]


def test_a_grant_that_runs_down_is_told_at_each_step_once(desk: At) -> None:
    """The highest step passed counts; a top-up begins anew."""
    hour, since, seen = GPU_HOUR, 0, []
    for number, (kind, amount) in enumerate(
        [
            (Line.AWARD, 100 * hour),
            (Line.CHARGE, -74 * hour),
            (Line.CHARGE, -1 * hour),
            (Line.CHARGE, -1 * hour),
            (Line.CHARGE, -40 * hour),
            (Line.TOP_UP, 100 * hour),
            (Line.CHARGE, -34 * hour),
        ]
    ):
        with desk.store.write() as db:
            award(db, amount, kind, str(number))
        since = watch.grants_low(desk, since)
        watch.grants_low(desk, 0)
        with desk.store.read() as db:
            seen.append([one.key.split(":")[3] for one in notices.of_person(db, "p1")])
            assert notices.of_person(db, "p3") == []
    assert seen == [[], [], ["75"], ["75"], ["100", "75"], ["100", "75"], ["75", "100", "75"]]


def test_a_job_that_can_never_start_is_told_to_its_owner(desk: At) -> None:
    """Once its reason has lasted; other reasons pass by themselves."""
    base = Job("aisc", 7, NOW, "train", "u", "a", "q", "gpu", "PENDING", reason="BadConstraints", person="p3")
    with desk.store.write() as db:
        books.put_job(db, base)
        books.put_job(db, Job(**{**base.__dict__, "id": 8, "reason": "Priority"}))
    watch.jobs_stuck(desk)
    desk.time += 300
    for _ in range(2):
        watch.jobs_stuck(desk)
    assert only(desk, "p3").values == {"job": 7, "reason": "BadConstraints"}


SESSION = NotebookSession("s1", "p3", "G-1", "gpu1", 60, 1000, "u", "aisc", "gg1", "gpu", NOW)


@pytest.mark.parametrize(
    ("waited", "kinds"), [(60, []), (61, ["session-ready"]), (601, ["session-ready-late"])]
)
def test_a_session_is_announced_to_who_had_to_wait(desk: At, waited: int, kinds: list[str]) -> None:
    """Once, however often the hub says that it is ready."""
    desk.time = NOW + waited
    with desk.store.write() as db:
        for _ in range(2):
            events.session_ready(desk, db, SESSION)
        assert [one.kind for one in notices.of_person(db, "p3")] == kinds


@pytest.mark.parametrize(
    ("state", "elapsed", "kind", "cause"),
    [
        ("TIMEOUT", 3600, "session-ended", "time-limit"),
        ("NODE_FAIL", 3600, "session-ended", "node-failure"),
        ("NODE_FAIL", 0, "session-failed", None),
        ("CANCELLED by 1000", 3600, None, None),
        ("COMPLETED", 3600, None, None),
    ],
)
def test_a_session_that_ended_by_itself_is_told_with_its_charge(
    desk: At, state: str, elapsed: int, kind: str | None, cause: str | None
) -> None:
    """Who stopped it knows."""
    done = Job("aisc", 7, NOW, "n", "u", "a", "q", "gpu", state, billing=1000, elapsed=elapsed)
    with desk.store.write() as db:
        events.session_over(desk, db, SESSION, done, GRANT)
        found = notices.of_person(db, "p3")
    assert [one.kind for one in found] == ([kind] if kind else [])
    if cause:
        costs = {"used": GPU_HOUR, "list": 3000, "subsidy": 2100, "own": 900}
        assert found[0].values == {"session": "s1", "grant": "G-1", "cause": cause, **costs}


def test_a_closed_grant_is_no_longer_watched(desk: At) -> None:
    """Nobody needs to do anything about it."""
    closed = Grant(**{**GRANT.__dict__, "code": "G-2", "ends": NOW + DAY, "decided": Decided.CLOSED})
    with desk.store.write() as db:
        programme.add_grant(db, closed)
        programme.add_membership(db, Membership("G-2", "p1", Role.PI, NOW - DAY))
    watch.grants_ending(desk)
    with desk.store.read() as db:
        assert notices.of_person(db, "p1") == []


async def test_the_hooks_are_where_things_happen(desk: At, tmp_path: Path) -> None:
    """A session that lapses, one that is ready late, one that runs to its limit: through the service's own doors."""
    for number, person in ((1, "p1"), (2, "p2"), (3, "p3")):
        with desk.store.write() as db:
            register.register(
                db, replace(SESSION, id=f"s{number}", person=person, job=None if number == 1 else number)
            )
    desk.time = NOW + LAPSE_SECONDS
    see(desk, View(cluster="aisc", at=desk.time, jobs=[], nodes=[]))
    assert only(desk, "p1").kind == "session-failed"

    internal.report_ready("s2", desk)
    assert only(desk, "p2").kind == "session-ready"

    done = FinishedJob(
        cluster="aisc", id=3, submit=NOW, start=NOW, end=NOW + 3600, elapsed=3600, state="TIMEOUT", user="u",
        account=GRANT.account, qos=GRANT.account, name="aisc-s3", billing=1000,
    )  # fmt: skip
    for _ in range(2):
        book(desk, [done])
    assert only(desk, "p3").values["own"] == 900


async def test_the_service_sends_while_it_runs(desk: At, box: Box, tmp_path: Path) -> None:
    """From its start to its stop, beside its requests."""
    (tmp_path / "secrets").mkdir(exist_ok=True)
    for name in ("hub.token", "agent.token", "dashboards.token", "portal-hub.token", "portal.key"):
        (tmp_path / "secrets" / name).write_text("secret")
    real = Desk(desk.settings, desk.store)
    with desk.store.write() as db:
        letter_to(real, db, "ops@aisc.example", "alarm", "a", **ALARM)
    arrived = threading.Event()
    box.after = arrived.set
    app = create(desk.settings, desk.store)
    async with app.router.lifespan_context(app):
        assert await asyncio.to_thread(arrived.wait, 10)
    assert [got["To"] for got in box.got] == ["ops@aisc.example"]
