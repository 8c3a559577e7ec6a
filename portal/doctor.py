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

from portal import keys, listeners
from portal import settings as settings_module
from portal.listeners import Known
from portal.service import shipping
from portal.settings import Settings, SettingsError
from portal.slurm.commands import Slurm, SlurmError
from portal.store import Store, StoreError, connect, describe
from portal.terminal import N_
from portal.terminal import gettext as _

ENFORCED = {"associations", "limits", "qos", "safe"}
VIEW_OLD_SECONDS = 30
SHIPPED_LATE_SECONDS = 300
NO_ISOLATION = N_("no isolation between people (slurm.accounts = shared)")


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
        note = f"; {_(NO_ISOLATION)}" if (name, value) == ("slurm.accounts", "shared") else ""
        yield Finding(_("setting {name}").format(name=name), True, f"{value}{note}")


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
    for name in sorted(keys.NEEDED):
        path, part = settings.secrets / name, _("secret {name}").format(name=name)
        if settings.secrets.is_dir() and not path.exists():
            made = _("not there: run `portal secrets`")
            given = _("not there: write what the identity provider gave you into {path}").format(path=path)
            yield Finding(part, False, given if name == keys.CLIENT_SECRET else made)
            continue
        try:
            settings.secret(name)
            open_to_others = stat.S_IMODE(path.stat().st_mode) & 0o077
        except (SettingsError, OSError, UnicodeDecodeError) as error:
            yield Finding(part, False, str(error))
            continue
        fix = _("readable by others: chmod 600 {path}").format(path=path)
        yield Finding(part, not open_to_others, fix if open_to_others else _("there, for us alone"))


async def _parts(settings: Settings) -> list[Finding]:
    slurm = Slurm.of(settings.slurm)
    looks: dict[str, Callable[[], Awaitable[str]]] = {
        _("database"): lambda: _database(settings),
        _("hub"): lambda: _answers(f"{settings.hub_api_url.removesuffix('/api')}/health"),
        _("proxy"): lambda: _answers(
            f"http://127.0.0.1:{settings.web.port}/hub/health", host=settings.web.url
        ),
        _("portal"): lambda: _answers(f"{settings.portal_url}/internal/health"),
        _("agent"): lambda: _view(settings),
        _("dashboards"): lambda: _answers(
            f"http://127.0.0.1:{settings.web.dashboards_port}/services/dash/look/tokens.css"
        ),
        _("sign-in provider"): lambda: _answers(settings.identity.endpoint("jwks")),
        _("audit"): lambda: _shipped(settings),
        "slurmctld": lambda: _slurmctld(slurm),
        "slurmdbd": lambda: _slurmdbd(slurm, settings.slurm.cluster),
        _("Slurm limits"): lambda: _limits(slurm),
    }
    return [await _look(part, look) for part, look in looks.items()]


class Unwell(Exception):
    """A part is not well; the message says why and what to do."""


async def _look(part: str, look: Callable[[], Awaitable[str]]) -> Finding:
    try:
        return Finding(part, True, await look())
    except (Unwell, StoreError, SettingsError, SlurmError, OSError) as error:
        return Finding(part, False, str(error))


async def _database(settings: Settings) -> str:
    return await asyncio.to_thread(describe, settings.database_url, settings.hub_database_url)


async def _shipped(settings: Settings) -> str:
    """How far behind the copy of the audit is."""
    if not settings.audit.ship:
        return _(
            "not copied to another place (audit.ship is not set): a loss of its last lines goes unnoticed"
        )

    def look() -> shipping.Behind:
        describe(settings.database_url, settings.hub_database_url)  # says so where there is none
        engine = connect(settings.database_url)
        try:
            with Store(engine).read() as db:
                return shipping.behind(settings, db, int(time.time()))
        finally:
            engine.dispose()

    state, place = await asyncio.to_thread(look), settings.audit.ship
    if state.fault:
        raise Unwell(
            _("it was tampered with: {fault}").format(
                fault=_(state.fault.sentence).format(line=state.fault.line)
            )
        )
    if state.oldest > SHIPPED_LATE_SECONDS:
        told = _(
            "{number} lines wait to be copied to {place}, the oldest for {minutes} min; look at the portal's log"
        )
        raise Unwell(told.format(number=state.waiting, place=place, minutes=state.oldest // 60))
    return _("copied to {place}; {number} lines on their way").format(place=place, number=state.waiting)


async def _answers(url: str, host: str = "") -> str:
    headers = {"Host": host.partition("://")[2]} if host else {}
    async with httpx.AsyncClient(timeout=5, trust_env=False) as http:
        try:
            answer = await http.get(url, headers=headers)
        except httpx.HTTPError as error:
            told = _("{url} does not answer ({reason}); look at its log")
            raise Unwell(told.format(url=url, reason=type(error).__name__)) from None
    if answer.status_code >= 400:
        raise Unwell(_("{url} answers {status}; look at its log").format(url=url, status=answer.status_code))
    return _("{url} answers").format(url=url)


async def _view(settings: Settings) -> str:
    async with httpx.AsyncClient(timeout=5, trust_env=False) as http:
        try:
            at = (await http.get(f"{settings.portal_url}/internal/health")).json()["as_at"]
        except (httpx.HTTPError, ValueError, KeyError):
            raise Unwell(_("unknown, since the portal does not answer")) from None
    if at is None or time.time() - at > VIEW_OLD_SECONDS:
        raise Unwell(_("has brought no look at Slurm lately; look at its log"))
    return _("last look {seconds} s ago").format(seconds=round(time.time() - at))


async def _slurmctld(slurm: Slurm) -> str:
    nodes = (await slurm.sinfo("--noheader", "--Node", "--format=%N %t")).splitlines()
    down = sorted({line.split()[0] for line in nodes if "down" in line or "drain" in line or "*" in line})
    if down:
        raise Unwell(_("nodes not usable: {nodes}; see `sinfo -R`").format(nodes=", ".join(down)))
    return _("{number} nodes usable").format(number=len(nodes))


async def _slurmdbd(slurm: Slurm, cluster: str) -> str:
    known = (await slurm.sacctmgr_show("cluster", "format=cluster")).split()
    if cluster not in known:
        told = _("cluster {cluster} is not registered; known: {known}")
        raise Unwell(told.format(cluster=cluster, known=", ".join(known) or "-"))
    return _("cluster {cluster} is registered").format(cluster=cluster)


async def _limits(slurm: Slurm) -> str:
    lines = (await slurm.scontrol("show", "config")).splitlines()
    config = {key.strip(): value.strip() for key, _, value in (line.partition("=") for line in lines)}
    missing = ENFORCED - set(config.get("AccountingStorageEnforce", "").split(","))
    if missing:
        told = _("AccountingStorageEnforce lacks {words} in slurm.conf")
        raise Unwell(told.format(words=", ".join(sorted(missing))))
    if "MAX_TRES" not in config.get("PriorityFlags", ""):
        raise Unwell(_("PriorityFlags lacks MAX_TRES in slurm.conf: prices would be wrong"))
    return _("associations, limits, qos and safe are enforced")


def _supervised(settings: Settings) -> Iterator[Finding]:
    """Processes under the demonstration's supervisor, where there is one."""
    from portal.demo.supervision import SupervisionError, states

    try:
        found = states(settings.home)
    except (SupervisionError, OSError):
        return
    for state in found:
        dead = _("left down after it died again and again") if state.state == "FATAL" else state.state.lower()
        fix = _("{what}; look at {log}, then start everything anew").format(
            what=dead, log=settings.home / "logs" / f"{state.name}.log"
        )
        part = _("process {name}").format(name=state.name)
        yield Finding(part, state.alive, _("running") if state.alive else fix)


# what listens


def listening(settings: Settings) -> list[listeners.Found]:
    """Every listening socket of this product's processes on this machine, and why it exists."""
    from portal.demo import processes

    pids = processes.ours(settings.home, settings_module.file())
    return listeners.survey(pids, [*_services(settings), *_sessions(settings), *_demonstration(settings)])


def _services(settings: Settings) -> list[Known]:
    """The ports that the settings decide (`portal.settings.Web`)."""
    web = settings.web
    why = {
        web.port: N_(
            "The proxy: the one address that browsers use, for hub, portal, dashboards and notebooks."
        ),
        web.proxy_api_port: N_("The proxy's own API, where the hub sets routes; it wants a token."),
        web.portal_port: N_("The portal service, reached through the proxy and by our own processes."),
        web.dashboards_port: N_("The dashboards, reached through the proxy."),
    }
    hub = N_("JupyterHub, reached through the proxy and by the sessions.")
    return [
        Known(f"{web.hub_address}:{web.hub_port}", hub, open=True),
        *(Known(f"127.0.0.1:{port}", reason) for port, reason in why.items()),
    ]


def _sessions(settings: Settings) -> list[Known]:
    """Sockets that come and go: `spawners/node.py` and `portal/dashboards/server.py` decide where."""
    kernel = N_("A kernel takes orders of its own server, and of the same Unix user alone.")
    output = N_("A kernel collects what the processes it forks print; a random key guards it.")
    notebook = N_("A notebook server, for as long as its session runs; it wants the hub's sign-in.")
    return [
        Known("*/aisc-session-*/kernel-*-ipc-*", kernel, "ipykernel"),
        Known(f"{settings.home.absolute()}/run/dash/*", kernel, "portal.dashboards.kernel"),
        Known("*/dash-*", kernel, "portal.dashboards.kernel"),
        Known("127.0.0.1:*", output, "ipykernel"),
        Known("127.0.0.1:*", output, "portal.dashboards.kernel"),
        Known("127.0.0.1:*", notebook, " -I -S -"),
    ]


def _demonstration(settings: Settings) -> list[Known]:
    if not settings.site.demo:
        return []
    from portal.demo import stack

    return stack.known(settings)
