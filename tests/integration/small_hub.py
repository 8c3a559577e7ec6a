"""A hub with nothing but our spawner, on a real Slurm, and a small portal that says what it is told to.

The portal here replaces the program, not a function of ours: it speaks the same API over HTTP, so that a test can make
it slow, silent or wrong.
"""

from __future__ import annotations

import json
import os
import pwd
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
from waiting import until

from portal.client import Admitted, OfferedGrant, OfferedSize, Offering, Quote
from portal.demo import isolation
from portal.demo.bare import Cluster
from portal.demo.install import wheel
from portal.settings import Settings, Web
from portal.settings import Slurm as SlurmSettings
from portal.sizes import gres

ROOT = Path(__file__).parents[2]
GRANT = "AISS-T-0001"
ACCOUNT = "gaisst0001"
CHOICE = {"kind": "notebook", "grant": GRANT, "size": "cpu", "minutes": 60}
COMMANDS = ("sbatch", "scancel", "squeue", "scontrol")
CONFIG = """
from pathlib import Path
from portal import settings
from portal.hub import port_callback
chosen = settings.load(Path({settings!r}))
c.JupyterHub.spawner_class = {spawner!r}
c.PortalSlurmSpawner.portal_settings = chosen
c.PortalSlurmSpawner.poll_interval = 1
port_callback.install()
c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allow_all = True
c.JupyterHub.bind_url = {public!r}
c.JupyterHub.hub_bind_url = {hub!r}
c.ConfigurableHTTPProxy.should_start = False
c.ConfigurableHTTPProxy.api_url = {proxy!r}
c.ConfigurableHTTPProxy.auth_token = "proxy-token"
c.JupyterHub.cleanup_servers = False
c.JupyterHub.db_url = "sqlite:///hub.db"
c.JupyterHub.cookie_secret_file = "cookie_secret"
c.JupyterHub.last_activity_interval = 5
c.JupyterHub.log_level = "INFO"
c.Spawner.start_timeout = {start_timeout}
c.JupyterHub.services = [{{"name": "test", "api_token": {token!r}}}]
c.JupyterHub.load_roles = [
    {{"name": "test-all", "scopes": ["admin:users", "admin:servers", "tokens", "access:servers", "proxy"], "services": ["test"]}},
]
"""


class SmallPortal:
    """Admits what is offered. Every call is kept in `heard` as (path, body)."""

    def __init__(self, settings: Settings, unix_user: str) -> None:
        self.heard: list[tuple[str, Any]] = []
        self.silent = False
        self.refusal: dict[str, str] | None = None
        self.change: Callable[[Admitted], Admitted] = lambda admitted: admitted
        self._settings, self._unix_user = settings, unix_user
        portal = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._reply(200, portal.offering().model_dump_json())

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"null")
                portal.heard.append((self.path, body))
                if portal.silent:
                    time.sleep(4)
                    return
                self._reply(*portal.answer(self.path, body))

            def _reply(self, status: int, text: str) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(text.encode())))
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", settings.web.portal_port), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, path: str, body: Any) -> tuple[int, str]:
        if path != "/internal/sessions":
            return 200, "null"
        if self.refusal:
            return 400, json.dumps(self.refusal)
        offer = self._settings.offer
        size = offer.size(body["size"])
        for field, offered in (
            ("grant", body["grant"] == GRANT),
            ("size", size is not None),
            ("minutes", body["minutes"] in offer.minutes),
        ):
            if not offered:
                return 400, json.dumps(
                    {"message": "This is not offered.", "code": "not-offered", "field": field}
                )
        assert size is not None
        session = secrets.token_hex(16)
        admitted = Admitted(
            id=session,
            cluster="aisc",
            job_name=f"aisc-{session}",
            account=ACCOUNT,
            qos=ACCOUNT,
            unix_user=self._unix_user,
            partition=size.partition,
            gres=gres(size, offer.partition(size.partition)),
            cores=size.cores,
            memory_mb=size.memory_mb,
            minutes=body["minutes"],
        )
        return 200, self.change(admitted).model_dump_json()

    def offering(self) -> Offering:
        offer = self._settings.offer
        quote = Quote(amount=1, list_cents=1000, subsidy_cents=700, own_cents=300, leaves=3_600_000)
        return Offering(
            grants=[OfferedGrant(code=GRANT, title="A grant", available=7_200_000, ends=None)],
            sizes=[OfferedSize(id=size.id, label=size.id, detail="", gpus="0") for size in offer.sizes],
            minutes=list(offer.minutes),
            default_grant=GRANT,
            default_size="cpu",
            default_minutes=60,
            quotes={GRANT: {size.id: dict.fromkeys(offer.minutes, quote) for size in offer.sizes}},
            refusals={},
        )

    def calls(self, end: str) -> list[Any]:
        """Bodies of the calls whose path ends so."""
        return [body for path, body in self.heard if path.endswith(end)]


class SmallHub:
    """The hub's process, its proxy and its small portal, in one folder. The hub may be killed and started again."""

    def __init__(
        self,
        cluster: Cluster,
        home: Path,
        base: int,
        spawner: str = "spawners.kinds.KindsSpawner",
        start_timeout: int = 600,
        extra: str = "",
        environment: Path | None = None,
        runtime: Path = Path(sys.prefix),
    ) -> None:
        self.cluster, self.home, self.base, self.runtime = cluster, home, base, runtime
        self.user = pwd.getpwnam(cluster.layout.user)
        self.token = secrets.token_hex(16)
        self.public = f"http://127.0.0.1:{base}"
        self.settings = Settings(
            home=home,
            web=Web(
                url=f"http://localhost:{base}",
                hub_port=base + 2,
                proxy_api_port=base + 1,
                portal_port=base + 3,
            ),
            slurm=SlurmSettings(
                conf=cluster.conf,
                accounts="shared",
                shared_user=self.user.pw_name,
                session_environment=environment or runtime,
                bin=home / "bin",
                people_dir=home / "people",
            ),
        )
        self._write(spawner, start_timeout, extra)
        self.portal = SmallPortal(self.settings, self.user.pw_name)
        self.proxy = self._run_proxy()
        self.hub: subprocess.Popen[bytes] | None = None
        self.start()

    def _write(self, spawner: str, start_timeout: int, extra: str) -> None:
        (self.home / "logs").mkdir(exist_ok=True)
        (self.home / "people").mkdir()
        (self.home / "bin").mkdir()
        for program in COMMANDS:
            self.wrap(program, "")
        (self.home / "secrets").mkdir(mode=0o700)
        (self.home / "secrets" / "hub.token").write_text("hub-token")
        slurm = self.settings.slurm
        (self.home / "portal.toml").write_text(
            f'home = "{self.home}"\n[web]\nurl = "http://localhost:{self.base}"\nhub_port = {self.base + 2}\n'
            f"proxy_api_port = {self.base + 1}\nportal_port = {self.base + 3}\n"
            f'[slurm]\nconf = "{slurm.conf}"\naccounts = "shared"\nshared_user = "{slurm.shared_user}"\n'
            f'session_environment = "{slurm.session_environment}"\npeople_dir = "{slurm.people_dir}"\n'
            f'bin = "{slurm.bin}"\n'
        )
        config = CONFIG.format(
            settings=str(self.home / "portal.toml"),
            spawner=spawner,
            public=self.public,
            hub=f"http://127.0.0.1:{self.base + 2}",
            proxy=f"http://127.0.0.1:{self.base + 1}",
            token=self.token,
            start_timeout=start_timeout,
        )
        (self.home / "jupyterhub_config.py").write_text(config + extra)
        for path in [self.home, *self.home.rglob("*")]:
            os.chown(path, self.user.pw_uid, self.user.pw_gid)

    def wrap(self, program: str, before: str, after: str = "") -> None:
        """Make the hub's copy of a Slurm command do something before and after; every call is counted."""
        fresh = self.home / "bin" / f"{program}.new"
        fresh.write_text(
            f"#!/bin/sh\necho {program} >> {self.home}/calls\n{before}\n"
            + (
                f'/usr/bin/{program} "$@"; status=$?\n{after}\nexit $status\n'
                if after
                else f'exec /usr/bin/{program} "$@"\n'
            )
        )
        fresh.chmod(0o755)
        fresh.replace(self.home / "bin" / program)

    def calls_of(self, program: str) -> int:
        """How often the hub has run this Slurm command."""
        calls = self.home / "calls"
        return calls.read_text().split().count(program) if calls.exists() else 0

    def _popen(self, name: str, command: list[str], env: dict[str, str]) -> subprocess.Popen[bytes]:
        with (self.home / "logs" / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                command,
                cwd=self.home,
                env={"PATH": "/usr/bin:/bin", "HOME": str(self.home), "LANG": "C.UTF-8", **env},
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                preexec_fn=self._as_the_user,
            )

    def _as_the_user(self) -> None:
        isolation.become(self.user)
        isolation.die_with_parent()

    def _run_proxy(self) -> subprocess.Popen[bytes]:
        node = wheel(self.runtime) / "bin" / "node"
        modules = next(place for place in (self.runtime, ROOT) if (place / "node_modules").exists())
        program = modules / "node_modules" / "configurable-http-proxy" / "bin" / "configurable-http-proxy"
        hub = f"http://127.0.0.1:{self.base + 2}"
        return self._popen(
            "proxy",
            [
                *(
                    str(node),
                    str(program),
                    "--ip",
                    "127.0.0.1",
                    "--port",
                    str(self.base),
                    "--api-ip",
                    "127.0.0.1",
                ),
                *(
                    "--api-port",
                    str(self.base + 1),
                    "--default-target",
                    hub,
                    "--error-target",
                    f"{hub}/hub/error",
                ),
            ],
            {"CONFIGPROXY_AUTH_TOKEN": "proxy-token"},
        )

    def start(self) -> None:
        """Start the hub and wait until it answers."""
        self.hub = self._popen(
            "hub",
            [str(self.runtime / "bin" / "python"), "-m", "jupyterhub", "-f", "jupyterhub_config.py"],
            {},
        )
        until(lambda: self.get("/hub/health").status_code == 200, 30)

    def kill(self) -> None:
        """Kill the hub as a crash would."""
        assert self.hub is not None
        self.hub.send_signal(signal.SIGKILL)
        self.hub.wait()

    def close(self) -> None:
        """End every process and every job."""
        for name in self.jobs():
            self.cluster.run("scancel", name)
        for process in (self.hub, self.proxy):
            if process is not None and process.poll() is None:
                process.terminate()
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
        self.portal.close()

    # the hub's API, as a service with all rights

    def get(self, path: str, token: str = "") -> httpx.Response:
        return self.call("GET", path, token=token)

    def call(self, method: str, path: str, body: Any = None, token: str = "") -> httpx.Response:
        """Call through the public address; 599 where nobody answers."""
        try:
            return httpx.request(
                method,
                f"{self.public}{path}",
                json=body,
                headers={"Authorization": f"token {token or self.token}"},
                timeout=40,
                trust_env=False,
            )
        except httpx.TransportError:
            return httpx.Response(599)

    def ask(self, person: str, body: Any = CHOICE) -> httpx.Response:
        """Ask the hub to start a session for a person, who is made first."""
        self.call("POST", f"/hub/api/users/{person}")
        return self.call("POST", f"/hub/api/users/{person}/server", body)

    def stop(self, person: str) -> httpx.Response:
        return self.call("DELETE", f"/hub/api/users/{person}/server")

    def server(self, person: str) -> dict[str, Any] | None:
        """The person's server as the hub sees it; None if there is none."""
        servers: dict[str, Any] = (
            self.get(f"/hub/api/users/{person}?include_stopped_servers").json().get("servers", {})
        )
        return servers.get("")

    def stop_all(self) -> None:
        """Stop every server and wait until no job is left; start the hub first, if a test has left it dead."""
        if self.get("/hub/health").status_code != 200:
            self.start()
        for user in self.get("/hub/api/users?state=active").json():
            self.stop(user["name"])
        until(lambda: not self.get("/hub/api/users?state=active").json())
        for job in self.jobs():
            self.cluster.run("scancel", job)
        until(lambda: not self.jobs())

    def ready(self, person: str) -> bool:
        server = self.server(person)
        return bool(server and server["ready"])

    def wait_ready(self, person: str, seconds: float = 60) -> None:
        until(lambda: self.ready(person), seconds)

    def lab(self, person: str) -> int:
        """Status of the person's notebook through the public address."""
        return self.get(f"/user/{person}/api/status").status_code

    # Slurm, as its operator sees it

    def jobs(self) -> dict[str, str]:
        """Id > state of the jobs that have not ended."""
        lines = self.cluster.run("squeue", "-h", "-o", "%A %T").splitlines()
        return {job: state for job, state in map(str.split, lines) if state != "COMPLETING"}

    def kept(self, person: str) -> dict[str, Any]:
        """What the hub keeps of the person's session."""
        server = self.server(person)
        assert server is not None
        state: dict[str, Any] = server["state"]["child_state"]
        return state

    def job_of(self, person: str) -> str:
        return str(self.kept(person)["job_id"])

    def job_environment(self, person: str) -> dict[str, str]:
        """The environment of the person's notebook server, read from its process."""
        for path in Path("/proc").glob("[0-9]*/environ"):
            try:
                text = path.read_bytes().decode()
            except OSError:
                continue
            env = dict(entry.partition("=")[::2] for entry in text.split("\0") if "=" in entry)
            if env.get("JUPYTERHUB_USER") == person and env.get("AISC_SESSION"):
                return env
        raise AssertionError(f"no session of {person} runs")

    def log(self) -> str:
        return (self.home / "logs" / "hub.log").read_text()


def open_account(cluster: Cluster) -> None:
    """An account and QOS such as a grant has, open to the cluster's user. Safe to repeat."""
    if ACCOUNT in cluster.run("sacctmgr", "-nP", "list", "account", "format=account").split():
        return
    cluster.run("sacctmgr", "-i", "add", "account", ACCOUNT)
    cluster.run("sacctmgr", "-i", "add", "qos", ACCOUNT, "flags=NoDecay")
    named = (f"account={ACCOUNT}", f"qos={ACCOUNT}", f"defaultqos={ACCOUNT}")
    cluster.run("sacctmgr", "-i", "add", "user", cluster.layout.user, *named)
