"""`portal doctor`: every part and every setting, one line each.

It only looks. Each line says what was looked at, whether it is well, and where it is not, what to do.
"""

from __future__ import annotations

import asyncio
import stat
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
from pydantic import BaseModel

from portal.settings import Settings, SettingsError
from portal.slurm.commands import Slurm, SlurmError
from portal.store import StoreError, connect, describe

SECRETS = (
    "agent.token",
    "cookie_secret",
    "crypt_key",
    "dash-hub.token",
    "dashboards.token",
    "hub.token",
    "oidc-client.secret",
    "portal-hub.token",
    "portal.key",
    "proxy-check.token",
    "proxy.token",
)
ENFORCED = {"associations", "limits", "qos", "safe"}
VIEW_OLD_SECONDS = 30
NO_ISOLATION = "no isolation between people (slurm.accounts = shared)"


@dataclass(frozen=True)
class Finding:
    """One line of the report. text: what it is, or what is wrong and the next step."""

    part: str
    well: bool
    text: str

    @property
    def line(self) -> str:
        return f"{'ok  ' if self.well else 'FAIL'}  {self.part}: {self.text}"


def examine(settings: Settings) -> list[Finding]:
    """Look at everything once; takes a few seconds when something does not answer."""
    return [*_settings(settings), *_secrets(settings), *asyncio.run(_parts(settings)), *_supervised(settings)]


def _settings(settings: Settings) -> Iterator[Finding]:
    for name, value in _flat(settings, ""):
        note = f"; {NO_ISOLATION}" if (name, value) == ("slurm.accounts", "shared") else ""
        yield Finding(f"setting {name}", True, f"{value}{note}")


def _flat(model: BaseModel, prefix: str) -> Iterator[tuple[str, Any]]:
    for name in type(model).model_fields:
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            yield from _flat(value, f"{prefix}{name}.")
        elif isinstance(value, tuple) and value and isinstance(value[0], BaseModel):
            for item in value:
                fields = ", ".join(f"{key} {item_value}" for key, item_value in item if item_value)
                yield f"{prefix}{name}", fields
        else:
            yield f"{prefix}{name}", value


def _secrets(settings: Settings) -> Iterator[Finding]:
    for name in SECRETS:
        path = settings.secrets / name
        try:
            settings.secret(name)
            open_to_others = stat.S_IMODE(path.stat().st_mode) & 0o077
        except (SettingsError, OSError, UnicodeDecodeError) as error:
            yield Finding(f"secret {name}", False, str(error))
            continue
        fix = f"readable by others: chmod 600 {path}"
        yield Finding(f"secret {name}", not open_to_others, fix if open_to_others else "there, for us alone")


async def _parts(settings: Settings) -> list[Finding]:
    slurm = Slurm.of(settings.slurm)
    looks: dict[str, Callable[[], Awaitable[str]]] = {
        "database": lambda: _database(settings),
        "hub": lambda: _answers(f"http://127.0.0.1:{settings.web.hub_port}/hub/health"),
        "proxy": lambda: _answers(f"http://127.0.0.1:{settings.web.port}/hub/health", host=settings.web.url),
        "portal": lambda: _answers(f"{settings.portal_url}/internal/health"),
        "agent": lambda: _view(settings),
        "dashboards": lambda: _answers(
            f"http://127.0.0.1:{settings.web.dashboards_port}/services/dash/look/tokens.css"
        ),
        "sign-in provider": lambda: _answers(settings.identity.endpoint("jwks")),
        "slurmctld": lambda: _slurmctld(slurm),
        "slurmdbd": lambda: _slurmdbd(slurm, settings.slurm.cluster),
        "Slurm limits": lambda: _limits(slurm),
    }
    return [await _look(part, look) for part, look in looks.items()]


class Unwell(Exception):
    """A part is not well; the message says why and what to do."""


async def _look(part: str, look: Callable[[], Awaitable[str]]) -> Finding:
    try:
        return Finding(part, True, await look())
    except (Unwell, StoreError, SlurmError, OSError) as error:
        return Finding(part, False, str(error))


async def _database(settings: Settings) -> str:
    engine = connect(settings.database_url)
    try:
        return await asyncio.to_thread(describe, engine)
    finally:
        engine.dispose()


async def _answers(url: str, host: str = "") -> str:
    headers = {"Host": host.partition("://")[2]} if host else {}
    async with httpx.AsyncClient(timeout=5, trust_env=False) as http:
        try:
            answer = await http.get(url, headers=headers)
        except httpx.HTTPError as error:
            raise Unwell(f"{url} does not answer ({type(error).__name__}); look at its log") from None
    if answer.status_code >= 400:
        raise Unwell(f"{url} answers {answer.status_code}; look at its log")
    return f"{url} answers"


async def _view(settings: Settings) -> str:
    async with httpx.AsyncClient(timeout=5, trust_env=False) as http:
        try:
            at = (await http.get(f"{settings.portal_url}/internal/health")).json()["as_at"]
        except (httpx.HTTPError, ValueError, KeyError):
            raise Unwell("unknown, since the portal does not answer") from None
    if at is None or time.time() - at > VIEW_OLD_SECONDS:
        raise Unwell("has brought no look at Slurm lately; look at its log")
    return f"last look {time.time() - at:.0f} s ago"


async def _slurmctld(slurm: Slurm) -> str:
    nodes = (await slurm.sinfo("--noheader", "--Node", "--format=%N %t")).splitlines()
    down = sorted({line.split()[0] for line in nodes if "down" in line or "drain" in line or "*" in line})
    if down:
        raise Unwell(f"nodes not usable: {', '.join(down)}; see `sinfo -R`")
    return f"{len(nodes)} nodes usable"


async def _slurmdbd(slurm: Slurm, cluster: str) -> str:
    known = (await slurm.sacctmgr_show("cluster", "format=cluster")).split()
    if cluster not in known:
        raise Unwell(f"cluster {cluster!r} is not registered; known: {', '.join(known) or 'none'}")
    return f"cluster {cluster} is registered"


async def _limits(slurm: Slurm) -> str:
    lines = (await slurm.scontrol("show", "config")).splitlines()
    config = {key.strip(): value.strip() for key, _, value in (line.partition("=") for line in lines)}
    missing = ENFORCED - set(config.get("AccountingStorageEnforce", "").split(","))
    if missing:
        raise Unwell(f"AccountingStorageEnforce lacks {', '.join(sorted(missing))} in slurm.conf")
    if "MAX_TRES" not in config.get("PriorityFlags", ""):
        raise Unwell("PriorityFlags lacks MAX_TRES in slurm.conf: prices would be wrong")
    return "associations, limits, qos and safe are enforced"


def _supervised(settings: Settings) -> Iterator[Finding]:
    """Processes under the demonstration's supervisor, where there is one."""
    from portal.demo.supervision import SupervisionError, states

    try:
        found = states(settings.home)
    except (SupervisionError, OSError):
        return
    for state in found:
        what = "left down after it died again and again" if state.state == "FATAL" else state.state.lower()
        fix = f"{what}; look at {settings.home}/logs/{state.name}.log, then start everything anew"
        yield Finding(f"process {state.name}", state.alive, "running" if state.alive else fix)
