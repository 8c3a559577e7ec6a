"""The dashboards' server: Voila, behind the hub's sign-in, on loopback, with only the routes that we know."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import nbformat
from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop
from tornado.netutil import bind_sockets
from traitlets.config import Config
from voila.app import Voila

from portal.client import Client
from portal.dashboards.frame import Choice, around
from portal.dashboards.kernels import KERNEL, Kernels, OneKernel
from portal.dashboards.owners import OwnerAuthorizer, Owners
from portal.dashboards.routes import Nothing, Page, ReadOnly, arrange, headers, log_answer
from portal.dashboards.signin import BASE, CookieOnly, HubIdentity, cookie_secret
from portal.settings import Settings

HERE = Path(__file__).parent
TEMPLATES = HERE / "template"
NOTEBOOKS = HERE / "notebooks"
SOCKET_PATH_LONGEST = 107
"""Of a Unix socket on Linux, in bytes; Jupyter adds 50 to the folder's."""

log = logging.getLogger(__name__)


class Dashboards(Voila):
    """One process for all dashboards. portal: the settings; owners: whose kernel is whose; sockets: already bound."""

    portal: Settings
    owners: Owners
    client: Client
    sockets: list[socket.socket]

    def init_settings(self) -> dict[str, Any]:
        settings: dict[str, Any] = super().init_settings()
        # Voila passes its own list by keyword, so configuration cannot change it.
        self.kernel_manager.allowed_message_types = [
            "comm_open",
            "comm_close",
            "comm_msg",
            "comm_info_request",
            "kernel_info_request",
        ]
        return settings | {
            "portal": self.portal,
            "owners": self.owners,
            "headers": headers(self.portal),
            "default_handler_class": Nothing,
            "log_function": log_answer,
            "websocket_max_message_size": 65_536,
            "mathjax_url": "",
        }

    def init_handlers(self) -> list[Any]:
        return arrange(super().init_handlers(), self.identity_provider.hub_auth)

    def listen(self) -> None:
        """Serve until told to stop."""
        # xheaders: the proxy knows the reader's address and protocol; nobody else reaches loopback.
        HTTPServer(self.app, xheaders=True).add_sockets(self.sockets)
        log.info("dashboards listen on 127.0.0.1:%d", self.port)
        self.ioloop = IOLoop.current()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._handle_signal_stop)
        self.ioloop.add_callback(self._watch)
        try:
            self.ioloop.start()
        finally:
            self.stop()

    async def _watch(self) -> None:
        hub: CookieOnly = self.identity_provider.hub_auth
        while True:
            await asyncio.sleep(min(10.0, self.portal.dashboards.idle_seconds / 3))
            try:
                await self.kernel_manager.reap(time.monotonic(), signed_in_known=hub.down_since is None)
            except Exception:
                log.exception("the reaper stumbled; it goes on")

    def stop(self) -> None:
        self.ioloop.run_sync(self._end, timeout=15)
        shutil.rmtree(self.connection_dir, ignore_errors=True)

    async def _end(self) -> None:
        await self.kernel_manager.end_all()
        await self.client.close()


def configuration(settings: Settings, root: Path) -> Config:
    """Voila's configuration, all of it: no file of the machine or of the user adds to it."""
    c = Config()
    c.Voila.ip = "127.0.0.1"
    c.Voila.port = settings.web.dashboards_port
    c.Voila.port_retries = 0
    c.Voila.base_url = BASE
    c.Voila.server_url = BASE
    c.Voila.open_browser = False
    c.Voila.root_dir = str(NOTEBOOKS)
    c.Voila.connection_dir_root = str(root)
    c.Voila.cookie_secret = cookie_secret(settings)
    c.Voila.identity_provider_class = HubIdentity
    c.Voila.authorizer_class = OwnerAuthorizer
    c.Voila.kernel_websocket_connection_class = ReadOnly
    voila = c.VoilaConfiguration
    voila.template = "portal"
    voila.theme = "light"
    voila.allow_template_override = "NO"
    voila.allow_theme_override = "NO"
    voila.strip_sources = True
    voila.show_tracebacks = False
    voila.file_allowlist = []
    voila.http_header_envs = []
    voila.preheat_kernel = False
    voila.progressive_rendering = False
    voila.extension_allowlist = [
        "@voila-dashboards/widgets-manager8",
        "@jupyter-widgets/jupyterlab-manager",
        "anywidget",
    ]
    voila.multi_kernel_manager_class = Kernels
    voila.kernel_spec_manager_class = OneKernel
    voila.prelaunch_hook = dress
    c.VoilaExecutor.timeout = 20
    c.VoilaExecutor.startup_timeout = 20
    c.KernelManager.transport = "ipc"
    c.KernelManager.autorestart = False
    c.MappingKernelManager.buffer_offline_messages = False
    c.MappingKernelManager.allow_tracebacks = False
    c.MappingKernelManager.default_kernel_name = KERNEL
    c.NotebookNotary.db_file = ":memory:"
    c.NotebookNotary.secret = os.urandom(32)
    return c


def dress(handler: Page, notebook: nbformat.NotebookNode, cwd: str) -> None:
    """Give the template what stands around the dashboard, in the reader's language."""
    here = handler.request.path.removeprefix(BASE)
    choice = Choice(handler.viewing.language, handler.theme)
    notebook.metadata["portal"] = around(handler.portal, BASE, here, choice, time.time())


def socket_folder(settings: Settings) -> Path:
    """A private folder for the kernels' sockets: under our own home, or where that is too long, a temporary one.

    Its name is the same at every start, so that what a killed server left there goes.
    """
    home = settings.home.absolute()
    wanted = home / "run" / "dash"
    if len(os.fsencode(wanted)) + len("/voila_12345678") + 50 > SOCKET_PATH_LONGEST:
        short = hashlib.sha256(os.fsencode(home)).hexdigest()[:12]
        wanted = Path(tempfile.gettempdir()) / f"dash-{os.getuid()}-{short}"
    shutil.rmtree(wanted, ignore_errors=True)
    wanted.parent.mkdir(parents=True, exist_ok=True)
    try:
        wanted.mkdir(mode=0o700)
    except FileExistsError:  # somebody else's, in the folder for all
        return Path(tempfile.mkdtemp(prefix="dash-"))
    return wanted


def _bind(port: int) -> list[socket.socket]:
    """Take our port on loopback. Taken already: one line and exit code 1."""
    try:
        return bind_sockets(port, "127.0.0.1")
    except OSError as error:
        sys.exit(f"dashboards: cannot listen on 127.0.0.1:{port}: {error.strerror}")


def run(settings: Settings) -> None:
    """Serve the dashboards until SIGTERM.

    Raises:
        SettingsError: a token is missing.
        UnknownRoute: the installed Voila has a route that nobody has decided about.
    """
    logging.getLogger("tornado.application").setLevel(logging.WARNING)  # below, it names sign-in sessions
    os.environ["JUPYTER_PATH"] = str(TEMPLATES)  # where Voila looks for the template
    sockets = _bind(settings.web.dashboards_port)
    root = socket_folder(settings)  # after the port: another of us may still use it
    app = Dashboards(config=configuration(settings, root), config_file_paths=[], log=log)
    app.portal, app.sockets = settings, sockets
    app.owners = Owners()
    app.client = Client(settings.portal_url, settings.secret("dashboards.token"))
    try:
        app.initialize([])
        app.start()
    finally:
        shutil.rmtree(root, ignore_errors=True)
