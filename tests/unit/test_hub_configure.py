"""What the hub is told, from the settings; and its pages as files."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jupyterhub.apihandlers import default_handlers
from jupyterhub.handlers.base import BaseHandler
from traitlets.config import Config

from portal import hub
from portal.hub import events, pages
from portal.hub.pages import _back
from portal.settings import Settings, SettingsError

SECRETS = (
    "cookie_secret",
    "crypt_key",
    "proxy.token",
    "hub.token",
    "portal-hub.token",
    "dash-hub.token",
    "proxy-check.token",
    "oidc-client.secret",
)
TEMPLATES = sorted(hub.TEMPLATES.glob("*.html"))
OURS = [path for path in TEMPLATES if path.name != "page.html"]


def secrets_in(home: Path, without: str = "") -> None:
    folder = home / "secrets"
    folder.mkdir()
    for name in SECRETS:
        if name != without:
            (folder / name).write_text(f"{name}-value")


def configured(home: Path, **sections: Any) -> Config:
    c = Config()
    hub.configure(c, Settings.model_validate({"home": home, **sections}))
    return c


@pytest.fixture
def c(tmp_path: Path) -> Config:
    secrets_in(tmp_path)
    return configured(tmp_path)


def test_everything_listens_on_loopback(c: Config) -> None:
    """Only the proxy is reached from outside, and it is not the hub's."""
    assert c.JupyterHub.hub_bind_url == "http://127.0.0.1:8002"
    assert c.JupyterHub.bind_url.startswith("http://127.0.0.1:")
    assert c.ConfigurableHTTPProxy.api_url == "http://127.0.0.1:8001"


def test_a_restart_of_the_hub_takes_nothing_with_it(c: Config) -> None:
    """Sessions and routes outlive the hub."""
    assert c.JupyterHub.cleanup_servers is False
    assert c.JupyterHub.cleanup_proxy is False
    assert c.ConfigurableHTTPProxy.should_start is False


def test_home_is_no_absolute_address(c: Config) -> None:
    """With the portal's own address there, every sign-in would end on an error while the portal is down."""
    assert c.JupyterHub.default_url == "/hub/home"


def test_nobody_is_allowed_by_configuration(c: Config) -> None:
    """`allow_all` would skip the check of the second factor; admins and named groups come after it."""
    assert not {"allow_all", "allowed_users", "allowed_groups", "admin_users", "admin_groups"} & set(
        c.PortalAuthenticator
    )


def test_sign_ins_and_tokens_last_one_workday(c: Config) -> None:
    """Eight hours for browsers, OAuth tokens and personal tokens."""
    assert c.JupyterHub.cookie_max_age_days * 24 == 8
    assert c.JupyterHub.oauth_token_expires_in == c.JupyterHub.token_expires_in_max_seconds == 8 * 3600


def test_a_servers_token_reaches_the_portal_and_little_else(c: Config) -> None:
    """A notebook's token must not list people, start servers or reach the dashboards."""
    scopes = {role["name"]: role["scopes"] for role in c.JupyterHub.load_roles}
    assert scopes["server"] == [
        "users:activity!user",
        "access:servers!server",
        "access:services!service=portal",
    ]


def test_no_service_may_act_as_an_administrator(c: Config) -> None:
    """The portal may start and stop servers; the proxy's checker may only have its routes checked."""
    scopes = {role["name"]: role["scopes"] for role in c.JupyterHub.load_roles}
    assert scopes["portal-service"] == ["start:servers", "delete:servers"]
    assert scopes["proxy-check"] == ["proxy"]


def test_people_in_the_queue_do_not_keep_others_out(c: Config) -> None:
    """JupyterHub counts waiting servers against this limit and answers 429 to everybody else."""
    assert c.JupyterHub.concurrent_spawn_limit == 0


def test_the_stock_port_call_back_is_gone(c: Config) -> None:
    """batchspawner's own handler lets a notebook run commands on the hub."""
    at_its_path = [entry[1].__module__ for entry in default_handlers if entry[0] == r"/api/batchspawner"]
    assert at_its_path == ["portal.hub.port_callback"]


def test_cookies_are_bound_to_their_host_where_https_allows_it(tmp_path: Path) -> None:
    """`__Host-` cookies must be Secure: on over https, off in the demonstration."""
    secrets_in(tmp_path)
    assert not configured(tmp_path).JupyterHub.cookie_host_prefix_enabled
    public = configured(tmp_path, web={"url": "https://hub.example.hk"})
    assert public.JupyterHub.cookie_host_prefix_enabled
    assert public.JupyterHub.subdomain_host == "https://hub.example.hk"


@pytest.mark.parametrize("name", [name for name in SECRETS if name not in ("cookie_secret", "hub.token")])
def test_a_missing_secret_is_named(tmp_path: Path, name: str) -> None:
    """The hub does not start with half of its secrets."""
    secrets_in(tmp_path, without=name)
    with pytest.raises(SettingsError, match=re.escape(name)):
        configured(tmp_path)


def test_the_configuration_file_holds_no_logic() -> None:
    """Under 40 lines; everything is in functions that a test can call."""
    text = (Path(__file__).parents[2] / "jupyterhub_config.py").read_text()
    assert len(text.splitlines()) < 40
    assert not re.search(r"^(def|class|if|for|while) ", text, re.MULTILINE)


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_no_page_trusts_text(path: Path) -> None:
    """`| safe` on an address or a message was JupyterHub's own hole."""
    assert not re.search(r"\|\s*safe", path.read_text())


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.name)
def test_pages_bring_no_style_or_script_of_their_own(path: Path) -> None:
    """The page's own policy forbids inline code, and nothing loads from another host."""
    text = path.read_text()
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|<script(?![^>]*src=)", text)
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", text)


@pytest.mark.parametrize(
    ("referer", "back"),
    [
        ("http://localhost:8000/hub/login?next=%2Fhub%2Fhome", "/hub/login?next=%2Fhub%2Fhome"),
        ("http://localhost:8000/hub/spawn", "/hub/spawn"),
        ("http://localhost:8000/hub/lang?set=en", "/hub/home"),
        ("http://localhost:8000/hub/oauth_callback?code=x", "/hub/home"),
        ("http://localhost:8000//evil.example/hub/", "/hub/home"),
        ("http://localhost:8000/hub/../user/x", "/hub/home"),
        ("http://ann.localhost:8000/hub/spawn", "/hub/home"),
        ("https://evil.example/hub/spawn", "/hub/home"),
        ("", "/hub/home"),
    ],
)
def test_the_language_switch_returns_to_our_own_pages_only(referer: str, back: str) -> None:
    """The address of the page before comes from the browser."""
    assert _back(referer, "http://localhost:8000") == back


@pytest.mark.parametrize("order", [(pages.install, events.install), (events.install, pages.install)])
def test_every_request_is_checked_in_whatever_order_the_hub_is_prepared(
    order: tuple[Callable[[], None], ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its language is chosen, what another page sent is refused, and the audit hears of it: none replaces another."""

    async def stock(handler: Any) -> None:
        pass

    monkeypatch.setattr(BaseHandler, "prepare", stock)
    for name in ("spawn_single_user", "stop_single_user"):
        monkeypatch.setattr(BaseHandler, name, getattr(BaseHandler, name))
    for install in order:
        install()

    assert reached(BaseHandler.prepare) == {"portal.hub.pages", "portal.hub.events", __name__}


def reached(prepare: Any) -> set[str]:
    """The modules of the functions that one call goes through, one wrapped in another."""
    inner = [cell.cell_contents for cell in prepare.__closure__ or ()]
    found = {prepare.__module__}
    for function in inner:
        if callable(function) and hasattr(function, "__closure__"):
            found |= reached(function)
    return found
