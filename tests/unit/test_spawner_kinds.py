"""Kinds of session: chosen by name, each with its own settings, none of them ever a process on the hub's host.

Each behaviour is shown on wrapspawner's own class as well, which lacks it, so that the test is known to be able to fail.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest
from jupyterhub.objects import Hub
from jupyterhub.spawner import LocalProcessSpawner, Spawner, SpawnException
from markupsafe import Markup
from traitlets import Integer, TraitError
from traitlets.config import Config
from wrapspawner import ProfilesSpawner

from spawners.kinds import KindsSpawner

pytestmark = pytest.mark.filterwarnings(
    "ignore:Passing unrecognized arguments:DeprecationWarning"
)  # the stock class


class Boat(Spawner):  # type: ignore[misc]
    """A kind of session that floats; it keeps what it was told."""

    start_timeout = Integer(4321).tag(config=True)
    http_timeout = Integer(77).tag(config=True)
    hub_spawner: Any = None
    job = ""

    def __init__(self, hub_spawner: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.hub_spawner = hub_spawner

    def chosen(self, data: dict[str, Any]) -> dict[str, Any]:
        if set(data) - {"sail"}:
            raise SpawnException("options: no such option", reason="options")
        return dict(data)

    def load_state(self, state: dict[str, Any]) -> None:
        self.job = state.get("session", "")

    def get_state(self) -> dict[str, Any]:
        return {"session": self.job} if self.job else {}

    async def start(self) -> tuple[str, int]:
        return "127.0.0.1", 5000

    async def stop(self, now: bool = False) -> None:
        pass

    async def poll(self) -> int | None:
        return None if self.job else 0

    async def progress(self) -> AsyncIterator[dict[str, Any]]:
        yield {"message": "rowing"}

    async def get_options_form(self) -> Markup:
        return Markup("<b>sail</b>")


PROFILES = [("Boat", "boat", Boat, {"cmd": ["sail"]})]


def make(cls: type[Spawner], **options: Any) -> Any:
    """A spawner as the hub makes it, without a hub."""
    user = SimpleNamespace(name="pann", url="/user/pann/", settings={}, escaped_name="pann", groups=[])
    return cls(
        config=Config(),
        user=user,
        hub=Hub(),
        orm_spawner=None,
        db=None,
        _deprecated_db_session=None,
        profiles=PROFILES,
        **options,
    )


BAD_KINDS: list[Any] = [
    {},
    {"kind": "nope"},
    {"kind": ["boat", "boat"]},
    {"kind": None},
    {"kind": ""},
    {"kind": {}},
]


@pytest.mark.parametrize("data", BAD_KINDS, ids=repr)
def test_a_kind_that_is_not_offered_is_refused(data: dict[str, Any]) -> None:
    """Unknown, missing or twice: 400 by the field's name, and no spawner at all (R15)."""
    spawner = make(KindsSpawner)
    with pytest.raises(SpawnException, match="no such kind of session") as refusal:
        spawner.apply(data)

    assert refusal.value.status_code == 400
    assert spawner.child_spawner is None


def test_the_stock_class_starts_a_process_on_the_hubs_host_instead() -> None:
    """Stock: an unknown profile falls through to a local process (R15)."""
    stock = make(ProfilesSpawner, user_options={"profile": "nope"})
    stock.construct_child()

    assert type(stock.child_spawner) is LocalProcessSpawner


def test_a_kind_keeps_its_own_settings_and_the_hub_its_time_limits() -> None:
    """The child's command and limits are its own, and the hub waits as long as the kind says (R16)."""
    spawner = make(KindsSpawner)
    spawner.apply({"kind": "boat"})
    stock = make(ProfilesSpawner, user_options={"profile": "boat"})
    stock.construct_child()

    assert (spawner.start_timeout, spawner.http_timeout) == (4321, 77)
    assert spawner.child_spawner.start_timeout == 4321
    assert stock.start_timeout == 60, "stock: the hub gives up after its own default"
    assert stock.child_spawner.start_timeout == 60, "stock: the child's is overwritten"


def test_the_child_follows_the_token_and_nothing_else() -> None:
    """The hub sets the token after the kind was chosen; a command set on the wrapper is not the child's."""
    spawner = make(KindsSpawner)
    spawner.apply({"kind": "boat"})
    spawner.api_token = "secret"
    spawner.cmd = ["other"]

    assert spawner.child_spawner.api_token == "secret"
    assert spawner.child_spawner.cmd == ["sail"]


@pytest.mark.parametrize(
    "state",
    [{"session": "s1"}, {"profile": "boat", "child_state": {"session": "s1"}}],
    ids=["plain", "wrapped"],
)
async def test_a_session_survives_a_change_of_class(state: dict[str, Any]) -> None:
    """State kept with or without kinds is read by both (R17)."""
    spawner = make(KindsSpawner)
    spawner.load_state(state)

    assert await spawner.poll() is None
    assert spawner.get_state() == {"profile": "boat", "child_state": {"session": "s1"}}


def test_the_stock_class_loses_a_session_of_a_plain_spawner() -> None:
    """Stock: state of a spawner without profiles is dropped (R17)."""
    stock = make(ProfilesSpawner)
    stock.load_state({"session": "s1"})

    assert "s1" not in str(stock.get_state())


async def test_nothing_is_known_and_nothing_runs_before_a_start() -> None:
    """A fresh spawner is not running, keeps no state, and can be stopped."""
    spawner = make(KindsSpawner)
    spawner.load_state({})
    await spawner.stop()

    assert await spawner.poll() == 0
    assert spawner.get_state() == {}


async def test_progress_may_be_asked_for_before_there_is_a_child() -> None:
    """The page opens at once; the child's own words follow (R18)."""
    spawner = make(KindsSpawner)
    heard = asyncio.ensure_future(anext(spawner.progress()))
    await asyncio.sleep(0)
    spawner.apply({"kind": "boat"})

    assert await heard == {"message": "rowing"}
    with pytest.raises(RuntimeError, match="No child spawner"):
        _ = make(ProfilesSpawner).progress


def test_a_session_does_not_change_the_configuration_of_its_kind() -> None:
    """What one session adds to its settings is not there for the next (R18)."""
    spawner, stock = make(KindsSpawner), make(ProfilesSpawner)
    stock.profiles = [("Boat", "boat", Boat, {"cmd": ["sail"]})]
    before = repr(PROFILES)
    spawner.load_state({"profile": "boat", "child_conf": {"cmd": ["evil"]}, "child_state": {"session": "s1"}})
    stock.load_state({"profile": "boat", "child_conf": {"cmd": ["evil"]}, "child_state": {"session": "s1"}})

    assert repr(PROFILES) == before
    assert spawner.child_spawner.cmd == ["sail"]
    assert stock.profiles[0][3]["cmd"] == ["evil"], "stock: kept for everybody"


def test_a_kind_configured_twice_is_refused() -> None:
    """Which of the two would start is nobody's guess (R18)."""
    with pytest.raises(TraitError, match="twice"):
        make(KindsSpawner).profiles = PROFILES * 2


async def test_the_form_is_the_childs_and_names_its_kind() -> None:
    """The kind travels with the form; nothing is escaped twice."""
    assert await make(KindsSpawner).get_options_form() == (
        '<input type="hidden" name="kind" value="boat"><b>sail</b>'
    )


def test_form_data_is_checked_by_the_kind_it_is_for() -> None:
    """An option that the kind does not know is refused; what it knows is passed on with the kind."""
    spawner = make(KindsSpawner)

    assert spawner.options_from_form({"kind": ["boat"], "sail": ["red"]}) == {"kind": "boat", "sail": ["red"]}
    with pytest.raises(SpawnException, match="options"):
        spawner.options_from_form({"kind": ["boat"], "cmd": ["id"]})
