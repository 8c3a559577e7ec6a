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
from portal.service import access
from portal.service.main import create
from portal.settings import Settings
from portal.store import Store, connect, migrate

HOME = "/services/portal/"
ADDRESS = "https://portal--service.localhost:8000"
"""Of the client alone: it keeps `Secure` cookies under https only, browsers on this machine also without."""
SCOPES = ["access:services!service=portal"]
TOKENS: dict[str, dict[str, object]] = {
    "browser": {"session_id": "b1", "scopes": SCOPES},
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
def settings(tmp_path: Path, hub: int) -> Settings:
    (tmp_path / "secrets").mkdir()
    for name in ("hub.token", "agent.token", "dashboards.token", "portal-hub.token", "portal.key"):
        (tmp_path / "secrets" / name).write_text(secrets.token_hex(16))
    environ = {"PORTAL_WEB__HUB_PORT": str(hub), "PORTAL_SLURM__SHARED_USER": "shared"}
    return settings_module.load(environ=environ).model_copy(update={"home": tmp_path})


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    engine = connect(settings.database_url)
    migrate(engine)
    yield Store(engine)
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
