"""Which spawner starts which kind of session.

A subclass of wrapspawner's, whose known faults are closed here: a kind that is unknown or not named is refused and
never becomes a process on the hub's own host (R15), each kind keeps its own settings and time limits (R16), a session
survives a change between wrapped and plain spawner (R17), and nothing of a kind's configuration is shared or changed
by a session (R18).
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator
from typing import Any

from jupyterhub.spawner import Spawner, SpawnException
from markupsafe import Markup
from traitlets import TraitError, Type, default, directional_link, validate
from wrapspawner import ProfilesSpawner

from portal import reasons
from spawners import form, situation
from spawners.options import single
from spawners.situation import Situation
from spawners.slurm import PortalSlurmSpawner

KIND = "kind"
NOTEBOOK = "notebook"
GIVEN = [
    "user",
    "orm_spawner",
    "hub",
    "authenticator",
    "oauth_client_id",
    "proxy_spec",
    "cookie_options",
    "cookie_host_prefix_enabled",
    "trusted_alt_names",
    "public_url",
    "public_hub_url",
    "internal_ssl",
    "internal_trust_bundles",
    "internal_certs_location",
]
"""What the hub gives to a spawner and the child gets as it is."""
FOLLOWED = ("api_token", "admin_access", "handler", "cert_paths")
"""What the hub sets later; the child follows it. Everything else is the child's own."""
LIMITS = ("start_timeout", "http_timeout", "poll_interval")
"""What the hub reads from the spawner it knows; each kind's own value counts (R16)."""


class KindsSpawner(ProfilesSpawner):  # type: ignore[misc]
    """Wraps the spawner of the kind that was asked for. `profiles`: (name, kind, class, its configuration)."""

    child_class = Type(PortalSlurmSpawner, Spawner)
    child_spawner: Any

    @default("profiles")
    def _kinds(self) -> list[tuple[str, str, type[Spawner], dict[str, Any]]]:
        return [("Notebook", NOTEBOOK, PortalSlurmSpawner, {})]

    @validate("profiles")
    def _one_of_each(self, proposal: Any) -> Any:
        kinds = [profile[1] for profile in proposal["value"]]
        if len(set(kinds)) != len(kinds):
            raise TraitError(f"a kind of session is configured twice: {kinds}")
        return proposal["value"]

    @default("apply_user_options")
    def _check_options(self) -> Any:
        return lambda spawner, chosen: spawner.apply(chosen)

    # which kind

    def apply(self, data: dict[str, Any]) -> None:
        """Check what was asked for, by whatever way it came, and take the spawner of its kind.

        Raises:
            SpawnException: 400, naming the field.
        """
        kind, rest = self.split(data)
        self.select_profile(kind)
        child = self._child()
        child.user_options = child.chosen(rest)
        self.child_spawner = child

    def split(self, data: object) -> tuple[str, dict[str, Any]]:
        """The kind that was asked for, and the options for it."""
        if not isinstance(data, dict):
            raise _unknown_kind()
        kind = single(data.get(KIND))
        if not isinstance(kind, str) or kind not in [profile[1] for profile in self.profiles]:
            raise _unknown_kind()
        return kind, {name: value for name, value in data.items() if name != KIND}

    def select_profile(self, profile: str) -> None:
        """Take class and configuration of a kind; a copy, so that no session changes it for the next."""
        for _name, kind, cls, config in self.profiles:
            if kind == profile:
                self.child_profile, self.child_class, self.child_config = kind, cls, copy.deepcopy(config)
                return
        raise _unknown_kind()

    def construct_child(self) -> Any:
        if self.child_spawner is None:
            self.apply(self.user_options)
        return self.child_spawner

    def _child(self) -> Any:
        given = {name: getattr(self, name) for name in GIVEN}
        child = self.child_class(
            **given,
            config=self.config,
            user_options={},
            _deprecated_db_session=self._deprecated_db_session,
            hub_spawner=self,
            **self.child_config,
        )
        for name in FOLLOWED:
            directional_link((self, name), (child, name))
        for name in LIMITS:
            setattr(self, name, getattr(child, name))
        return child

    # the form

    async def get_options_form(self) -> Markup:
        """The form of the first kind; the other kinds have their own ways in."""
        _name, kind, cls, config = self.profiles[0]
        self.child_class, self.child_config = cls, copy.deepcopy(config)
        html: Markup = await self._child().get_options_form()
        hidden = Markup('<input type="hidden" name="{}" value="{}">').format(KIND, kind)
        return hidden + html

    def options_from_form(self, formdata: dict[str, Any]) -> dict[str, Any]:
        kind, rest = self.split(formdata)
        self.select_profile(kind)
        return {KIND: kind, **self._child().chosen(rest)}

    # state

    def load_state(self, state: dict[str, Any]) -> None:
        """Take up a session, also one that was kept by a spawner without kinds (R17)."""
        self.child_spawner = None
        self.child_profile = ""
        child_state = state.get("child_state") or (state if "session" in state else {})
        if not child_state:
            return
        self.select_profile(str(state.get("profile") or self.profiles[0][1]))
        self.child_spawner = self._child()
        self.child_spawner.load_state(child_state)

    def get_state(self) -> dict[str, Any]:
        child_state = self.child_spawner.get_state() if self.child_spawner else {}
        return {"profile": self.child_profile, "child_state": child_state} if child_state else {}

    def clear_state(self) -> None:
        self.api_token = ""
        if self.child_spawner:
            self.child_spawner.clear_state()
        self.child_spawner, self.child_profile, self.child_config = None, "", {}

    # what the hub asks of a spawner, asked of the child

    @property
    def ready(self) -> bool:
        """As JupyterHub's, but not between the cancelling of a start and its stop: there is nothing to open yet."""
        return bool(super().ready) and bool(getattr(self.child_spawner, "arrived", True))

    async def start(self) -> tuple[str, int]:
        child = self.construct_child()
        address: tuple[str, int] = await child.start()
        return address

    async def stop(self, now: bool = False) -> None:
        if self.child_spawner:
            await self.child_spawner.stop(now)

    async def poll(self) -> int | None:
        if self.child_spawner is None:
            return 0
        status: int | None = await self.child_spawner.poll()
        return status

    async def get_url(self) -> str:
        asked = self.child_spawner.get_url() if self.child_spawner else super().get_url()
        return str(await asked)

    def run_post_stop_hook(self) -> Any:
        if self.child_spawner:
            self.child_spawner.revoke_token()
        return super().run_post_stop_hook()

    async def situation(self, language: str) -> Situation:
        """Where the start has got to; there is no child yet while it is being asked for."""
        if self.child_spawner is None:
            return situation.of(language, watched=False, row=None, called_back=False, place=None)
        found: Situation = await self.child_spawner.situation(language)
        return found

    async def summary(self, language: str) -> dict[str, str]:
        found: dict[str, str] = await self.child_spawner.summary(language) if self.child_spawner else {}
        return found

    async def progress(self) -> AsyncIterator[dict[str, Any]]:
        """The child's own, as soon as there is one (R18)."""
        while self.child_spawner is None:  # noqa: ASYNC110 - the hub starts to ask before there is one
            await asyncio.sleep(0.1)
        async for event in self.child_spawner.progress():
            yield event


def _unknown_kind() -> SpawnException:
    return SpawnException(reasons.say("kind", form.language()), reason=KIND)
