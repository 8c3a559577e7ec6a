"""The dashboards behind a real hub: each person reaches their own kernel and nobody else's, and code of theirs runs nowhere.

The hub, its sign-in and the dashboards are real. Instead of the proxy, every request goes straight to the process that
would get it, with the Host header that the proxy would pass on. The portal is a small server that speaks its API.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from tornado.httpclient import HTTPRequest
from tornado.websocket import WebSocketClientConnection, websocket_connect

from portal.client import Allocation, GrantView, LiveNode, Queue, QueueJob
from portal.units import GPU_HOUR

BASE = "/services/dash/"
IDLE_SECONDS = 5.0
NOW = int(time.time())

HUB = """
from jupyterhub.proxy import Proxy

class NoProxy(Proxy):
    should_start = False
    routes = {{}}
    async def get_all_routes(self):
        return self.routes
    async def add_route(self, routespec, target, data):
        self.routes[routespec] = {{"routespec": routespec, "target": target, "data": data}}
    async def delete_route(self, routespec):
        self.routes.pop(routespec, None)

c.JupyterHub.proxy_class = NoProxy
c.JupyterHub.bind_url = "http://127.0.0.1:{public}"
c.JupyterHub.hub_bind_url = "http://127.0.0.1:{hub}"
c.JupyterHub.subdomain_host = "{url}"
c.JupyterHub.db_url = "sqlite://"
c.JupyterHub.cookie_secret = bytes.fromhex("{secret}")
c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allow_all = True
c.JupyterHub.services = [
    {{"name": "dash", "url": "http://127.0.0.1:{dash}", "api_token": "{token}", "oauth_no_confirm": True}}
]
c.JupyterHub.load_roles = [{{"name": "user", "scopes": ["self", "access:services!service=dash"]}}]
"""

PORTAL_TOML = """
home = "{home}"
[site]
contact = "grants@aisc.example"
[web]
url = "{url}"
hub_port = {hub}
portal_port = {portal}
dashboards_port = {dash}
[dashboards]
pages = 3
pages_per_person = 2
idle_seconds = {idle}
"""


def free_ports(number: int) -> list[int]:
    """Ports that are free now; held together so that they differ."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(number)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def grant(code: str, title: str, **changed: Any) -> GrantView:
    figures: dict[str, Any] = {
        "code": code,
        "title": title,
        "organisation": "Example University",
        "state": "active",
        "role": "member",
        "starts": NOW - 100 * 86400,
        "ends": NOW + 200 * 86400,
        "awarded": 5_000 * GPU_HOUR,
        "balance": 3_204 * GPU_HOUR,
        "committed": 32 * GPU_HOUR,
        "available": 3_172 * GPU_HOUR,
        "spent": 1_796 * GPU_HOUR,
        "list_cents": 2_155_200_00,
        "subsidy_cents": 1_508_640_00,
        "own_cents": 646_560_00,
        "history": [(NOW - day * 86400, (20 + 13 * day % 50) * GPU_HOUR) for day in range(30, 0, -1)],
    }
    return GrantView(**figures | changed)


def job(number: int, **changed: Any) -> QueueJob:
    values: dict[str, Any] = {
        "id": number,
        "mine": False,
        "label": "",
        "state": "RUNNING",
        "reason": "",
        "partition": "gpu",
        "gpus": 1.0,
        "nodes": "gpu01",
        "submit": NOW - 4000,
        "start": NOW - 3600,
        "limit_seconds": 7200,
    }
    return QueueJob(**values | changed)


def nodes() -> list[LiveNode]:
    return [
        LiveNode(
            name="gpu01", state="MIXED", partition="gpu", gpus=8, gpus_used=3.25, cores=128, cores_used=52
        ),
        LiveNode(
            name="gpu02", state="ALLOCATED", partition="gpu", gpus=8, gpus_used=8, cores=128, cores_used=128
        ),
        LiveNode(name="gpu03", state="IDLE", partition="gpu", gpus=8, cores=128),
        LiveNode(name="gpu04", state="IDLE+DRAIN", partition="gpu", gpus=8, cores=128),
        LiveNode(name="cpu01", state="MIXED", partition="cpu", cores=64, cores_used=20),
        LiveNode(name="cpu02", state="IDLE", partition="cpu", cores=64),
    ]


@dataclass
class Portal:
    """Speaks the part of the portal's API that the dashboards use. capabilities: token > person, while open."""

    port: int
    token: str
    capabilities: dict[str, str] = field(default_factory=dict)
    closed: list[str] = field(default_factory=list)
    grants: dict[str, list[GrantView]] = field(default_factory=dict)
    jobs: list[QueueJob] = field(default_factory=list)
    down: bool = False
    frozen_at: int | None = None

    def open(self, person: str) -> dict[str, str]:
        token = secrets.token_urlsafe(24)
        self.capabilities[token] = person
        return {"token": token}

    def allocation(self, person: str) -> Allocation:
        now = self.frozen_at or int(time.time())
        return Allocation(at=now, as_at=now, grants=self.grants.get(person, []))

    def queue(self, person: str) -> Queue:
        now = self.frozen_at or int(time.time())
        mine = [one.model_copy(update={"mine": one.label.startswith(person)}) for one in self.jobs]
        return Queue(at=now, as_at=now, nodes=nodes(), jobs=mine)

    def answer(self, method: str, path: str, bearer: str, body: dict[str, str]) -> tuple[int, Any]:
        person = self.capabilities.get(bearer)
        if self.down:
            return 503, {"message": "down"}
        if path == "/internal/capabilities" and bearer == self.token:
            return 200, self.open(body["person"])
        if path == "/internal/capabilities/close" and bearer == self.token:
            self.closed.append(body["token"])
            self.capabilities.pop(body["token"], None)
            return 200, {}
        if person and path == "/internal/my/allocation":
            return 200, self.allocation(person).model_dump()
        if person and path == "/internal/my/queue":
            return 200, self.queue(person).model_dump()
        return 403, {"message": "no", "code": "capability"}


@contextlib.contextmanager
def served(portal: Portal) -> Iterator[Portal]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
            bearer = self.headers.get("Authorization", "").removeprefix("Bearer ")
            code, answer = portal.answer(self.command, self.path.split("?")[0], bearer, body)
            content = json.dumps(answer).encode()
            self.send_response(code)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_GET

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", portal.port), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield portal
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Straight(httpx.BaseTransport):
    """Sends each request to the process behind its host name, as the proxy would, with the Host header kept.

    Browsers count localhost as secure and httpx does not, so the word Secure is taken off the cookies.
    """

    def __init__(self, ports: dict[str, int]) -> None:
        self.ports, self.inner = ports, httpx.HTTPTransport()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        address = request.url.copy_with(host="127.0.0.1", port=self.ports[request.url.host])
        straight = httpx.Request(
            request.method,
            address,
            headers=request.headers,
            stream=request.stream,
            extensions=request.extensions,
        )
        answer = self.inner.handle_request(straight)
        answer.headers = httpx.Headers(
            [
                (name, value.replace(b"; Secure", b"") if name.lower() == b"set-cookie" else value)
                for name, value in answer.headers.raw
            ]
        )
        return answer

    def close(self) -> None:
        self.inner.close()


@dataclass
class World:
    """Everything that runs for these tests."""

    home: Path
    url: str
    ports: dict[str, int]
    portal: Portal
    hub: subprocess.Popen[bytes]
    dash: subprocess.Popen[bytes]

    @property
    def origin(self) -> str:
        return self.url.replace("http://", "http://dash--service.")

    def address(self, path: str) -> str:
        return f"{self.origin}{BASE}{path}"

    def anonymous(self) -> httpx.Client:
        return httpx.Client(transport=Straight(self.ports), timeout=30, trust_env=False)

    def log(self) -> str:
        return "".join(path.read_text()[-8000:] for path in sorted(self.home.glob("*.log")))

    def kernels(self) -> list[int]:
        """Process ids of the kernels that run."""
        found = []
        for path in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                words = path.read_text().rsplit(")", 1)[1].split()
                if int(words[1]) == self.dash.pid and words[0] != "Z":
                    found.append(int(path.parent.name))
        return found


class Person:
    """Somebody with a browser."""

    def __init__(self, world: World, name: str) -> None:
        self.world, self.name = world, name
        self.http = world.anonymous()
        self.kernels: list[str] = []
        self.sign_in()

    def sign_in(self) -> None:
        form = self.http.get(self.world.url + "/hub/login")
        xsrf = re.search(r'name="_xsrf" value="([^"]+)"', form.text)
        assert xsrf is not None
        data = {"username": self.name, "password": "x", "_xsrf": xsrf[1]}
        answer = self.http.post(self.world.url + "/hub/login", data=data)
        assert answer.status_code == 302, answer.text

    def open(self, page: str = "allocation", **options: Any) -> tuple[httpx.Response, str]:
        """Open a dashboard. Return the page and the id of its kernel."""
        answer = self.http.get(self.world.address(page), follow_redirects=True, **options)
        assert answer.status_code == 200, answer.text + self.world.log()
        config = re.search(r'<script id="jupyter-config-data"[^>]*>(.*?)</script>', answer.text, re.S)
        assert config is not None, answer.text
        self.kernels.append(json.loads(config[1])["kernelId"])
        return answer, self.kernels[-1]

    @property
    def cookies(self) -> dict[str, str]:
        """The cookies that the browser would send to the dashboards."""
        request = self.http.build_request("GET", self.world.address(""))
        pairs = (pair.split("=", 1) for pair in request.headers.get("Cookie", "").split("; ") if pair)
        return dict(pairs)

    def call(self, method: str, path: str, **headers: str) -> httpx.Response:
        """A request as a script of our own page sends it, with the headers given changed."""
        usual = {
            "Origin": self.world.origin,
            "Referer": self.world.address("allocation"),
            "X-XSRFToken": self.cookies.get("_xsrf", "").strip('"'),
            "Sec-Fetch-Mode": "cors",
            "Sec-Fetch-Site": "same-origin",
        }
        return self.http.request(method, self.world.address(path), headers=usual | headers)

    def upgrade(self, kernel: str, **headers: str) -> int:
        """Ask for the kernel's websocket; the status of a refusal."""
        key = {"Sec-WebSocket-Key": "x" * 24, "Sec-WebSocket-Version": "13", "Sec-Fetch-Mode": "websocket"}
        asked = {"Connection": "Upgrade", "Upgrade": "websocket"} | key | headers
        return self.call("GET", f"api/kernels/{kernel}/channels", **asked).status_code

    @contextlib.asynccontextmanager
    async def connected(self, kernel: str) -> AsyncIterator[WebSocketClientConnection]:
        """Open the kernel's websocket as the page does."""
        cookie = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        host = self.world.origin.removeprefix("http://")
        headers = {"Host": host, "Cookie": cookie, "Origin": self.world.origin}
        port = self.world.ports[host.split(":")[0]]
        address = f"ws://127.0.0.1:{port}{BASE}api/kernels/{kernel}/channels?session_id={uuid.uuid4().hex}"
        connection = await websocket_connect(HTTPRequest(address, headers=headers))
        try:
            yield connection
        finally:
            connection.close()
            await heard(connection, 0.5)

    def leave(self) -> None:
        """Close every page, each with the farewell that a browser sends."""
        for kernel in self.kernels:
            self.call("POST", f"voila/api/shutdown/{kernel}")
        self.kernels.clear()

    def close(self) -> None:
        with contextlib.suppress(httpx.HTTPError):
            self.leave()
        self.http.close()


def until(holds: Any, seconds: float = 15.0) -> bool:
    """Wait for something to become true."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if holds():
            return True
        time.sleep(0.1)
    return False


def answers(port: int, path: str) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}{path}", timeout=2, trust_env=False).status_code < 500
    except httpx.HTTPError:
        return False


def start_hub(home: Path, port: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "jupyterhub", "-f", str(home / "hub.py")]
    return _start(home, "hub", command, {}, port, "/hub/health")


def start_dashboards(home: Path, port: int) -> subprocess.Popen[bytes]:
    code = "from portal.settings import load; from portal.dashboards.server import run; run(load())"
    secret = {
        "PORTAL_SETTINGS": str(home / "portal.toml"),
        "JUPYTERHUB_API_TOKEN": "leaked",
        "HTTP_X": "leaked",
    }
    return _start(home, "dash", [sys.executable, "-c", code], secret, port, BASE + "look/tokens.css")


def _start(
    home: Path, name: str, command: list[str], environ: dict[str, str], port: int, path: str
) -> subprocess.Popen[bytes]:
    bare = {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8"}
    with (home / f"{name}.log").open("ab") as log:
        process = subprocess.Popen(command, cwd=home, env=bare | environ, stdout=log, stderr=log)
    if not until(lambda: answers(port, path) or process.poll() is not None, 60) or process.poll() is not None:
        process.kill()
        pytest.fail(f"{name} did not start:\n" + (home / f"{name}.log").read_text()[-8000:])
    return process


def stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def write_settings(home: Path, url: str, ports: list[int]) -> tuple[str, str]:
    """The hub's and our settings and secrets, in `home`. Return the portal token and the hub token."""
    public, hub, portal, dash = ports
    hub_token, portal_token = secrets.token_hex(32), secrets.token_hex(32)
    (home / "secrets").mkdir(mode=0o700)
    (home / "secrets" / "dash-hub.token").write_text(hub_token)
    (home / "secrets" / "dashboards.token").write_text(portal_token)
    (home / "hub.py").write_text(
        HUB.format(public=public, hub=hub, dash=dash, url=url, token=hub_token, secret=secrets.token_hex(32))
    )
    (home / "portal.toml").write_text(
        PORTAL_TOML.format(home=home, url=url, hub=hub, portal=portal, dash=dash, idle=IDLE_SECONDS)
    )
    return portal_token, hub_token


@contextlib.contextmanager
def short_home() -> Iterator[Path]:
    """A home with a short name, as in production, so that the kernels' sockets lie in it."""
    with tempfile.TemporaryDirectory(prefix="dash-test-", dir="/tmp") as folder:
        yield Path(folder)


@contextlib.contextmanager
def running(home: Path) -> Iterator[World]:
    ports = free_ports(4)
    url = f"http://localhost:{ports[0]}"
    token, _ = write_settings(home, url, ports)
    portal = Portal(ports[2], token)
    portal.grants["alice"] = [
        grant("AISS-1", "<script>alert('title')</script>"),
        grant("AISS-2", "Materials"),
    ]
    portal.jobs = [
        job(101, label="alice-train"),
        job(102, gpus=4.0, nodes="gpu02"),
        job(103, state="PENDING", reason="<b>waits</b>", start=None, nodes=""),
    ]
    with served(portal), contextlib.ExitStack() as stack:
        hub = start_hub(home, ports[1])
        stack.callback(stop, hub)
        dash = start_dashboards(home, ports[3])
        hosts = {"localhost": ports[1], "dash--service.localhost": ports[3]}
        world = World(home, url, hosts, portal, hub, dash)
        stack.callback(lambda: stop(world.dash))
        yield world


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with short_home() as home, running(home) as world:
        yield world


@pytest.fixture
def alice(world: World) -> Iterator[Person]:
    person = Person(world, "alice")
    yield person
    person.close()
    assert until(lambda: not world.kernels(), 40), "kernels are left: " + world.log()


@pytest.fixture
def bob(world: World) -> Iterator[Person]:
    person = Person(world, "bob")
    yield person
    person.close()


def message(kind: str, content: dict[str, Any], channel: str = "shell") -> str:
    header = {
        "msg_id": uuid.uuid4().hex,
        "msg_type": kind,
        "username": "",
        "session": "x",
        "date": "2026-01-01T00:00:00Z",
        "version": "5.3",
    }
    parts = {"header": header, "parent_header": {}, "metadata": {}, "content": content, "buffers": []}
    return json.dumps(parts | {"channel": channel})


async def heard(
    connection: WebSocketClientConnection, seconds: float, phrase: str = ""
) -> list[dict[str, Any]]:
    """Everything that the kernel says in that time, or until it says the phrase."""
    found: list[dict[str, Any]] = []
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        with contextlib.suppress(TimeoutError):
            told = await asyncio.wait_for(connection.read_message(), left)
            if told is None:
                break
            if isinstance(told, bytes):
                told = told[told.index(b"{") : told.rindex(b"}") + 1].decode(errors="replace")
            found.append({"raw": told})
            if phrase and phrase in told:
                break
    return found


def test_a_page_is_drawn_for_its_reader(alice: Person) -> None:
    """Alice sees her frame in her language, and every answer forbids frames and foreign scripts."""
    answer, _ = alice.open(headers={"Accept-Language": "zh-HK,en;q=0.5"})

    assert '<html lang="zh-Hant-HK" ' in answer.text
    assert "/services/portal/" in answer.text
    policy = answer.headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in policy and "'unsafe-eval'" not in policy
    assert "default-src 'none'" in policy


def test_no_page_names_another_host(alice: Person) -> None:
    """The page loads everything from the dashboards themselves; links lead to hub and portal."""
    answer, _ = alice.open("queue")
    hosts = set(re.findall(r"""(?:src|href)=["'](?:https?:)?//([^/"']+)""", answer.text))

    hub = alice.world.url.removeprefix("http://")
    assert hosts <= {hub, f"portal--service.{hub}"}


def test_a_kernel_holds_no_secret(world: World, alice: Person) -> None:
    """A kernel's environment is a short list; none of the service's tokens is in it, nor its settings."""
    alice.open()
    (kernel,) = world.kernels()
    pairs = Path(f"/proc/{kernel}/environ").read_text().rstrip("\0").split("\0")
    environ = dict(pair.split("=", 1) for pair in pairs)

    allowed = {"PATH", "LANG", "TZ", "HOME", "IPYTHONDIR", "PORTAL_LANG", "JPY_PARENT_PID"}
    dash = {
        "PORTAL_DASH_URL",
        "PORTAL_DASH_TOKEN",
        "PORTAL_DASH_CURRENCY",
        "PORTAL_DASH_CONTACT",
        "PORTAL_DASH_HELP",
    }
    assert set(environ) <= allowed | dash
    for name in ("dash-hub.token", "dashboards.token"):
        assert (world.home / "secrets" / name).read_text() not in environ.values()
    assert world.portal.capabilities[environ["PORTAL_DASH_TOKEN"]] == "alice"


def test_bob_reaches_nothing_of_alice(alice: Person, bob: Person) -> None:
    """Reading, steering, ending and watching another person's kernel are refused, and the kernel lives on."""
    _, kernel = alice.open()
    bob.open()

    assert bob.call("GET", f"api/kernels/{kernel}").status_code == 403
    assert bob.call("GET", f"alive/{kernel}").status_code == 404
    assert bob.call("DELETE", f"api/kernels/{kernel}").status_code == 405
    assert bob.call("PATCH", f"api/kernels/{kernel}").status_code == 405
    assert bob.call("POST", f"api/kernels/{kernel}/interrupt").status_code == 404
    assert bob.call("POST", f"api/kernels/{kernel}/restart").status_code == 404
    assert bob.call("POST", f"voila/api/shutdown/{kernel}").status_code == 404
    assert alice.call("GET", f"alive/{kernel}").json()["alive"] is True


async def test_bob_cannot_listen_to_alices_kernel(alice: Person, bob: Person) -> None:
    """Her websocket opens for her only."""
    _, kernel = alice.open()
    bob.open()

    assert bob.upgrade(kernel) == 403
    async with alice.connected(kernel) as connection:
        assert await heard(connection, 1)


async def test_a_foreign_page_cannot_connect(alice: Person) -> None:
    """With Alice's cookies but another origin, or none, her websocket stays shut."""
    _, kernel = alice.open()

    for origin in (
        "http://alice.localhost:1",
        alice.world.url,
        alice.world.origin + ".evil.example",
        "null",
        "",
    ):
        assert alice.upgrade(kernel, Origin=origin) == 403


def test_a_foreign_page_cannot_end_a_kernel(alice: Person) -> None:
    """Alice's cookies, even with her token, count from our own pages only."""
    _, kernel = alice.open()

    assert alice.call("POST", f"voila/api/shutdown/{kernel}", Origin="http://x.localhost").status_code == 404
    assert alice.call("POST", f"voila/api/shutdown/{kernel}", **{"X-XSRFToken": "no"}).status_code == 403
    assert alice.call("GET", f"alive/{kernel}").json()["alive"] is True


async def test_nobody_runs_code(world: World, alice: Person) -> None:
    """Messages that run code or touch widgets are dropped, on every channel; a question is answered."""
    _, kernel = alice.open()
    proof = world.home / "proof"
    code = {"code": f"open({str(proof)!r}, 'w')", "silent": False, "user_expressions": {"a": "1"}}
    async with alice.connected(kernel) as connection:
        for channel in ("shell", "control", "iopub"):
            connection.write_message(message("execute_request", code, channel))
        connection.write_message(message("shutdown_request", {"restart": False}, "control"))
        connection.write_message(message("input_reply", {"value": "x"}, "stdin"))
        widget = {"target_name": "jupyter.widget", "comm_id": "a", "data": {"state": {}}}
        connection.write_message(message("comm_open", widget))
        update = {"comm_id": "a", "data": {"method": "update", "state": {"value": "<i>"}}}
        connection.write_message(message("comm_msg", update))
        for rubbish in (
            "{",
            "[]",
            '{"channel": "shell"}',
            b"\x05\x00\x00\x00\x00\x00\x00\x00rubbish",
            "null",
        ):
            connection.write_message(rubbish, binary=isinstance(rubbish, bytes))
        connection.write_message(message("comm_info_request", {}))
        told = "".join(str(one) for one in await heard(connection, 3))

    assert "comm_info_reply" in told
    assert "execute_reply" not in told
    assert not proof.exists()
    assert alice.call("GET", f"alive/{kernel}").json()["alive"] is True


def test_there_are_no_other_routes(alice: Person) -> None:
    """Nothing lists or reads files, starts kernels or terminals, or signs out."""
    alice.open()
    gone = (
        "api/kernels", "api/contents", "api/contents/allocation.ipynb", "api/sessions", "api/terminals", "api/kernelspecs",
        "api/config", "api/status", "files/allocation.ipynb", "voila/files/allocation.ipynb", "voila/tree", "tree",
        "voila/api/contents/", "voila/api/contents/allocation.ipynb", "voila/api/themes/x", "voila/render/allocation.ipynb",
        "voila/query/00000000-0000-0000-0000-000000000000", "voila/templates/lab/static/voila.js", "logout", "login",
        "voila/static/../../../../conf.json", "look/../__init__.py", "look/%2e%2e/__init__.py", "allocation/", "allocation.ipynb",
    )  # fmt: skip
    for path in gone:
        assert alice.call("GET", path).status_code in (403, 404), path
    for path in ("api/kernels", "api/sessions", "api/terminals", "voila/query"):
        assert alice.call("POST", path).status_code in (403, 404), path


def test_forged_headers_change_nothing(world: World, bob: Person) -> None:
    """Bob is Bob, whatever he says he is."""
    forged = {
        "X-Portal-User": "alice", "X-Forwarded-User": "alice", "Remote-User": "alice", "X-JupyterHub-User": "alice",
    }  # fmt: skip
    token = (world.home / "secrets" / "dash-hub.token").read_text()
    query = {"user": "alice", "token": token, "template": "lab", "theme": "dark", "voila-template": "lab"}
    answer, _ = bob.open(headers=forged, params=query)

    assert set(world.portal.capabilities.values()) == {"bob"}
    assert "JupyterLab Light" in answer.text
    assert 'class="jp-Notebook dashboard"' in answer.text


def test_tokens_do_not_sign_anybody_in(world: World) -> None:
    """Only the cookie counts: a token in a header or an address, even the service's own, is a stranger's."""
    token = (world.home / "secrets" / "dash-hub.token").read_text()
    with world.anonymous() as stranger:
        for headers in ({"Authorization": f"token {token}"}, {"Authorization": f"Bearer {token}"}):
            assert stranger.get(world.address("queue"), headers=headers).status_code == 302
        assert stranger.get(world.address(f"queue?token={token}")).status_code == 302


def test_a_stranger_is_sent_to_sign_in(world: World) -> None:
    """Without signing in a page leads to the hub, and kernels do not exist."""
    some = "00000000-0000-0000-0000-000000000000"
    with world.anonymous() as stranger:
        page = stranger.get(world.address("allocation"))
        assert page.status_code == 302
        assert page.headers["Location"].startswith(world.url + "/hub/api/oauth2/authorize")
        assert stranger.get(world.address(f"api/kernels/{some}")).status_code == 403
        assert stranger.get(world.address(f"api/kernels/{some}/channels")).status_code == 403
        assert stranger.get(world.address(f"alive/{some}")).status_code == 403
        assert stranger.post(world.address(f"voila/api/shutdown/{some}")).status_code == 403
    assert not world.kernels()


def test_cookies_are_bound_to_the_host(alice: Person) -> None:
    """The sign-in cookie cannot be set or read by a neighbouring host."""
    alice.open()
    assert any(name.startswith("__Host-service-dash") for name in alice.cookies)


def test_a_page_inside_another_page_starts_nothing(world: World, alice: Person) -> None:
    """An image tag or a frame on another site cannot start kernels in Alice's name."""
    alice.open()
    before = len(world.kernels())
    for destination in ("image", "iframe", "script", "empty"):
        headers = {"Sec-Fetch-Dest": destination}
        assert alice.http.get(world.address("allocation"), headers=headers).status_code == 403
    assert len(world.kernels()) == before


async def test_leaving_ends_kernel_and_capability(world: World, alice: Person) -> None:
    """The page's word of farewell, as a browser's beacon sends it, ends the kernel within a second or two."""
    answer, kernel = alice.open()
    (process,) = world.kernels()
    capability = next(token for token, person in world.portal.capabilities.items() if person == "alice")
    form = {"_xsrf": alice.cookies["_xsrf"].strip('"')}
    headers = {"Origin": world.origin, "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Site": "same-origin"}
    address = world.address(f"voila/api/shutdown/{kernel}")
    async with alice.connected(kernel):
        left = await asyncio.to_thread(alice.http.post, address, data=form, headers=headers)

    assert left.status_code == 204, left.text
    assert process not in world.kernels()
    assert capability in world.portal.closed
    assert answer.status_code == 200


def test_an_unwatched_kernel_is_ended(world: World, alice: Person) -> None:
    """A page that vanishes without a word gives its kernel and its capability back."""
    alice.open()
    capability = next(token for token, person in world.portal.capabilities.items() if person == "alice")

    assert until(lambda: not world.kernels(), 4 * IDLE_SECONDS)
    assert until(lambda: capability in world.portal.closed, 10)


async def test_a_signed_out_viewer_is_cut_off(world: World, alice: Person) -> None:
    """An open websocket does not outlive the proof that its person is signed in."""
    _, kernel = alice.open()
    began = time.monotonic()
    async with alice.connected(kernel) as connection:
        while time.monotonic() - began < 8 * IDLE_SECONDS:
            if await connection.read_message() is None:
                break
    assert time.monotonic() - began < 6 * IDLE_SECONDS
    assert not world.kernels()


def test_a_dead_kernel_is_known_to_be_dead(world: World, alice: Person) -> None:
    """A killed kernel is not revived empty under the same name: the page hears that it is gone."""
    _, kernel = alice.open()
    (process,) = world.kernels()
    os.kill(process, signal.SIGKILL)

    def gone() -> bool:
        """Told as dead, or no more known: a page reloads either way."""
        answer = alice.call("GET", f"alive/{kernel}")
        return answer.status_code == 404 or answer.json().get("alive") is not True

    assert until(gone, 5)


def test_the_number_of_pages_is_bounded(world: World, alice: Person, bob: Person) -> None:
    """One person's third page, and the fourth of all, are refused in plain words."""
    alice.open()
    alice.open()
    mine = alice.http.get(world.address("allocation"), headers={"Accept-Language": "en"})
    bob.open()
    full = bob.http.get(world.address("allocation"), headers={"Accept-Language": "en"})

    assert (mine.status_code, full.status_code) == (503, 503)
    assert "You have too many dashboards open" in mine.text
    assert "Many people are looking just now" in full.text
    assert "frame-ancestors 'none'" in full.headers["Content-Security-Policy"]
    assert len(world.kernels()) == 3


async def test_figures_are_escaped_and_live(world: World, alice: Person) -> None:
    """A job that starts is told to the open page within ten seconds; names arrive as text, never as markup."""
    _, kernel = alice.open("queue")
    async with alice.connected(kernel) as connection:
        world.portal.jobs.append(job(4711, label="alice<img src=x onerror=alert(1)>"))
        told = "".join(one["raw"] for one in await heard(connection, 10, "4711"))
    world.portal.jobs.pop()

    assert "4711" in told
    assert "alice&lt;img src=x" in told
    assert "<img" not in told


def test_the_portal_may_be_down(world: World, alice: Person) -> None:
    """No capability, no page: one plain sentence and a 503, and no kernel is started."""
    alice.open()
    before = len(world.kernels())
    world.portal.down = True
    answer = alice.http.get(world.address("queue"), headers={"Accept-Language": "en"})
    world.portal.down = False

    assert answer.status_code == 503
    assert "The portal does not answer" in answer.text
    assert len(world.kernels()) == before


def test_the_language_can_be_chosen(world: World, alice: Person) -> None:
    """The link sets a cookie and leads back; a language that does not exist is refused."""
    alice.open()
    alice.leave()
    chosen = alice.http.get(world.address("allocation?set=zh_Hant_HK"))
    again, _ = alice.open(headers={"Accept-Language": "en"})

    assert chosen.headers["Location"] == BASE + "allocation"
    assert '<html lang="zh-Hant-HK" data-theme="system">' in again.text
    assert alice.http.get(world.address("allocation?set=../x")).status_code == 400


def test_the_hub_may_be_down() -> None:
    """Then nobody can be recognised: a 503 that says since when, not an error; and it heals by itself."""
    with short_home() as home, running(home) as world:
        alice = Person(world, "alice")
        _, kernel = alice.open()
        world.hub.kill()
        world.hub.wait()
        assert until(lambda: alice.call("GET", f"alive/{kernel}").status_code == 503, 20)
        answer = alice.http.get(world.address("allocation"), headers={"Accept-Language": "en"})
        assert answer.status_code == 503
        assert re.search(r"Sign-in has been down since \d\d:\d\d", answer.text), answer.text
        alice.close()


def test_a_restart_leaves_nothing_behind() -> None:
    """SIGTERM ends kernels, capabilities and sockets; after kill -9 the kernels end by themselves; sign-in survives."""
    with short_home() as home, running(home) as world:
        alice = Person(world, "alice")
        alice.open()
        (process,) = world.kernels()
        assert any(path.is_socket() for path in (home / "run" / "dash").rglob("*"))
        stop(world.dash)
        assert not Path(f"/proc/{process}").exists()
        assert not world.portal.capabilities
        assert not any((home / "run" / "dash").rglob("*"))

        world.dash = start_dashboards(home, world.ports["dash--service.localhost"])
        assert alice.http.get(world.address("allocation")).status_code == 200
        (process,) = world.kernels()
        world.dash.kill()
        world.dash.wait()
        assert until(lambda: not Path(f"/proc/{process}").exists(), 10)
        alice.close()
