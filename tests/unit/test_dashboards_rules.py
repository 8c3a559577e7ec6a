"""What the dashboards draw, what a page may say to its kernel, and which addresses exist."""

from __future__ import annotations

import json
import re
import time
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jupyter_server.base.handlers import FileFindHandler, MainHandler
from jupyter_server.services.kernels.handlers import KernelHandler
from traitlets.config import Configurable
from voila.static_file_handler import AllowListFileHandler, MultiStaticFileHandler
from voila.tornado.contentshandler import VoilaContentsHandler
from voila.tornado.handler import TornadoVoilaHandler

from portal.client import Allocation, GrantView, LiveNode, Queue, QueueJob
from portal.dashboards import allocation, kernels, queue, routes, server, signin
from portal.dashboards.owners import Owned, OwnerAuthorizer, Owners
from portal.dashboards.pieces import Reader, as_at, duration, gpus, last_day
from portal.locale import LANGUAGES
from portal.settings import Settings
from portal.units import GPU_HOUR

NOON = int(datetime(2026, 6, 1, 4, tzinfo=UTC).timestamp())
READER = Reader(contact="grants@aisc.example")
HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>&{{7*7}}%(time)s%s"


def grant(**changed: Any) -> GrantView:
    figures: dict[str, Any] = {
        "code": "AISS-1",
        "title": "Proteins",
        "organisation": "Example University",
        "state": "active",
        "role": "pi",
        "starts": NOON - 86400,
        "ends": NOON + 30 * 86400,
        "awarded": 2000 * GPU_HOUR,
        "balance": 1_204_500 * GPU_HOUR // 1000,
        "committed": 32 * GPU_HOUR,
        "available": 1_172_500 * GPU_HOUR // 1000,
        "spent": 795 * GPU_HOUR,
        "list_cents": 954_000_00,
        "subsidy_cents": 667_800_00,
        "own_cents": 286_200_00,
    }
    return GrantView(**figures | changed)


def job(**changed: Any) -> QueueJob:
    values: dict[str, Any] = {
        "id": 7,
        "mine": False,
        "label": "",
        "state": "RUNNING",
        "reason": "",
        "partition": "gpu",
        "gpus": 1.0,
        "nodes": "gpu01",
        "submit": NOON - 700,
        "start": NOON - 600,
        "limit_seconds": 7800,
    }
    return QueueJob(**values | changed)


def drawn_allocation(*grants: GrantView, reader: Reader = READER) -> str:
    return "".join(allocation.render(Allocation(at=NOON, as_at=NOON, grants=list(grants)), reader).values())


def drawn_queue(jobs: list[QueueJob], nodes: list[LiveNode], reader: Reader = READER) -> str:
    return "".join(queue.render(Queue(at=NOON, as_at=NOON, nodes=nodes, jobs=jobs), reader).values())


class Markup(HTMLParser):
    """The tags, the attributes and the words of some HTML."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.words = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.words += data


def harmless(html: str) -> bool:
    found = Markup(html)
    acts = {name for name in found.attributes if name.startswith("on") or name in ("src", "href", "action")}
    return not acts and not found.tags & {"script", "img", "iframe", "a", "b", "form", "base", "object"}


@pytest.mark.parametrize("language", LANGUAGES)
def test_names_stay_text(language: str) -> None:
    """Titles, codes, labels, reasons, nodes and states never become markup, in either language."""
    reader = Reader(language=language, contact=HOSTILE)
    hostile_grant = grant(code=HOSTILE, title=HOSTILE, organisation=HOSTILE, state=HOSTILE, role=HOSTILE)
    running = job(mine=True, label=HOSTILE, nodes=HOSTILE, state=HOSTILE)
    waiting = job(state="PENDING", reason=HOSTILE, partition=HOSTILE, start=None)
    node = LiveNode(name=HOSTILE, state=HOSTILE, partition=HOSTILE, gpus=8)

    for html in (
        drawn_allocation(hostile_grant, reader=reader),
        drawn_allocation(reader=reader),
        drawn_queue([running, waiting], [node], reader=reader),
    ):
        assert harmless(html)
        assert HOSTILE in Markup(html).words


@given(st.text())
def test_no_name_at_all_becomes_markup(name: str) -> None:
    """Whatever a job or a grant is called, the page has the same tags as with a plain name."""
    plain = Markup(drawn_queue([job(mine=True, label="x")], [])).tags
    assert Markup(drawn_queue([job(mine=True, label=name)], [])).tags == plain
    assert Markup(drawn_allocation(grant(title=name))).tags == Markup(drawn_allocation(grant())).tags


def test_a_grant_in_figures() -> None:
    """Left, committed and spent with one decimal; list price, subsidy and own share in that order."""
    words = Markup(drawn_allocation(grant())).words

    assert "1,204.5" in words and "32.0" in words and "795.0" in words
    assert words.index("HK$954,000.00") < words.index("−HK$667,800.00") < words.index("HK$286,200.00")
    assert "1 Jul 2026" in words
    assert "30 days left" in words


def test_a_window_ends_with_its_last_day() -> None:
    """ "Ends 30 June" is stored as 30 June 24:00, and is not shown as 1 July."""
    midnight = int(datetime(2026, 6, 30, 16, tzinfo=UTC).timestamp())
    assert last_day(midnight, READER) == "30 Jun 2026"
    assert last_day(midnight, Reader(language="zh_Hant_HK")) == "2026年6月30日"


def test_an_overrun_is_shown() -> None:
    """A balance below zero is named an overrun, not clipped."""
    words = Markup(drawn_allocation(grant(balance=-2 * GPU_HOUR, available=-2 * GPU_HOUR))).words
    assert "2.0GPU-hoursoverrun" in words


def test_without_a_grant() -> None:
    """One sentence and whom to ask, nothing else."""
    words = Markup(drawn_allocation()).words
    assert "You have no grant yet." in words
    assert "grants@aisc.example" in words


def test_history_is_drawn_by_the_day() -> None:
    """Thirty bars, also where days are missing; no picture without history."""
    day = NOON - NOON % 86400
    history = [(day - 86400 * 5, 3 * GPU_HOUR), (day, GPU_HOUR)]
    html = drawn_allocation(grant(history=history))

    assert html.partition('class="sparkline"')[2].count("<rect") == allocation.HISTORY_DAYS
    assert "3.0 GPU-hours" in html
    assert 'class="sparkline"' not in drawn_allocation(grant())


def test_the_queue_in_figures() -> None:
    """GPUs at work of all, jobs running and waiting, one's own, and every node with its own figures."""
    nodes = [
        LiveNode(name="gpu01", state="MIXED", partition="gpu", gpus=8, gpus_used=3.25),
        LiveNode(name="gpu02", state="IDLE+DRAIN", partition="gpu", gpus=8),
        LiveNode(name="cpu01", state="ALLOCATED", partition="cpu", cores=64, cores_used=64),
    ]
    jobs = [
        job(),
        job(id=8, mine=True, label="fold-2"),
        job(id=9, state="PENDING", start=None, reason="BeginTime"),
    ]
    words = Markup(drawn_queue(jobs, nodes)).words

    assert "3.25of 16" in words
    assert "8 of 16 out of service" in words
    assert "2jobsrunning" in words and "1jobswaiting" in words
    assert "Yours: 1 running, 0 waiting." in words
    assert "3.25 of 8 GPUs" in words and "64 of 64 cores" in words
    assert "Starts by itself It was asked to start later" in words and "fold-2" in words
    assert "2 h 0 min" in words


def test_a_reason_that_nobody_explains_leads_to_help() -> None:
    """Slurm's own word, and where to look it up; never an empty cell."""
    reader = Reader(language="zh_Hant_HK", help="https://portal.example/help#reasons")
    page = drawn_queue([job(state="PENDING", start=None, reason="Newly<invented>")], [], reader=reader)
    assert 'Newly&lt;invented&gt; <a href="https://portal.example/help#reasons">' in page


def test_before_the_first_look_there_are_no_figures() -> None:
    """Nothing known is not the same as nothing there: no zeros are drawn."""
    html = "".join(queue.render(Queue(at=NOON, as_at=None, nodes=[], jobs=[]), READER).values())
    assert "No look at the cluster yet" in html
    assert "figure" not in html


def test_ones_own_jobs_come_first_and_the_rest_is_counted() -> None:
    """With a thousand jobs the table stays short, and one's own job is in it."""
    jobs = [job(id=number) for number in range(1000)] + [job(id=5000, mine=True, label="mine")]
    html = drawn_queue(jobs, [])

    assert "5000" in html
    assert html.count("<tr") == queue.ROWS + 1
    assert "and 901 more" in html


@pytest.mark.parametrize(
    "state, out",
    [
        ("IDLE", False), ("MIXED", False), ("ALLOCATED+COMPLETING", False), ("DOWN", True), ("DOWN*", True), ("IDLE*", True),
        ("IDLE+DRAIN", True), ("DRAINING", True), ("MIXED+DRAIN", True), ("idle~", False), ("UNKNOWN", True), ("MAINT", True),
    ],
)  # fmt: skip
def test_nodes_out_of_service(state: str, out: bool) -> None:
    """A node that Slurm starts nothing on is shown as such."""
    assert queue.out_of_service(LiveNode(name="n", state=state, partition="gpu")) is out


def test_the_age_is_told() -> None:
    """The clock is the site's, and the instant is there for the page's script; without a look that is said."""
    assert 'data-as-at="' + str(NOON) in as_at(NOON, READER)
    assert "As at 12:00:00" in as_at(NOON, READER)
    assert "stale" in as_at(None, READER)


@pytest.mark.parametrize(
    "seconds, words",
    [(-5, "under 1 min"), (59, "under 1 min"), (600, "10 min"), (7800, "2 h 10 min"), (100_000, "1 d 3 h")],
)
def test_lengths_of_time(seconds: int, words: str) -> None:
    """Two units at most."""
    assert duration(seconds, READER) == words


def test_parts_of_a_gpu() -> None:
    """Whole numbers stay whole; quarters are told."""
    assert [gpus(number) for number in (0, 1, 0.25, 1234.5)] == ["0", "1", "0.25", "1,234.5"]


@pytest.mark.parametrize(
    "kind, content, allowed",
    [
        ("kernel_info_request", {}, True),
        ("comm_info_request", {"target_name": "jupyter.widget"}, True),
        ("comm_open", {"target_name": "jupyter.widget.control", "comm_id": "a", "data": {}}, True),
        ("comm_msg", {"comm_id": "a", "data": {"method": "request_states"}}, True),
        ("comm_msg", {"comm_id": "a", "data": {"method": "request_state"}}, True),
        ("comm_close", {"comm_id": "a", "data": {}}, True),
        ("comm_open", {"target_name": "jupyter.widget", "comm_id": "a", "data": {}}, False),
        ("comm_msg", {"comm_id": "a", "data": {"method": "update", "state": {"value": ""}}}, False),
        ("comm_msg", {"comm_id": "a", "data": {"method": "request_states", "state": {}}}, False),
        ("comm_msg", {"comm_id": "a", "data": {"method": "custom", "content": {}}}, False),
        ("execute_request", {"code": "1"}, False),
        ("complete_request", {}, False), ("inspect_request", {}, False), ("history_request", {}, False),
        ("debug_request", {}, False), ("shutdown_request", {}, False), ("interrupt_request", {}, False), ("input_reply", {}, False),
        ("create_subshell_request", {}, False), ("", {}, False),
    ],
)  # fmt: skip
def test_what_a_page_may_say(kind: str, content: dict[str, Any], allowed: bool) -> None:
    """It may ask what to show, and nothing else."""
    assert routes.may_be_sent(kind, content) is allowed


@pytest.mark.parametrize("parts", [9, 10**6, 2**63])
def test_a_message_cannot_make_the_server_count(parts: int) -> None:
    """A message that claims countless parts is refused before anybody counts them."""
    began = time.monotonic()
    with pytest.raises(ValueError, match="parts"):
        routes._check_parts(parts.to_bytes(8, "little") + b"x" * 100)
    assert time.monotonic() - began < 0.1


def test_unknown_routes_stop_the_start() -> None:
    """A route that nobody has decided about is named, and the server does not start."""
    with pytest.raises(routes.UnknownRoute, match=r"MainHandler at /services/dash/new"):
        routes.arrange([("/services/dash/new", MainHandler)], None)


def test_only_known_routes_are_served() -> None:
    """Voila's routes that list or read files go; those that stay are classes of ours."""
    stock: list[Any] = [
        ("/services/dash/api/kernels/x", KernelHandler),
        ("/services/dash/voila/files/(.*)", AllowListFileHandler, {"path": "/"}),
        ("/services/dash/voila/api/contents(.*)", VoilaContentsHandler, {}),
        ("/services/dash/voila/static/(.*)", MultiStaticFileHandler, {"paths": ["/a"]}),
        (
            "/services/dash/voila/labextensions/(.*)",
            FileFindHandler,
            {"path": ["/b"], "no_cache_paths": ["/"]},
        ),
        ("/services/dash/voila/render/(.*)", TornadoVoilaHandler, {}),
    ]
    served = routes.arrange(stock, None)

    assert all(issubclass(handler, routes.Ours) for _, handler, *_ in served)
    pages = [pattern for pattern, handler, *_ in served if handler is routes.Page]
    assert [
        bool(re.fullmatch(pages[0], f"/services/dash/{name}")) for name in ("queue", "x", "queue.ipynb")
    ] == [
        True,
        False,
        False,
    ]


@pytest.mark.parametrize(
    "person, path, resource, allowed",
    [
        ("alice", {"kernel_id": "k"}, "kernels", True),
        ("bob", {"kernel_id": "k"}, "kernels", False),
        ("", {"kernel_id": "k"}, "kernels", False),
        ("alice", {"kernel_id": "other"}, "kernels", False),
        ("alice", {}, "kernels", False),
        ("alice", {"kernel_id": "k"}, "contents", False),
    ],
)
def test_an_owner_and_nobody_else(person: str, path: dict[str, str], resource: str, allowed: bool) -> None:
    """The authorizer says yes to a kernel's owner only, and no to every question it does not know."""

    class App(Configurable):
        owners = Owners({"k": Owned("alice", "token", 0.0, 0.0)})

    authorizer = OwnerAuthorizer(parent=App())
    handler, user = SimpleNamespace(path_kwargs=path), SimpleNamespace(username=person)
    assert authorizer.is_authorized(handler, user, "execute", resource) is allowed


def test_a_kernels_environment_is_a_short_list(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the server's own environment reaches a kernel."""
    for name in (
        "JUPYTERHUB_API_TOKEN",
        "JPY_API_TOKEN",
        "CONFIGPROXY_AUTH_TOKEN",
        "HTTP_COOKIE",
        "PORTAL_SETTINGS",
    ):
        monkeypatch.setenv(name, "secret")
    environ = kernels.environment(Settings(), "en", "capability", Path("/folder"))

    assert "secret" not in environ.values()
    assert environ["PORTAL_DASH_TOKEN"] == "capability"
    assert not [name for name in environ if name.startswith(("JUPYTERHUB", "JPY", "CONFIGPROXY", "HTTP"))]


def test_notebooks_hold_no_logic() -> None:
    """A notebook is one cell that calls into the package."""
    for page in routes.PAGES:
        notebook = json.loads((server.NOTEBOOKS / f"{page}.ipynb").read_text())
        (cell,) = notebook["cells"]
        assert "".join(cell["source"]) == f"from portal.dashboards import {page}\n\n{page}.show()"


def test_the_page_forbids_frames_and_foreign_code() -> None:
    """The policy names no host but our own, and allows no inline script."""
    policy = routes.headers(Settings())["Content-Security-Policy"]
    script = re.search(r"script-src ([^;]*)", policy)

    assert "frame-ancestors 'none'" in policy
    assert script is not None and script[1] == "'self' blob:"
    assert set(re.findall(r"\w+://[^ ;]+", policy)) == {"ws://dash--service.localhost:8000"}


@pytest.mark.parametrize(
    "url, possible",
    [
        ("http://localhost:8000", True), ("https://hub.example.hk", True), ("http://aisc.test:8000", False),
        ("http://evillocalhost:1", False),
    ],
)  # fmt: skip
def test_where_host_cookies_work(url: str, possible: bool) -> None:
    """Browsers refuse them on a plain name without https, and would sign in for ever."""
    assert signin.host_cookies_possible(url) is possible


def test_a_long_home_gets_short_sockets(tmp_path: Path) -> None:
    """A Unix socket's path is limited: under a deep home the kernels' folder is a temporary one."""
    deep = tmp_path / ("x" * 60)
    deep.mkdir()
    chosen = server.socket_folder(Settings(home=deep))
    (chosen / "left").touch()
    again = server.socket_folder(Settings(home=deep))
    left = list(again.iterdir())
    again.rmdir()

    assert not chosen.is_relative_to(deep)
    assert len(str(chosen)) < 60
    assert again == chosen and not left


def test_refusals_are_plain() -> None:
    """Every refusal says what, and what to do next, and none shows an exception's text."""
    errors: list[tuple[int, BaseException | None]] = [
        (503, signin.SignInDown(float(NOON))), (503, kernels.PortalDown()), (403, kernels.NotAccepted()), (503, kernels.Full(yours=True)),
        (503, kernels.Full(yours=False)), (404, None), (403, None), (400, None), (500, ValueError("secret")),
    ]  # fmt: skip
    told = [routes.explain(status, error, "en", "Asia/Hong_Kong") for status, error in errors]

    assert "since 12:00" in told[0][1]
    assert all(title and sentence for title, sentence in told)
    assert len(set(told)) == len(told)
    assert "secret" not in str(told)
