"""What becomes of events: lines, folded lines, alarms, a page, an export, copies elsewhere."""

import csv
import io
import json
import os
import secrets
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from fastapi import FastAPI
from sqlalchemy import text

from portal import settings as settings_module
from portal.audit import Event, read_line
from portal.client import HubEvent, SignIn, Told
from portal.service import audit_pages, shipping
from portal.service.auditing import Auditor, digests
from portal.service.desk import Desk
from portal.service.frame import viewer_of
from portal.service.main import create
from portal.service.shipping import ShippingError, Tampered
from portal.service.verifying import Verifier
from portal.settings import Database, Settings
from portal.store import Store, audit, connect, migrate, notices

SECRETS = ("hub.token", "agent.token", "dashboards.token", "portal-hub.token", "portal.key")
STREAM = "0" * 32
ANN, BOB = "paaaaaaaaaaaa", "pbbbbbbbbbbbb"
PERSON = SignIn(person=ANN, issuer="i", subject="ann", name="Ann", email="a@x.example", roles=["officer"])


class Clocked(Desk):
    """A desk whose clock the test sets."""

    time = 1_800_000_000

    def now(self) -> int:
        return self.time


@pytest.fixture
def settings(tmp_path: Path, database: Database) -> Settings:
    (tmp_path / "secrets").mkdir()
    for name in SECRETS:
        (tmp_path / "secrets" / name).write_text(secrets.token_hex(16))
    return settings_module.load(environ={}).model_copy(update={"home": tmp_path, "database": database})


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    engine = connect(settings.database_url)
    migrate(engine)
    yield Store(engine)
    engine.dispose()


@pytest.fixture
def desk(settings: Settings, store: Store) -> Clocked:
    return Clocked(settings, store)


@pytest.fixture
def auditor(desk: Desk) -> Auditor:
    return Auditor(desk)


def written(desk: Desk, what: str = "") -> list[Event]:
    with desk.store.read() as db:
        found = [item.event for item in audit.chain(db)]
    return [one for one in found if one.what.startswith(what)]


class Hub:
    """Tells the portal as the hub does, with numbers that go up."""

    def __init__(self, auditor: Auditor, desk: Clocked) -> None:
        self._auditor, self._desk, self._number = auditor, desk, 0

    def tell(self, what: str, **facts: object) -> Told:
        self._number += 1
        one = HubEvent.model_validate({"number": self._number, "at": self._desk.time, "what": what, **facts})
        told = Told(stream=STREAM, events=[one])
        self._auditor.take(told)
        return told

    def sign_in(self, where: str, browser: str = "Firefox/Linux", person: SignIn = PERSON) -> None:
        self.tell("sign-in", who=person.person, where=where, browser=browser, person=person)

    def refuse(self, where: str, who: str = "", reason: str = "not-finished") -> None:
        self.tell("sign-in.refused", who=who, where=where, reason=reason)


@pytest.fixture
def hub(auditor: Auditor, desk: Clocked) -> Hub:
    return Hub(auditor, desk)


def test_what_is_told_twice_is_written_once(hub: Hub, auditor: Auditor, desk: Clocked) -> None:
    """The hub repeats itself when an answer was lost."""
    told = hub.tell("sign-out", who=ANN, where="203.0.113.9")
    auditor.take(told)
    assert [(one.who, one.where) for one in written(desk, "sign-out")] == [(ANN, "203.0.113.9")]


def test_a_sign_in_is_one_line_and_its_new_roles_another(hub: Hub, desk: Clocked) -> None:
    """From where, with which browser; a refresh an hour later is no sign-in, and the same roles are no news."""
    hub.sign_in("203.0.113.9")
    hub.tell("refresh", who=ANN, person=PERSON)
    hub.tell("refresh", who=ANN, person=PERSON.model_copy(update={"roles": []}))
    assert [one.what for one in written(desk)] == ["sign-in", "role.changed", "role.changed"]
    assert written(desk)[0].where == "203.0.113.9"
    assert json.loads(written(desk)[2].detail) == {"before": "officer", "after": "-"}
    assert all("Ann" not in one.detail and "a@x" not in one.detail for one in written(desk))


@pytest.mark.parametrize(("who", "where"), [(BOB, ""), ("", "203.0.113.9")])
def test_eight_refusals_of_one_person_or_address_raise_one_alarm(
    hub: Hub, desk: Clocked, who: str, where: str
) -> None:
    """Within a quarter of an hour; once an hour, however long it goes on."""
    for _try in range(7):
        desk.time += 100
        hub.refuse(where, who)
    assert not written(desk, "alarm.")
    for _try in range(20):
        hub.refuse(where, who)
    assert [one.subject for one in written(desk, "alarm.")] == [who or where]
    desk.time += 3601
    for _try in range(8):
        hub.refuse(where, who)
    assert len(written(desk, "alarm.")) == 2


def test_many_addresses_make_many_alarms_and_few_letters(hub: Hub, desk: Clocked, auditor: Auditor) -> None:
    """Anybody can have many addresses, and must not fill a mailbox with them."""
    mail = desk.settings.mail.model_copy(update={"host": "127.0.0.1"})
    desk.settings = desk.settings.model_copy(update={"mail": mail})
    for number in range(12):
        for _try in range(8):
            hub.refuse(f"2001:db8::{number}")
    assert len(written(desk, "alarm.brute-force")) == 12
    with desk.store.read() as db:
        letters = notices.due(db, desk.time, 100)
    assert [one.kind for one in letters] == ["alarm"] * 5


def test_refusals_far_apart_raise_no_alarm(hub: Hub, desk: Clocked) -> None:
    """A person who mistypes now and then; nor does an outage of the provider."""
    for _try in range(30):
        desk.time += 200
        hub.refuse("203.0.113.9")
    for _try in range(30):
        hub.refuse("203.0.113.9", reason="provider")
    assert not written(desk, "alarm.")


def test_counting_goes_on_after_a_restart(hub: Hub, desk: Clocked) -> None:
    """A restart of the portal gives nobody new tries."""
    for _try in range(5):
        desk.time += 61
        hub.refuse("203.0.113.9")
    again = Auditor(desk)
    again.started()
    second = Hub(again, desk)
    second._number = 100
    for _try in range(3):
        desk.time += 1
        second.refuse("203.0.113.9")
    assert [one.what for one in written(desk, "alarm.")] == ["alarm.brute-force"]


def test_a_flood_of_refusals_is_a_few_lines(hub: Hub, auditor: Auditor, desk: Clocked) -> None:
    """From one address: one line a minute. From everywhere: a bounded number, and an alarm."""
    for second in range(600):
        desk.time += 1
        hub.refuse("203.0.113.9")
        if second % 5 == 0:
            auditor.flush()
    assert len(written(desk, "sign-in.refused")) <= 11
    for number in range(500):
        hub.refuse(f"198.51.{number // 200}.{number % 200}")
    desk.time += 61
    auditor.flush()
    assert len(written(desk, "sign-in.refused")) <= 45
    assert "alarm.flood" in [one.what for one in written(desk, "alarm.")]


def test_a_new_network_or_browser_of_a_known_person_is_odd(hub: Hub, desk: Clocked) -> None:
    """The first sign-in ever is not, nor another address of the same network; the person is told."""
    hub.sign_in("203.0.113.9")
    hub.sign_in("203.0.7.7")
    assert not written(desk, "alarm.")
    hub.sign_in("198.51.100.1")
    (alarm,) = written(desk, "alarm.")
    assert (alarm.what, alarm.subject, alarm.where) == ("alarm.odd-sign-in", ANN, "198.51.100.1")
    assert json.loads(alarm.detail) == {"browser": "Firefox/Linux", "reason": "new-device"}
    desk.time += 3601
    hub.sign_in("198.51.100.1")
    assert len(written(desk, "alarm.")) == 1
    hub.sign_in("203.0.113.9", browser="Chrome/Android")
    assert len(written(desk, "alarm.")) == 2


def test_where_a_person_was_cannot_be_read_from_the_table(hub: Hub, desk: Clocked) -> None:
    """Keyed hashes, and not more than twenty of a sort."""
    for number in range(30):
        desk.time += 60
        hub.sign_in(f"10.{number}.0.1")
    with desk.store.read() as db:
        marks = audit.seen_before(db, ANN)
    assert len(marks) == 40
    assert not any("10." in mark.partition(":")[2] for mark in marks)


def test_settings_are_recorded_when_they_change(desk: Clocked, auditor: Auditor) -> None:
    """Each section by its digest, the same ones only once."""
    auditor.started()
    first = len(written(desk, "settings.changed"))
    auditor.started()
    assert len(written(desk, "settings.changed")) == first == len(digests(desk.settings))
    changed = desk.settings.model_copy(
        update={"site": desk.settings.site.model_copy(update={"contact": "x@x.example"})}
    )
    Auditor(Clocked(changed, desk.store)).started()
    assert [one.subject for one in written(desk, "settings.changed")][first:] == ["site"]


# the chain as stored


def note(desk: Desk, count: int) -> None:
    with desk.store.write() as db:
        for number in range(count):
            desk.note(db, ANN, "export", f"s{number}")


def tamper(settings: Settings, *statements: str) -> None:
    """As somebody with the database's file would."""
    engine = connect(settings.database_url)
    with engine.begin() as db:
        if engine.dialect.name == "postgresql":
            db.execute(text("alter table audit disable trigger all"))
        else:
            for trigger in ("audit_no_update", "audit_no_delete"):
                db.execute(text(f"drop trigger if exists {trigger}"))
        for statement in statements:
            db.execute(text(statement))
    engine.dispose()


def test_the_check_names_the_first_bad_line(desk: Clocked, settings: Settings) -> None:
    """And raises an alarm; new lines are checked as they come, old ones again when that is asked for."""
    note(desk, 1200)
    verifier = Verifier(desk)
    assert verifier.look(0).number == 1200
    tamper(settings, "update audit set who = 'x' where number = 7", "delete from audit where number = 9")
    note(desk, 1)
    assert verifier.look(0).fault is None
    verifier.ask()
    assert str(verifier.look(0).fault) == "line 7 was changed after it was written"
    assert [one.subject for one in written(desk, "alarm.chain-broken")] == ["7"]


@pytest.fixture
def shipped(settings: Settings, store: Store, tmp_path: Path) -> Clocked:
    """A desk whose audit is copied to a file."""
    place = settings.audit.model_copy(update={"ship": f"file:{tmp_path}/far/audit.log"})
    (tmp_path / "far").mkdir()
    return Clocked(settings.model_copy(update={"audit": place}), store)


def lines(path: Path) -> list[int]:
    return [found.number for text in path.read_text().splitlines() if (found := read_line(text))]


def test_lines_are_copied_to_a_file_once_and_for_its_owner_alone(shipped: Clocked, tmp_path: Path) -> None:
    """Over restarts, after a torn write, and when the file was moved away by rotation."""
    far = tmp_path / "far" / "audit.log"
    note(shipped, 3)
    assert shipping.ship(shipped.settings, shipped.store) == 3
    assert shipping.ship(shipped.settings, shipped.store) == 0
    (tmp_path / "audit-shipped.json").unlink()
    with far.open("a") as file:
        file.write('{"number":4,"at"')
    note(shipped, 2)
    shipping.ship(shipped.settings, shipped.store)
    assert lines(far) == [1, 2, 3, 4, 5]
    assert far.stat().st_mode & 0o777 == 0o600
    far.rename(f"{far}.1")
    note(shipped, 1)
    shipping.ship(shipped.settings, shipped.store)
    assert lines(far) == [6]
    with shipped.store.read() as db:
        assert shipping.behind(shipped.settings, db, shipped.time) == shipping.Behind(0)


def test_a_database_cut_short_is_noticed(shipped: Clocked) -> None:
    """The chain alone cannot tell that its last lines are gone; what was copied can."""
    note(shipped, 5)
    shipping.ship(shipped.settings, shipped.store)
    tamper(shipped.settings, "delete from audit where number > 3")
    verdict = Verifier(shipped).look(0)
    assert str(verdict.fault) == "line 4 is missing, though it was copied to the other place"
    with pytest.raises(Tampered, match="line"):
        shipping.ship(shipped.settings, shipped.store)


def test_a_place_that_is_away_loses_nothing(shipped: Clocked, tmp_path: Path) -> None:
    """It is said where it stays so, and what waited is copied once the place is back."""
    (tmp_path / "far").rmdir()
    note(shipped, 2)
    with pytest.raises(ShippingError, match="No such file"):
        shipping.ship(shipped.settings, shipped.store)
    shipped.time += 1000
    with shipped.store.read() as db:
        assert shipping.behind(shipped.settings, db, shipped.time) == shipping.Behind(2, oldest=1000)
    (tmp_path / "far").mkdir()
    assert shipping.ship(shipped.settings, shipped.store) == 2


class Receiver:
    """A syslog server that reads octet-counted frames, as RFC 6587 says. breaks: connections to cut at once."""

    def __init__(self, breaks: int = 0) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self.frames: list[bytes] = []
        self._breaks = breaks
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            connection, _ = self._server.accept()
            with connection, connection.makefile("rb") as stream:
                if self._breaks:
                    self._breaks -= 1
                    linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                    continue
                while size := b"".join(iter(lambda: stream.read(1).strip(), b"")):
                    if size == b"0":
                        return
                    self.frames.append(stream.read(int(size)))

    def close(self) -> None:
        with socket.create_connection(("127.0.0.1", self.port)) as last:
            last.sendall(b"0 ")
        self._thread.join(5)
        self._server.close()


def test_lines_are_shipped_to_syslog_and_a_broken_connection_loses_none(
    desk: Clocked, settings: Settings
) -> None:
    """RFC 5424 in RFC 6587's frames, each with number and hash."""
    receiver = Receiver(breaks=1)
    place = settings.audit.model_copy(update={"ship": f"syslog://127.0.0.1:{receiver.port}"})
    there = settings.model_copy(update={"audit": place})
    try:
        note(desk, 700)
        with pytest.raises(ShippingError):
            shipping.ship(there, desk.store)
        assert shipping.ship(there, desk.store) == 700
    finally:
        receiver.close()
    heads, texts = zip(*(frame.decode().split(" - export - ") for frame in receiver.frames), strict=True)
    assert heads[0] == "<109>1 2027-01-15T08:00:00Z localhost aisc-portal -"[: len(heads[0])]
    links = [read_line(text) for text in texts]
    assert [item.number for item in links if item] == list(range(1, 701))


def certificate(folder: Path) -> Path:
    """Key and certificate for 127.0.0.1 in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "receiver")])
    now = datetime.now(UTC)
    names = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    form = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    file = folder / "receiver.pem"
    file.write_bytes(key.private_bytes(*form) + signed.public_bytes(Encoding.PEM))
    return file


def test_lines_are_shipped_over_tls_to_the_right_receiver_alone(
    desk: Clocked, settings: Settings, tmp_path: Path
) -> None:
    """A receiver whose certificate we do not know gets nothing."""
    file = certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    server = socket.create_server(("127.0.0.1", 0))
    got: list[bytes] = []

    def serve() -> None:
        for _connection in range(2):
            plain, _ = server.accept()
            with plain, suppress(ssl.SSLError), context.wrap_socket(plain, server_side=True) as secured:
                while part := secured.recv(4096):
                    got.append(part)
                secured.unwrap()

    thread = threading.Thread(target=serve)
    thread.start()
    place = {"ship": f"syslog+tls://127.0.0.1:{server.getsockname()[1]}"}
    unknown = settings.model_copy(update={"audit": settings.audit.model_copy(update=place)})
    known = settings.model_copy(
        update={"audit": settings.audit.model_copy(update={**place, "ship_ca": str(file)})}
    )
    note(desk, 3)
    with pytest.raises(ShippingError, match="certificate"):
        shipping.ship(unknown, desk.store)
    assert not got
    assert shipping.ship(known, desk.store) == 3
    thread.join(10)
    server.close()
    assert b"".join(got).count(b" - export - ") == 3


# the pages


@pytest.fixture
async def officer(settings: Settings, store: Store, monkeypatch: pytest.MonkeyPatch) -> FastAPI:
    """The service as somebody sees it who is known as `app.state.viewer`."""
    app = create(settings, store)
    app.state.viewer = ANN
    app.dependency_overrides[viewer_of] = lambda: app.state.viewer
    auditor: Auditor = app.state.auditor
    told = [
        HubEvent(
            number=number,
            at=1,
            what="sign-in",
            who=one.person,
            where="203.0.113.9",
            browser="x/y",
            person=one,
        )
        for number, one in enumerate(
            (
                PERSON,
                SignIn(person=BOB, issuer="i", subject="bob", name="=Bob", roles=["operator"]),
                SignIn(person="pcccccccccccc", issuer="i", subject="carol"),
            ),
            1,
        )
    ]
    auditor.take(Told(stream=STREAM, events=told))
    return app


def browse(app: FastAPI) -> httpx.AsyncClient:
    base = "http://portal--service.localhost:8000"
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url=base, headers={"Origin": base})


async def test_officers_read_the_audit_and_others_do_not(officer: FastAPI) -> None:
    """Who tries is in the audit; operators see alarms alone, and no names."""
    async with browse(officer) as http:
        shown = await http.get("/services/portal/audit")
        assert shown.status_code == 200 and "Ann signed in with x/y." in shown.text and ANN in shown.text
        officer.state.viewer = BOB
        alarms = await http.get("/services/portal/audit", params={"what": "sign-in"})
        assert alarms.status_code == 200 and "signed in" not in alarms.text
        assert (await http.post("/services/portal/audit/export")).status_code == 403
        officer.state.viewer = "pcccccccccccc"
        assert (await http.get("/services/portal/audit")).status_code == 403
    officer.state.auditor.flush()
    denied = written(officer.state.desk, "access.denied")
    assert [(one.who, one.subject) for one in denied] == [
        (BOB, "audit/export"),
        ("pcccccccccccc", "audit"),
    ]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({}, 5),
        ({"what": "sign-in"}, 3),
        ({"what": "role.changed"}, 2),
        ({"who": ANN}, 2),
        ({"who": "ann"}, 2),
        ({"who": "%"}, 0),
        ({"who": "203.0.113.9"}, 5),
        ({"since": "2026-01-01"}, 0),
        ({"until": "2026-01-01"}, 5),
        ({"what": "x' or '1"}, 0),
    ],
)
async def test_lines_can_be_found(officer: FastAPI, query: dict[str, str], found: int) -> None:
    """By kind, by number, name or address, by day."""
    async with browse(officer) as http:
        shown = await http.get("/services/portal/audit", params=query)
    assert (shown.status_code, shown.text.count('datetime="')) == (200, found)


@pytest.mark.parametrize(
    "query", [{"since": "31/01/2026"}, {"until": "9999-12-31"}, {"before": "99999999999999999999"}]
)
async def test_what_is_no_date_is_said_at_its_field(officer: FastAPI, query: dict[str, str]) -> None:
    """400, and never a failure on our side."""
    async with browse(officer) as http:
        assert (await http.get("/services/portal/audit", params=query)).status_code == 400


async def test_older_lines_follow_without_gap(officer: FastAPI) -> None:
    """Page after page, by the link that the page itself gives."""
    note(officer.state.desk, 120)
    seen, path = 0, "/services/portal/audit"
    async with browse(officer) as http:
        while path:
            shown = (await http.get(path)).text
            seen += shown.count('datetime="')
            _, link, rest = shown.rpartition("audit?before=")
            path = (
                f"/services/portal/audit?before={rest.split(chr(34))[0]}" if link and "Older" in rest else ""
            )
    assert seen == 125


async def test_an_export_is_whole_audited_and_harmless(officer: FastAPI) -> None:
    """No cell is a formula, no name is in it, and that it was made is a line."""
    with officer.state.desk.store.write() as db:
        officer.state.desk.note(db, "=cmd", "export", "+1", "@x")
    async with browse(officer) as http:
        answer = await http.post("/services/portal/audit/export")
    rows = list(csv.reader(io.StringIO(answer.text.removeprefix("\ufeff"))))
    assert rows[0][0] == "number" and len(rows) == 7
    assert [rows[1][2], rows[1][4], rows[1][5]] == ["'=cmd", "'+1", "'@x"]
    assert "Ann" not in answer.text
    (line,) = written(officer.state.desk, "export")[1:]
    assert (line.who, json.loads(line.detail)) == (ANN, {"count": 6})


@pytest.mark.parametrize("cell", ["=1", "+1", "-1", "@x", "\t=1", "\r=1"])
def test_no_cell_is_a_formula(cell: str) -> None:
    """A spreadsheet shows it as text."""
    assert audit_pages.plain(cell) == f"'{cell}"


async def test_many_bad_tokens_are_answered_429_and_make_few_lines(officer: FastAPI) -> None:
    """A good token from the same address is served all the same: many people share one."""
    hub = {"Authorization": f"Bearer {officer.state.desk.settings.secret('hub.token')}"}
    async with browse(officer) as http:
        bad = [
            (await http.get("/internal/wish", headers={"Authorization": "Bearer x"})).status_code
            for _try in range(40)
        ]
        good = await http.get(f"/internal/people/{ANN}/offering", headers=hub)
    assert (bad, good.status_code) == ([403] * 30 + [429] * 10, 200)
    officer.state.auditor.flush(all=True)
    assert len(written(officer.state.desk, "access.denied")) == 2
    assert [one.what for one in written(officer.state.desk, "alarm.")] == ["alarm.bad-tokens"]


async def test_a_request_from_another_page_is_a_line(officer: FastAPI) -> None:
    """Where it came from is what our proxy saw."""
    headers = {"Origin": "http://evil.example", "X-Forwarded-For": "1.2.3.4,203.0.113.9"}
    async with browse(officer) as http:
        assert (await http.post("/services/portal/sign-out", headers=headers)).status_code == 403
    officer.state.auditor.flush()
    (line,) = written(officer.state.desk, "access.denied")
    assert (line.where, json.loads(line.detail)) == ("203.0.113.9", {"reason": "origin"})


def test_an_unknown_destination_is_refused(tmp_path: Path) -> None:
    """With the right form in the message."""
    with pytest.raises(settings_module.SettingsError, match="syslog://host:port"):
        settings_module.load(environ={"PORTAL_AUDIT__SHIP": "udp://x", "HOME": os.fspath(tmp_path)})
