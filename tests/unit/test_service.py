"""The service's doors: who is let through, what each answer looks like."""

import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from portal import settings as settings_module
from portal.demo.programme import plant
from portal.identity import person_id
from portal.service import documents
from portal.service.desk import Desk
from portal.service.main import create
from portal.settings import Database, Settings
from portal.store import Store, connect, migrate

SECRETS = ("hub.token", "agent.token", "dashboards.token", "portal-hub.token", "portal.key")


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory, module_database: Database) -> Settings:
    home = tmp_path_factory.mktemp("portal")
    (home / "secrets").mkdir()
    for name in SECRETS:
        (home / "secrets" / name).write_text(secrets.token_hex(16))
    environ = {"PORTAL_SLURM__ACCOUNTS": "shared", "PORTAL_SLURM__SHARED_USER": "shared"}
    return settings_module.load(environ=environ).model_copy(
        update={"home": Path(home), "database": module_database}
    )


@pytest.fixture(scope="module")
def store(settings: Settings) -> Iterator[Store]:
    engine = connect(settings.database_url)
    migrate(engine)
    plant(settings)
    store = Store(engine)
    documents.accept(Desk(settings, store), person_id(settings.identity.issuer, "pi"), "")
    yield store
    engine.dispose()


@pytest.fixture
async def http(settings: Settings, store: Store) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(create(settings, store), raise_app_exceptions=False)
    async with httpx.AsyncClient(
        transport=transport, base_url="http://portal--service.localhost:8000"
    ) as client:
        yield client


def bearer(settings: Settings, name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {settings.secret(f'{name}.token')}"}


DOORS = [
    ("POST", "/internal/events", "hub"),
    ("GET", "/internal/people/p1/offering", "hub"),
    ("POST", "/internal/sessions", "hub"),
    ("POST", "/internal/sessions/x/job", "hub"),
    ("POST", "/internal/sessions/x/ready", "hub"),
    ("POST", "/internal/sessions/x/failed", "hub"),
    ("POST", "/internal/view", "agent"),
    ("POST", "/internal/finished", "agent"),
    ("POST", "/internal/counters", "agent"),
    ("GET", "/internal/wish", "agent"),
    ("POST", "/internal/capabilities", "dashboards"),
    ("POST", "/internal/capabilities/close", "dashboards"),
    ("GET", "/internal/my/allocation", "a capability"),
    ("GET", "/internal/my/queue", "a capability"),
]


@pytest.mark.parametrize(("method", "path", "holder"), DOORS)
async def test_each_internal_door_opens_to_its_own_process_only(
    http: httpx.AsyncClient, settings: Settings, method: str, path: str, holder: str
) -> None:
    """Without a token, with a wrong one, with another process's one: 403."""
    others = [bearer(settings, name) for name in ("hub", "agent", "dashboards") if name != holder]
    for headers in [{}, {"Authorization": "Bearer nonsense"}, {"Authorization": "Bearer "}, *others]:
        answer = await http.request(method, path, headers=headers, content=b"{}")
        assert answer.status_code == 403, f"{headers} opens {path}"
        assert answer.json()["code"] == "denied"


def test_every_internal_route_is_in_the_table_of_doors(settings: Settings, store: Store) -> None:
    """A new route without a guard fails here."""
    from portal.service.internal import router

    known = {
        (method, path.replace("/p1/", "/{person}/").replace("/x/", "/{session}/"))
        for method, path, _ in DOORS
    }
    found = {
        (method, getattr(route, "path", ""))
        for route in router.routes
        for method in getattr(route, "methods", [])
    }
    assert found - {("GET", "/internal/health")} == known


async def test_a_browser_without_a_sign_in_is_sent_to_the_hub(http: httpx.AsyncClient) -> None:
    """With PKCE, and the state in a signed cookie."""
    answer = await http.get("/services/portal/")
    assert answer.status_code == 302
    assert answer.headers["location"].startswith("http://localhost:8000/hub/api/oauth2/authorize?")
    assert "code_challenge=" in answer.headers["location"]
    assert "HttpOnly" in answer.headers["set-cookie"] and "Secure" in answer.headers["set-cookie"]


@pytest.mark.parametrize("origin", [None, "null", "http://localhost:8000", "http://evil.localhost:8000"])
async def test_what_changes_something_must_bear_our_own_origin(
    http: httpx.AsyncClient, origin: str | None
) -> None:
    """Another page of the same site sends the cookie as well; a missing Origin counts as foreign."""
    headers = {"Origin": origin} if origin else {}
    answer = await http.post("/services/portal/sessions/abc/stop", headers=headers)
    assert answer.status_code == 403
    assert "so nothing was done" in answer.text


async def test_no_page_may_be_framed_or_load_from_elsewhere(http: httpx.AsyncClient) -> None:
    """On errors too."""
    answer = await http.get("/services/portal/nowhere")
    assert answer.status_code == 404
    policy = answer.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in policy and "default-src 'none'" in policy


@pytest.mark.parametrize("state", ["", "x", "e30.bad", "." * 500, "e30=.e30="])
async def test_a_sign_in_that_was_not_begun_here_is_begun_anew(http: httpx.AsyncClient, state: str) -> None:
    """Hostile state, hostile cookie."""
    answer = await http.get(
        "/services/portal/oauth_callback",
        params={"state": state, "code": "x"},
        headers={"Cookie": f"__Host-portal-state={state}"},
    )
    assert answer.status_code == 302


async def test_a_capability_reads_its_own_person_until_it_is_closed(
    http: httpx.AsyncClient, settings: Settings, store: Store
) -> None:
    """Grants of that person, and no other; none before the terms are accepted."""
    who = person_id(settings.identity.issuer, "instructor")
    dashboards = bearer(settings, "dashboards")
    early = await http.post("/internal/capabilities", json={"person": who}, headers=dashboards)
    assert (early.status_code, early.json()["code"]) == (403, "terms-not-accepted")
    documents.accept(Desk(settings, store), who, "")
    token = (await http.post("/internal/capabilities", json={"person": who}, headers=dashboards)).json()[
        "token"
    ]
    mine = {"Authorization": f"Bearer {token}"}
    shown = (await http.get("/internal/my/allocation", headers=mine)).json()
    assert [grant["code"] for grant in shown["grants"]] == ["AISS-2026-0004"]
    assert (await http.get("/internal/wish", headers=mine)).status_code == 403
    await http.post("/internal/capabilities/close", json={"token": token}, headers=dashboards)
    assert (await http.get("/internal/my/allocation", headers=mine)).status_code == 403


async def test_starts_are_refused_in_one_sentence_while_slurm_is_unknown(
    http: httpx.AsyncClient, settings: Settings
) -> None:
    """No look yet: 503, which the hub tells as unreachable."""
    who = person_id(settings.identity.issuer, "pi")
    asked = {"person": who, "grant": "AISS-2026-0001", "size": "gpu1", "minutes": 60}
    answer = await http.post("/internal/sessions", json=asked, headers=bearer(settings, "hub"))
    assert (answer.status_code, answer.json()["code"]) == (503, "slurm-unknown")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"minutes": "60"}, "minutes"),
        ({"minutes": -5}, "minutes"),
        ({"minutes": 1.5}, "minutes"),
        ({"size": "gpu1\n#SBATCH --qos=x"}, "size"),
        ({"size": "$(id)"}, "size"),
        ({"grant": "{{ 7*7 }}"}, "grant"),
        ({"grant": "AISS-2026-0004"}, "grant"),
        ({"grant": "x" * 5000}, "grant"),
        ({"evil": "1"}, "evil"),
    ],
)
async def test_what_was_not_offered_is_400_with_the_field(
    http: httpx.AsyncClient, settings: Settings, change: dict[str, object], field: str
) -> None:
    """Other type, other size, other person's grant, quotes, newlines, unknown fields."""
    who = person_id(settings.identity.issuer, "pi")
    asked = {"person": who, "grant": "AISS-2026-0001", "size": "gpu1", "minutes": 60, **change}
    answer = await http.post("/internal/sessions", json=asked, headers=bearer(settings, "hub"))
    assert (answer.status_code, answer.json()["field"]) == (400, field)


async def test_a_token_without_a_session_gets_nothing(http: httpx.AsyncClient) -> None:
    """The notebook's door."""
    answer = await http.get("/services/portal/api/session", headers={"Authorization": "token abc"})
    assert answer.status_code == 403
