"""The program on the node, before it becomes the notebook server."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from spawners import node


class Hub:
    """A hub that answers with these statuses, one after the other, and the last one for ever."""

    def __init__(self, statuses: list[int]) -> None:
        self.heard: list[tuple[str, str, bytes]] = []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                hub.heard.append((self.path, self.headers["Authorization"], body))
                self.send_response(statuses[min(len(hub.heard), len(statuses)) - 1])
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.api = f"http://127.0.0.1:{self.server.server_port}/hub/api"
        self._thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self._thread.join()
        self.server.server_close()


@pytest.fixture
def hub(request: pytest.FixtureRequest) -> Iterator[Hub]:
    one = Hub(request.param)
    yield one
    one.close()


@pytest.mark.parametrize("hub", [[201], [503, 500, 201], [429, 201]], indirect=True, ids=str)
def test_the_hub_is_told_exactly_the_port(hub: Hub) -> None:
    """Errors of the server are tried again; the answer is checked (stock: R8, neither)."""
    node.tell_port(hub.api, "secret", 5000)

    assert hub.heard[-1] == ("/hub/api/batchspawner", "token secret", b'{"port": 5000}')


@pytest.mark.parametrize("hub", [[403], [409], [400]], indirect=True, ids=str)
def test_a_refusal_is_final(hub: Hub) -> None:
    """The hub does not want this session: the job ends instead of waiting (stock: R8)."""
    with pytest.raises(node.HubRefusal):
        node.tell_port(hub.api, "secret", 5000)

    assert len(hub.heard) == 1


def test_a_hub_that_stays_away_is_given_up() -> None:
    """The job does not wait, and cost, for ever."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            node.tell_port(
                f"http://127.0.0.1:{nobody.getsockname()[1]}/hub/api", "secret", 5000, patience=0.3
            )
        assert time.monotonic() - began < 2


def test_the_port_is_held_on_loopback_and_refuses_until_the_server_listens() -> None:
    """Nobody else can take it, and nobody reaches it too early (stock: R8, R12)."""
    with node.bound_socket("127.0.0.1", 9) as ours:
        address = ours.getsockname()
        assert address[0] == "127.0.0.1" and 1024 <= address[1] <= 65535
        with socket.socket() as thief, pytest.raises(OSError, match="in use"):
            thief.bind(address)
        with socket.socket() as early:
            assert early.connect_ex(address) != 0
        ours.listen()
        with socket.socket() as visitor:
            assert visitor.connect_ex(address) == 0


@pytest.mark.parametrize(
    ("address", "url"),
    [("10.0.0.7", "http://10.0.0.7:5000/user/pann/"), ("fd00::7", "http://[fd00::7]:5000/user/pann/")],
)
def test_the_service_url_names_where_the_server_really_is(address: str, url: str) -> None:
    """The hub could not know address and port; the path stays."""
    assert node.service_url("http://0.0.0.0:0/user/pann/", address, 5000) == url


def test_variables_that_steer_python_or_jupyter_do_not_reach_the_server() -> None:
    """What a person's own shell profile sets must not change how the server starts (R25)."""
    kept = node.clean(
        {
            "PYTHONPATH": "/x",
            "PYTHONSTARTUP": "/x",
            "LD_PRELOAD": "/x",
            "JUPYTER_CONFIG_DIR": "/x",
            "JUPYTER_PATH": "/x",
            "IPYTHONDIR": "/x",
            "PATH": "/x",
            "JUPYTERHUB_API_TOKEN": "t",
            "SLURM_JOB_ID": "7",
            "CUDA_VISIBLE_DEVICES": "0",
        }
    )

    assert "/x" not in kept.values()
    assert kept["JUPYTERHUB_API_TOKEN"] == "t" and kept["SLURM_JOB_ID"] == "7"
    assert kept["CUDA_VISIBLE_DEVICES"] == "0"


def test_jupyterlab_does_not_ask_whether_to_fetch_news_from_abroad(tmp_path: Path) -> None:
    """The extension that asks is off, by a file of the session's own."""
    page = Path(node.quiet_lab(str(tmp_path)), "labconfig", "page_config.json")

    assert json.loads(page.read_text()) == {
        "disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}
    }
