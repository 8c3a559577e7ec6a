"""The portal's sign-in: whose token in the cookie counts, and where a sign-in leads back to."""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
from tornado import web
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port

from portal import settings as settings_module
from portal.service import access, documents
from portal.service.desk import Desk
from portal.service.main import create
from portal.settings import Database, Settings
from portal.store import Store, connect, migrate, notices, people

HOME = "/services/portal/"
ADDRESS = "https://portal--service.localhost:8000"
"""Of the client alone: it keeps `Secure` cookies under https only, browsers on this machine also without."""
SCOPES = ["access:services!service=portal"]
TOKENS: dict[str, dict[str, object]] = {
    "browser": {"session_id": "b1", "scopes": SCOPES},
    "newcomer": {"session_id": "b2", "scopes": SCOPES, "name": "p2"},
    "notebook": {"session_id": None, "scopes": [*SCOPES, "users:activity!user=p1"]},
    "other-service": {"session_id": "b1", "scopes": ["access:services!service=dash"]},
}


class WhoAmI(web.RequestHandler):
    """The hub's answer to whoever shows a token: `/hub/api/user`."""

    async def get(self) -> None:
        if self.request.headers.get("Authorization", "").endswith(" slow"):
            await asyncio.sleep(10)
        known = TOKENS.get(self.request.headers.get("Authorization", "").split(" ")[-1])
        if known is None:
            raise web.HTTPError(403)
        self.finish(json.dumps({"kind": "user", "name": "p1", **known}))


class Code(web.RequestHandler):
    """The hub's exchange of a code for a token."""

    def post(self) -> None:
        self.finish(json.dumps({"access_token": "browser"}))


@pytest.fixture
async def hub() -> AsyncIterator[int]:
    """A port where something answers as the hub does."""
    sock, port = bind_unused_port()
    server = HTTPServer(
        web.Application([("/hub/api/user", WhoAmI), ("/hub/api/oauth2/token", Code)], log_function=str)
    )
    server.add_sockets([sock])
    yield port
    server.stop()
    await server.close_all_connections()


@pytest.fixture
def settings(tmp_path: Path, hub: int, database: Database) -> Settings:
    (tmp_path / "secrets").mkdir()
    for name in ("hub.token", "agent.token", "dashboards.token", "portal-hub.token", "portal.key"):
        (tmp_path / "secrets" / name).write_text(secrets.token_hex(16))
    environ = {"PORTAL_WEB__HUB_PORT": str(hub), "PORTAL_SLURM__SHARED_USER": "shared"}
    return settings_module.load(environ=environ).model_copy(update={"home": tmp_path, "database": database})


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    engine = connect(settings.database_url)
    migrate(engine)
    store = Store(engine)
    documents.accept(Desk(settings, store), "p1", "")
    yield store
    engine.dispose()


@pytest.fixture
async def http(settings: Settings, store: Store) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(create(settings, store), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url=ADDRESS) as client:
        yield client


@pytest.mark.parametrize(
    ("token", "status"), [("browser", 200), ("notebook", 302), ("other-service", 302), ("unknown", 302)]
)
async def test_only_a_browsers_own_sign_in_opens_the_pages(
    http: httpx.AsyncClient, token: str, status: int
) -> None:
    """A notebook's token may reach the portal, but in the cookie it would be the whole person."""
    answer = await http.get(HOME, headers={"Cookie": f"__Host-portal={token}"})
    assert answer.status_code == status


async def test_a_hub_that_hangs_is_said_to_be_away(
    http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Soon, and in words."""
    monkeypatch.setattr(access, "HUB_SECONDS", 0.2)
    answer = await http.get(HOME, headers={"Cookie": "__Host-portal=slow"})
    assert answer.status_code == 503
    assert "Signing in is down since" in answer.text


async def test_a_header_of_sign_in_does_not_stand_in_for_the_origin(http: httpx.AsyncClient) -> None:
    """The cookie would still be what lets it through."""
    headers = {"Cookie": "__Host-portal=browser", "Authorization": "Basic eDp5"}
    answer = await http.post(f"{HOME}sessions/abc/stop", headers=headers)
    assert answer.status_code == 403


async def test_a_sign_in_that_comes_back_twice_ends_at_home(http: httpx.AsyncClient) -> None:
    """Two tabs begin one each, and the browser keeps one state: the other tab must not go round for ever."""
    lost = await http.get(f"{HOME}oauth_callback", params={"state": "of-the-other-tab", "code": "x"})
    assert lost.status_code == 302
    state = httpx.URL(lost.headers["location"]).params["state"]
    back = await http.get(f"{HOME}oauth_callback", params={"state": state, "code": "y"})
    assert (back.status_code, back.headers["location"]) == (302, HOME)


async def test_a_sign_in_leads_back_to_where_it_was_needed(http: httpx.AsyncClient) -> None:
    """With the query, and only on our own host."""
    away = await http.get(f"{HOME}sessions/abc?x=1")
    state = httpx.URL(away.headers["location"]).params["state"]
    back = await http.get(f"{HOME}oauth_callback", params={"state": state, "code": "y"})
    assert back.headers["location"] == f"{HOME}sessions/abc?x=1"


@pytest.mark.parametrize("cookie", [b"abc.\xe9", b"\xff", b"e30.\xc3\xa9"])
async def test_a_state_of_other_letters_is_begun_anew(http: httpx.AsyncClient, cookie: bytes) -> None:
    """Not an error of ours."""
    answer = await http.get(
        f"{HOME}oauth_callback?state=x&code=x", headers=[(b"Cookie", b"__Host-portal-state=" + cookie)]
    )
    assert answer.status_code == 302


NEWCOMER = {"Cookie": "__Host-portal=newcomer", "Origin": "http://portal--service.localhost:8000"}


async def test_a_newcomer_reads_the_terms_first_and_then_goes_on(http: httpx.AsyncClient) -> None:
    """Whatever page was asked for; the box must be ticked for the version in force; once is enough."""
    asked = await http.get(f"{HOME}start?size=gpu2", headers=NEWCOMER)
    assert asked.status_code == 303
    assert asked.headers["location"] == f"{HOME}welcome?back=%2Fservices%2Fportal%2Fstart%3Fsize%3Dgpu2"
    page = await http.get(asked.headers["location"], headers=NEWCOMER)
    assert "I have read the privacy notice" in page.text

    for form in ({}, {"accepted": "0"}):
        refused = await http.post(f"{HOME}welcome", headers=NEWCOMER, data=form)
        assert (refused.status_code, "Nothing was saved" in refused.text) == (400, True)
    assert (await http.get(HOME, headers=NEWCOMER)).status_code == 303

    form = {"accepted": "1", "back": f"{HOME}help"}
    done = await http.post(f"{HOME}welcome", headers=NEWCOMER, data=form)
    assert (done.status_code, done.headers["location"]) == (303, f"{HOME}help")
    assert (await http.get(HOME, headers=NEWCOMER)).status_code == 200


@pytest.mark.parametrize(
    "back",
    [
        "https://evil.example/",
        "//evil.example",
        "/services/portal/\\evil",
        "/hub/logout",
        f"{HOME}\r\nPerson: x",
    ],
)
async def test_the_terms_lead_back_to_the_portal_only(http: httpx.AsyncClient, back: str) -> None:
    """A stranger's link must not lead on to a stranger's page."""
    form = {"accepted": "1", "back": back}
    assert (await http.post(f"{HOME}welcome", headers=NEWCOMER, data=form)).headers["location"] == HOME


@pytest.mark.parametrize("path", ["privacy", "terms", "help", "help/pi", "help/reasons"])
async def test_notice_terms_and_help_are_open_to_all(http: httpx.AsyncClient, path: str) -> None:
    """Also before the terms are accepted, and to those who cannot sign in."""
    for headers in ({}, NEWCOMER, {"Accept-Language": "zh-HK"}):
        answer = await http.get(HOME + path, headers=headers)
        assert answer.status_code == 200
    assert (await http.get(f"{HOME}help/nonsense")).status_code == 404


SIGNED_IN = {"Cookie": "__Host-portal=browser", "Origin": "http://portal--service.localhost:8000"}


@pytest.mark.parametrize(
    "path",
    [f"jobs/aisc/{2**63}/1", f"jobs/aisc/1/{2**64}/live", "jobs/%00/1/1", "sessions/a%00b", "audit?who=%00"],
)
async def test_what_no_database_can_hold_is_no_error_of_ours(http: httpx.AsyncClient, path: str) -> None:
    """A number beyond all, a letter that is none: there is no such thing, and nobody is to be woken for it."""
    answer = await http.get(HOME + path, headers=SIGNED_IN)
    assert answer.status_code in (403, 404)


async def test_a_form_that_cannot_be_read_is_no_error_of_ours(http: httpx.AsyncClient) -> None:
    """Such as one in parts, which does not say what stands between them."""
    headers = SIGNED_IN | {"Content-Type": "multipart/form-data"}
    answer = await http.post(f"{HOME}report", headers=headers, content=b"x")
    assert (answer.status_code, "was not understood" in answer.text) == (400, True)


async def test_a_report_is_kept_with_its_number(http: httpx.AsyncClient, settings: Settings) -> None:
    """One file each, closed to others; the person is told the number in it."""
    form = {"text": "It hangs.\nTwice.", "came_from": f"{HOME}sessions/abc", "session": "of-somebody-else"}
    answer = await http.post(f"{HOME}report", headers=SIGNED_IN, data=form)

    (file,) = (settings.home / "reports").iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.stem in answer.text
    kept = file.read_text()
    assert "It hangs.\nTwice." in kept and "p1" in kept and f"{HOME}sessions/abc" in kept
    assert "of-somebody-else" not in kept


async def test_a_report_goes_by_mail_where_there_is_mail(settings: Settings, store: Store) -> None:
    """To the operators, with the person's address to answer to; no file is left."""
    site = settings.site.model_copy(update={"operators": "operators@aisc.test"})
    mail = settings.mail.model_copy(update={"host": "127.0.0.1", "security": "none"})
    sends = settings.model_copy(update={"site": site, "mail": mail})
    with store.write() as db:
        people.record(db, people.Person("p1", "iss", "p1", "shared", "P", "p1@uni.test", frozenset()), 0)
    transport = httpx.ASGITransport(create(sends, store), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url=ADDRESS) as client:
        answer = await client.post(f"{HOME}report", headers=SIGNED_IN, data={"text": "It hangs."})

    with store.read() as db:
        (letter,) = notices.due(db, 2**40, 10)
    assert (letter.address, letter.reply_to) == ("operators@aisc.test", "p1@uni.test")
    assert "It hangs." in str(letter.values)
    assert letter.key.rpartition(":")[2] in answer.text
    assert not (settings.home / "reports").exists()


async def test_a_report_says_what_is_wrong_with_it(http: httpx.AsyncClient, settings: Settings) -> None:
    """Nothing written, too much, too often: the words stay in the form."""
    empty = await http.post(f"{HOME}report", headers=SIGNED_IN, data={"text": "  "})
    long = await http.post(f"{HOME}report", headers=SIGNED_IN, data={"text": "x" * 5000})
    assert (empty.status_code, long.status_code) == (400, 400)
    assert "5000 characters" in long.text and "xxxx" in long.text
    answers = [await http.post(f"{HOME}report", headers=SIGNED_IN, data={"text": f"{n}"}) for n in range(12)]
    assert [answer.status_code for answer in answers].count(400) == 2


async def test_a_page_of_ours_that_breaks_is_bound_like_any_other(settings: Settings, store: Store) -> None:
    """The answer to an error is made outside of what binds the others."""
    app = create(settings, store)

    def breaks() -> None:
        raise RuntimeError("<script>")

    app.add_api_route(f"{HOME}breaks", breaks)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url=ADDRESS) as client:
        answer = await client.get(f"{HOME}breaks")
    assert (answer.status_code, "<script>" in answer.text) == (500, False)
    assert "default-src 'none'" in answer.headers["content-security-policy"]
