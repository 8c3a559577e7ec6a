"""Every setting of the portal: name, default, help with its unit.

The only reader of the settings file and of the environment. One TOML file, named by `PORTAL_SETTINGS`; a variable
`PORTAL_<SECTION>__<KEY>` wins over the file. An unknown key is refused, so a misspelt one cannot be ignored silently.
"""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import PydanticCustomError

from portal.sizes import Partition, Size, billing

ENV_PREFIX = "PORTAL_"
HIDDEN = "hidden"
"""Type of a fault whose message must not show the value."""


class SettingsError(Exception):
    """A setting is wrong. The message names key, value and what is allowed, in one line."""


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Site(Section):
    name: str = Field("AI Supercomputing Centre", description="Name of the centre, in English.")
    name_zh: str = Field("人工智能超算中心", description="Name of the centre, in Traditional Chinese.")
    contact: str = Field("grants@aisc.example", description="Address a person without a grant may write to.")
    timezone: str = Field("Asia/Hong_Kong", description="Time zone of periods, expiry and statements.")
    currency: str = Field("HK$", description="Written before every amount of money.")
    operators: str = Field("", description="Address that reports of problems go to; empty: to `contact`.")
    terms_version: str = Field(
        "1", description="Version of terms and privacy notice; a new one is asked for again."
    )
    documents: Path | None = Field(
        None, description="Folder of the site's own privacy notice, terms and help, which win over ours."
    )
    demo: bool = Field(False, description="Show the banner of a demonstration: sample people, sample grants.")


class Web(Section):
    url: str = Field(
        "http://localhost:8000",
        description="Public address of the hub, without a path. Portal, dashboards and people get hosts below it.",
    )
    proxy_port: int = Field(
        8000,
        ge=1,
        le=65535,
        description="Loopback port of the proxy, where `url` is https: another server ends TLS before it.",
    )
    hub_address: str = Field(
        "127.0.0.1",
        pattern=r"^[0-9]{1,3}(\.[0-9]{1,3}){3}$",
        description="Address of this machine on which JupyterHub listens: one that the nodes reach, and nobody outside.",
    )
    hub_port: int = Field(8002, ge=1, le=65535, description="Port of JupyterHub behind the proxy.")
    proxy_api_port: int = Field(8001, ge=1, le=65535, description="Loopback port of the proxy's own API.")
    portal_port: int = Field(8003, ge=1, le=65535, description="Loopback port of the portal service.")
    dashboards_port: int = Field(8004, ge=1, le=65535, description="Loopback port of the dashboards.")
    proxies_before: int | None = Field(
        None,
        ge=0,
        le=5,
        description="Reverse proxies of the site in front of ours, each adding to X-Forwarded-For; empty: one where `url` "
        "is https, else none. Whoever can reach ours past them could forge an address.",
    )

    @field_validator("url")
    @classmethod
    def _origin_only(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.path or parts.query:
            raise ValueError("write scheme, host and port only, such as https://hub.example.hk")
        return value

    @property
    def hops(self) -> int:
        """How many reverse proxies of the site stand in front of ours: one at least ends TLS where `url` is https."""
        if self.proxies_before is not None:
            return self.proxies_before
        return 1 if urlsplit(self.url).scheme == "https" else 0

    @property
    def port(self) -> int:
        """The port that the proxy listens on: of the address itself, unless another server ends TLS before it."""
        parts = urlsplit(self.url)
        return self.proxy_port if parts.scheme == "https" else parts.port or 80

    def service_host(self, service: str) -> str:
        """Host and port of a hub service under per-user domains, such as `portal--service.localhost:8000`."""
        return f"{service}--service.{urlsplit(self.url).netloc}"

    def service_origin(self, service: str) -> str:
        """Origin of a hub service, such as `http://portal--service.localhost:8000`."""
        return f"{urlsplit(self.url).scheme}://{self.service_host(service)}"


DATABASE_FORM = "postgresql+psycopg://user@host/database"
NOTICED = {
    "connect_timeout": "10",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",
}
"""What makes a client notice within a minute that the server's machine is gone; seconds, the last in ms."""
NOTICED_BY_SERVER = "-ctcp_keepalives_idle=30 -ctcp_keepalives_interval=10 -ctcp_keepalives_count=3"
"""The same the other way round, so that a writer's lock dies with the writer's machine."""


class Database(Section):
    url: str = Field(
        "",
        description=f"Database of portal and hub, such as {DATABASE_FORM}, without its password (that is the secret"
        " database.pgpass); empty: SQLite files in `home`.",
    )

    @field_validator("url")
    @classmethod
    def _postgresql_without_password(cls, value: str) -> str:
        """No message shows the value: it may hold a password."""
        if not value:
            return value
        parts = urlsplit(value)
        if parts.password is not None or {"password", "sslpassword"} & set(dict(parse_qsl(parts.query))):
            raise PydanticCustomError(
                HIDDEN, "no password here: keep it in the secret database.pgpass (docs/database.md)"
            )
        if parts.scheme not in ("postgresql", "postgresql+psycopg") or not parts.path.strip("/"):
            raise PydanticCustomError(
                HIDDEN, f"write {DATABASE_FORM}, or leave it empty for SQLite files in `home`"
            )
        return value

    def address(self, schema: str, passfile: Path) -> str:
        """The address for one of its users: with the schema that is the user's, and where libpq finds the password."""
        parts = urlsplit(self.url)
        given = dict(parse_qsl(parts.query))
        options = f"{given.pop('options', '')} -csearch_path={schema} {NOTICED_BY_SERVER}".strip()
        usual = {**NOTICED, "application_name": f"aisc-{schema}", "passfile": str(passfile)}
        query = urlencode({**usual, **given, "options": options}, quote_via=quote)
        return urlunsplit(("postgresql+psycopg", parts.netloc, parts.path, query, ""))


class Slurm(Section):
    cluster: str = Field("aisc", description="ClusterName in slurm.conf. Part of the key of every charge.")
    conf: Path = Field(Path("/etc/slurm/slurm.conf"), description="The slurm.conf that every command gets.")
    bin: Path = Field(Path("/usr/bin"), description="Folder of squeue, sbatch, scancel, sacct and sacctmgr.")
    look_seconds: float = Field(3.0, ge=1, le=60, description="Seconds between two looks at the queue.")
    accounts: Literal["own", "shared"] = Field(
        "own",
        description="own: each person has a Unix account. shared: one for all, no isolation (demo only).",
    )
    shared_user: str = Field(
        "", description="The one Unix account, where accounts = shared; naming one makes it so."
    )
    session_environment: Path = Field(
        Path("/opt/aisc/base"), description="Read-only Python environment that sessions run JupyterLab from."
    )
    people_dir: Path = Field(
        Path("/home/aisc-portal"), description="Folder of people's home folders, where accounts = shared."
    )

    @model_validator(mode="before")
    @classmethod
    def _one_account_is_shared(cls, data: Any) -> Any:
        shared = isinstance(data, dict) and data.get("shared_user") and "accounts" not in data
        return {**data, "accounts": "shared"} if shared else data


PATHS = {
    "plain": {
        "authorize": "/auth",
        "token": "/token",
        "userdata": "/me",
        "jwks": "/jwks",
        "logout": "/session/end",
    },
    "keycloak": {
        "authorize": "/protocol/openid-connect/auth",
        "token": "/protocol/openid-connect/token",
        "userdata": "/protocol/openid-connect/userinfo",
        "jwks": "/protocol/openid-connect/certs",
        "logout": "/protocol/openid-connect/logout",
    },
}
"""Endpoints of OpenID Connect below an issuer, as two kinds of provider have them."""


class Identity(Section):
    issuer: str = Field("https://login.example.hk", description="OpenID Connect issuer.")
    paths: Literal["", "plain", "keycloak"] = Field(
        "",
        description="Where the endpoints lie below the issuer: plain (/auth, /token, /me, /jwks, /session/end) or as"
        " keycloak has them; empty: keycloak where the issuer has /realms/ in it. Each of the five below wins.",
    )
    authorize_url: str = Field("", description="Authorization endpoint; empty: see `identity.paths`.")
    token_url: str = Field("", description="Token endpoint; empty: see `identity.paths`.")
    userdata_url: str = Field("", description="Userinfo endpoint; empty: see `identity.paths`.")
    jwks_url: str = Field("", description="Key set that signs ID tokens; empty: see `identity.paths`.")
    logout_url: str = Field("", description="End-session endpoint; empty: see `identity.paths`.")
    client_id: str = Field("aisc-portal", description="Our client id at the provider.")
    second_factor: tuple[str, ...] = Field(
        ("mfa", "otp", "hwk"), description="Values of amr, any of which proves a second factor."
    )
    officer_group: str = Field("aisc-officers", description="Provider group whose members are officers.")
    operator_group: str = Field("aisc-operators", description="Provider group whose members are operators.")
    instructor_group: str = Field("aisc-instructors", description="Provider group whose members may teach.")

    def endpoint(self, name: Literal["authorize", "token", "userdata", "jwks", "logout"]) -> str:
        """Address of an endpoint: as set, or the usual place below the issuer."""
        paths = self.paths or ("keycloak" if "/realms/" in self.issuer else "plain")
        return getattr(self, f"{name}_url") or self.issuer.rstrip("/") + PATHS[paths][name]


GPU_NODE = Partition(
    name="gpu",
    gpus=8,
    shards=32,
    cores=128,
    memory_mb=2_048_000,
    accelerator="h800",
    accelerator_label="H800",
)
CPU_NODE = Partition(
    name="cpu", gpus=0, shards=0, cores=64, memory_mb=256_000, core_rate=10, memory_gb_rate=2
)
SIZES = (
    Size(id="quarter", partition="gpu", shards=1, cores=4, memory_mb=60_000),
    Size(id="gpu1", partition="gpu", gpus=1, cores=16, memory_mb=240_000),
    Size(id="gpu2", partition="gpu", gpus=2, cores=32, memory_mb=480_000),
    Size(id="gpu4", partition="gpu", gpus=4, cores=64, memory_mb=960_000),
    Size(id="cpu", partition="cpu", cores=4, memory_mb=16_000),
)


class Offer(Section):
    partitions: tuple[Partition, ...] = Field(
        (GPU_NODE, CPU_NODE), description="Kinds of node and their rates."
    )
    sizes: tuple[Size, ...] = Field(SIZES, description="Sizes a session can have, in the order shown.")
    minutes: tuple[int, ...] = Field(
        (30, 60, 120, 240, 480, 720, 1440), description="Time limits offered, in minutes, in the order shown."
    )
    default_minutes: int = Field(120, description="Time limit chosen at first, in minutes.")

    @model_validator(mode="after")
    def _sizes_fit(self) -> Offer:
        known = {partition.name for partition in self.partitions}
        for size in self.sizes:
            if size.partition not in known:
                raise ValueError(
                    f"size {size.id} names partition {size.partition!r}; allowed: {sorted(known)}"
                )
            if billing(size, self.partition(size.partition)) < 1:
                raise ValueError(f"size {size.id} would be free of charge")
        if self.default_minutes not in self.minutes:
            raise ValueError(
                f"default_minutes {self.default_minutes} is not among minutes {list(self.minutes)}"
            )
        return self

    def partition(self, name: str) -> Partition:
        """The partition of that name; KeyError if there is none."""
        return {partition.name: partition for partition in self.partitions}[name]

    def size(self, id: str) -> Size | None:
        """The size of that id, or None if it is not offered."""
        return next((size for size in self.sizes if size.id == id), None)


class Dashboards(Section):
    pages: int = Field(
        100, ge=1, description="Dashboards open at once, all people together; each takes memory."
    )
    pages_per_person: int = Field(6, ge=1, description="Dashboards one person may have open at once.")
    idle_seconds: float = Field(
        90, ge=2, le=600, description="Seconds without a connection after which an open dashboard is ended."
    )


class Mail(Section):
    host: str = Field("", description="SMTP server; empty: no mail is sent, notices show in the portal only.")
    port: int = Field(587, ge=1, le=65535, description="Port of the SMTP server.")
    security: Literal["starttls", "tls", "none"] = Field(
        "starttls", description="How the connection is encrypted; none: for a relay on this machine only."
    )
    ca: Path | None = Field(
        None, description="File of the certificates that the SMTP server is trusted by; none: the system's."
    )
    user: str = Field("", description="Name at the SMTP server; its password is the secret smtp.password.")
    sender: str = Field("no-reply@aisc.example", description="Address that letters come from.")
    quiet_from: int = Field(
        22,
        ge=0,
        le=23,
        description="Hour from which letters that can wait do wait, unless a person says else.",
    )
    quiet_until: int = Field(
        8, ge=0, le=23, description="Hour until which they wait; the same hour: letters never wait."
    )

    @field_validator("sender")
    @classmethod
    def _is_address(cls, value: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+@[A-Za-z0-9.-]+", value):
            raise ValueError("write one address, such as no-reply@example.hk")
        return value

    @model_validator(mode="after")
    def _encrypted(self) -> Mail:
        if self.host and self.security == "none" and self.host not in ("localhost", "127.0.0.1", "::1"):
            raise ValueError("security = none is for a relay on this machine; use starttls or tls")
        return self


class Audit(Section):
    ship: str = Field(
        "",
        description="Where each line of the audit also goes: syslog://host:port (TCP), syslog+tls://host:port, "
        "file:/path (an absolute path, best on another machine's disk), or empty.",
    )
    ship_ca: str = Field(
        "", description="Certificates that syslog+tls is checked with, a file; empty: the system's."
    )
    alarm_to: str = Field("", description="Address that alarms of security go to; empty: to `site.contact`.")
    refused_sign_ins: int = Field(
        8, ge=2, description="Refused sign-ins of one person or from one address that raise an alarm."
    )
    refused_minutes: int = Field(
        15, ge=1, le=1440, description="Minutes within which refused sign-ins are counted."
    )
    bad_tokens: int = Field(
        30, ge=2, description="Bad tokens from one address in 5 minutes after which they are answered 429."
    )

    @field_validator("ship")
    @classmethod
    def _known_destination(cls, value: str) -> str:
        parts = urlsplit(value)
        syslog = parts.scheme in ("syslog", "syslog+tls") and parts.hostname and parts.port
        if value and not syslog and not (parts.scheme == "file" and value.startswith("file:/")):
            raise ValueError("write syslog://host:port, syslog+tls://host:port or file:/path")
        return value


class Settings(Section):
    home: Path = Field(
        Path("/var/lib/aisc-portal"), description="Folder of all state, logs, sockets and secrets."
    )
    site: Site = Site()
    web: Web = Web()
    database: Database = Database()
    slurm: Slurm = Slurm()
    identity: Identity = Identity()
    offer: Offer = Offer()
    dashboards: Dashboards = Dashboards()
    mail: Mail = Mail()
    audit: Audit = Audit()

    @property
    def secrets(self) -> Path:
        """Folder of the 0600 files that hold keys and tokens, one each."""
        return self.home / "secrets"

    def secret(self, name: str) -> str:
        """Read one secret, such as `agent.token`.

        Raises:
            SettingsError: the file is missing or empty.
        """
        path = self.secrets / name
        try:
            value = path.read_text().strip()
        except OSError as error:
            raise SettingsError(f"secret {name}: cannot read {path}: {error.strerror}") from None
        if not value:
            raise SettingsError(f"secret {name}: {path} is empty")
        return value

    @property
    def database_url(self) -> str:
        """SQLAlchemy address of the portal's tables; no secret is in it.

        Raises:
            SettingsError: others can read the password of the database.
        """
        return self._database("portal")

    @property
    def hub_database_url(self) -> str:
        """The same for the tables of JupyterHub: another file, or another schema of the same database."""
        return self._database("hub")

    def _database(self, user: Literal["portal", "hub"]) -> str:
        if not self.database.url:
            return f"sqlite:///{self.home.absolute() / f'{user}.db'}"
        passfile = self.secrets.absolute() / "database.pgpass"
        if passfile.exists() and passfile.stat().st_mode & 0o077:
            raise SettingsError(f"secret database.pgpass: readable by others: chmod 600 {passfile}")
        return self.database.address(user, passfile)

    @property
    def portal_url(self) -> str:
        """Where processes of ours reach the portal: loopback, never the public address."""
        return f"http://127.0.0.1:{self.web.portal_port}"

    @property
    def hub_api_url(self) -> str:
        return f"http://{self.web.hub_address}:{self.web.hub_port}/hub/api"


def load(path: Path | None = None, environ: dict[str, str] | None = None) -> Settings:
    """Read the settings file and the environment.

    path: the file; None: `PORTAL_SETTINGS`, else no file, just defaults and environment.

    Raises:
        SettingsError: file missing or not TOML, key unknown, value of the wrong type or out of range.
    """
    environ = dict(os.environ) if environ is None else environ
    named = path or (Path(environ["PORTAL_SETTINGS"]) if environ.get("PORTAL_SETTINGS") else None)
    data = _file(named) if named else {}
    for name, value in environ.items():
        if name.startswith(ENV_PREFIX) and "__" in name:
            section, key = name.removeprefix(ENV_PREFIX).lower().split("__", 1)
            table = data.setdefault(section, {})
            if not isinstance(table, dict):
                raise SettingsError(f"{name}: {section} is not a section")
            table[key] = value
    try:
        return Settings.model_validate(data)
    except ValidationError as error:
        raise SettingsError(_plain(error, named)) from None


def file() -> Path | None:
    """The settings file that the environment names."""
    named = os.environ.get("PORTAL_SETTINGS")
    return Path(named) if named else None


def _file(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except OSError as error:
        raise SettingsError(
            f"settings file {path}: {error.strerror}; name another one in PORTAL_SETTINGS"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"settings file {path} is not TOML: {error}") from None


def _plain(error: ValidationError, path: Path | None) -> str:
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"]) or "settings"
    where = f" in {path}" if path else ""
    if first["type"] == "extra_forbidden":
        return f"{key}{where}: unknown setting; allowed here: {', '.join(_siblings(first['loc']))}"
    if first["type"] == HIDDEN:
        return f"{key}{where}: {first['msg']}"
    return f"{key} = {first['input']!r}{where}: {first['msg'].removeprefix('Value error, ')}"


def _siblings(loc: tuple[int | str, ...]) -> list[str]:
    model: Any = Settings
    for part in loc[:-1]:
        field = getattr(model, "model_fields", {}).get(part)
        if field is None:
            return ["nothing"]
        model = field.annotation
    return sorted(getattr(model, "model_fields", {"nothing": None}))
