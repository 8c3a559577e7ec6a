"""Runs on the node, as the batch script of a session: take a port, tell the hub, become the notebook server.

Standard library only until the hub knows the port, so that the call goes out some 50 ms after the job starts. The port
is held from the first moment: the socket is bound here, and the server later listens on this very socket, so nobody
can slip in between, and a connection is refused until the server is ready (facts-stack R8).
"""

from __future__ import annotations

import atexit
import http.client
import json
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit, urlunsplit

PATIENCE_SECONDS = 300.0
"""How long the hub may be away when the job starts."""
CALL_SECONDS = 5.0
SERVER_ARGUMENTS = (
    "--LanguageServerManager.autodetect=False",
    "--LabApp.extension_manager=readonly",
    "--LabApp.news_url=None",  # asks no host outside, not even for news
    "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    "--ServerApp.log_level=WARN",
    "--KernelManager.transport=ipc",  # sockets that other users of the node cannot even connect to
)
PROGRAMS = "/usr/local/bin:/usr/bin:/bin"
STEERING = ("PYTHON", "LD_", "JUPYTER_", "IPYTHON", "BASH_ENV", "ENV")
"""Variables of these names would change how the server starts; whatever set them on this node, it does not get them."""


class HubRefusal(Exception):
    """The hub does not want this session any more; there is no use in asking again."""


def bound_socket(hub_host: str, hub_port: int) -> socket.socket:
    """Bind a free port on the address that leads to the hub, and on no other; not yet listening."""
    family, kind, protocol, _, address = socket.getaddrinfo(hub_host, hub_port, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, kind, protocol) as probe:
        probe.connect(address)  # sends nothing: it only asks the kernel which of our addresses it would use
        own = probe.getsockname()[0]
    ours = socket.socket(family, socket.SOCK_STREAM)
    ours.bind((own, 0))
    return ours


def tell_port(api: str, token: str, port: int, patience: float = PATIENCE_SECONDS) -> None:
    """Tell the hub the port; try again while the hub is away.

    Raises:
        HubRefusal: the hub answers no.
        TimeoutError: no answer within `patience` seconds.
    """
    deadline, pause = time.monotonic() + patience, 0.1
    while True:
        try:
            status = _post(api, token, {"port": port})
        except (OSError, http.client.HTTPException) as error:
            status, why = 0, type(error).__name__
        else:
            why = f"status {status}"
        if status in (200, 201, 204):
            return
        if 400 <= status < 500 and status not in (408, 429):
            raise HubRefusal(f"the hub refuses this session: {why}")
        if time.monotonic() + pause > deadline:
            raise TimeoutError(f"the hub cannot be reached: {why}")
        time.sleep(pause)
        pause = min(pause * 2, 5.0)


def _post(api: str, token: str, body: dict[str, int]) -> int:
    url = urlsplit(api)
    plain = url.scheme == "http"
    connect = http.client.HTTPConnection if plain else http.client.HTTPSConnection
    connection = connect(url.hostname or "", url.port, timeout=CALL_SECONDS)
    try:
        headers = {"Authorization": f"token {token}", "Content-Type": "application/json"}
        connection.request("POST", f"{url.path}/batchspawner", json.dumps(body), headers)
        return connection.getresponse().status
    finally:
        connection.close()


def service_url(template: str, address: str, port: int) -> str:
    """The hub's JUPYTERHUB_SERVICE_URL with the address and port that we really have."""
    host = f"[{address}]" if ":" in address else address
    return urlunsplit(urlsplit(template)._replace(netloc=f"{host}:{port}"))


def clean(environ: dict[str, str]) -> dict[str, str]:
    """The variables of the server: what the hub exported and Slurm adds, and no program in reach (see `serve`)."""
    kept = {
        name: value
        for name, value in environ.items()
        if not name.startswith(STEERING) or name.startswith("JUPYTERHUB_")
    }
    kept["PATH"] = "/nonexistent"
    kept.setdefault("LANG", "C.UTF-8")
    return kept


def private_folder() -> str:
    """A folder of this session alone, on the node and with a short name: sockets of kernels need both."""
    folder = tempfile.mkdtemp(prefix="aisc-session-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def quiet_lab(folder: str) -> str:
    """Write JupyterLab's settings of this site below `folder`: it does not ask people whether to fetch news from abroad."""
    config = Path(folder, "config")
    (config / "labconfig").mkdir(parents=True)
    off = {"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}}
    (config / "labconfig" / "page_config.json").write_text(json.dumps(off))
    return str(config)


def serve(sock: socket.socket) -> NoReturn:
    """Become the notebook server on this socket."""
    import site

    site.main()
    # Its grammar takes a second to build at import, and what needs it does without (facts-hub C).
    modules: dict[str, Any] = sys.modules
    modules["rfc3987_syntax"] = None
    import jupyter_server.serverapp
    import tornado.tcpserver

    def ours(*_: object, **__: object) -> list[socket.socket]:
        # Only now, for kernels and terminals: with a `node` in reach JupyterLab would run it at every start.
        os.environ["PATH"] = f"{os.path.dirname(sys.executable)}:{PROGRAMS}"  # noqa: PTH120
        sock.setblocking(False)
        sock.listen(128)
        return [sock]

    jupyter_server.serverapp.bind_sockets = lambda *_: []  # type: ignore[attr-defined]
    tornado.tcpserver.bind_sockets = ours  # type: ignore[attr-defined]
    from jupyterhub.singleuser import main

    sys.argv = ["jupyterhub-singleuser", *SERVER_ARGUMENTS]
    sys.exit(main())


def _say_end_is_near(*_: object) -> None:
    print("This session ends in about ten minutes: its time limit is near.", flush=True)


def main() -> None:
    # Slurm sends it ten minutes before the time limit; without a handler it would end the session there and then.
    signal.signal(signal.SIGUSR1, _say_end_is_near)
    environ = dict(os.environ)
    api = urlsplit(environ["JUPYTERHUB_API_URL"])
    sock = bound_socket(api.hostname or "", api.port or 443)
    address, port = sock.getsockname()[:2]
    try:
        tell_port(environ["JUPYTERHUB_API_URL"], environ["JUPYTERHUB_API_TOKEN"], port)
    except (HubRefusal, TimeoutError) as error:
        sys.exit(f"This session cannot start: {error}.")
    environ["JUPYTERHUB_SERVICE_URL"] = service_url(environ["JUPYTERHUB_SERVICE_URL"], address, port)
    os.environ.clear()
    os.environ.update(clean(environ))
    os.environ["JUPYTER_RUNTIME_DIR"] = folder = private_folder()
    os.environ["JUPYTER_CONFIG_PATH"] = quiet_lab(folder)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    serve(sock)


if __name__ == "__main__":
    main()
