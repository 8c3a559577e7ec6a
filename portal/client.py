"""The typed way into the portal's API, for hub, agent, dashboards, command line and extensions.

The records on the wire are defined here once, and the service uses the same ones. Times are whole seconds since 1970
in UTC. Compute is in milli-GPU-seconds, money in cents. Unknown fields are refused on both sides.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self, TypeVar

import httpx
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from portal.forecast import Forecast, Outlook

SESSION_NAME = "aisc-"
"""A job of ours is named `aisc-<session id>`."""


class Wire(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


# Who may start what, and at what price: hub > portal.


class Quote(Wire):
    """The price of a session at its longest: `amount` milli-GPU-seconds; list = subsidy + own; what it leaves."""

    amount: int
    list_cents: int
    subsidy_cents: int
    own_cents: int
    leaves: int


class OfferedSize(Wire):
    id: str
    label: str
    detail: str
    gpus: str = Field(description="How many GPUs, for people: 1/4, 1, 2, 0.")


class OfferedGrant(Wire):
    code: str
    title: str
    available: int
    ends: int | None
    share: int = Field(0, description="Part of the list price that is paid for, in basis points.")
    refusal: str = Field(
        "", description="Why nothing can be started on it now, in the person's language; else empty."
    )


class Offering(Wire):
    """Everything the start form shows to one person.

    quotes: grant code > size id > minutes > price. refusals: the same keys, where that choice would be refused.
    hourly: grant code > size id > own share of one hour, in cents.
    """

    grants: list[OfferedGrant]
    sizes: list[OfferedSize]
    minutes: list[int]
    default_grant: str = ""
    default_size: str = ""
    default_minutes: int = 0
    quotes: dict[str, dict[str, dict[int, Quote]]]
    refusals: dict[str, dict[str, dict[int, str]]]
    hourly: dict[str, dict[str, int]] = {}
    refusal: str = Field("", description="Why this person can start nothing at all, such as having no grant.")


class SessionRequest(Wire):
    """What a person asks for. The hub's user name is the person's opaque id.

    most: the highest own share, in cents, that the person was shown; None where nobody was shown a price.
    """

    person: str
    server: str = Field("", max_length=30)
    grant: str = Field(max_length=64)
    size: str = Field(max_length=64)
    minutes: int = Field(strict=True)
    most: int | None = Field(None, ge=0)
    language: str = "en"
    where: str = Field("", max_length=64, description="Network address that the request came from.")


class Admitted(Wire):
    """A registered session, and exactly what to submit for it."""

    id: str
    cluster: str
    job_name: str
    account: str
    qos: str
    unix_user: str
    partition: str
    gres: str
    cores: int
    memory_mb: int
    minutes: int


class JobReport(Wire):
    """Which job a session became; the hub says it right after sbatch. token_hash: SHA-256 of the server's token, hex."""

    job: int
    token_hash: str = ""


class SignIn(Wire):
    """A person, as the identity provider named them at sign-in."""

    person: str
    issuer: str
    subject: str
    name: str = ""
    email: str = ""
    roles: list[str] = []


class HubEvent(Wire):
    """Something for the audit that only the hub sees (`portal.audit.kinds`).

    number: place in the hub's stream, from 1 on; one told twice is written once. where: network address. reason, by,
    browser: words of closed sets. count: for how many equal events it stands. person: who signed in, or was refreshed.
    """

    number: int = Field(ge=1)
    at: int
    what: str = Field(pattern=r"^[a-z][a-z.-]{0,63}$")
    who: str = Field("", max_length=64)
    subject: str = Field("", max_length=200)
    where: str = Field("", max_length=64)
    reason: str = Field("", max_length=40)
    by: str = Field("", max_length=40)
    browser: str = Field("", max_length=40)
    count: int = Field(1, ge=1)
    person: SignIn | None = None


class Told(Wire):
    """Events in the order of their numbers. stream: which numbering, 32 hex digits, new when the hub lost its own."""

    stream: str = Field(pattern=r"^[0-9a-f]{32}$")
    events: list[HubEvent] = Field(max_length=500)


# What Slurm says: agent > portal.


class LiveJob(Wire):
    """A job as one look at the queue shows it.

    id: JobIDRaw. state: Slurm's word, such as PENDING. reason: Slurm's, while pending. limit_seconds: None if unlimited.
    start: None while pending. expected: when Slurm thinks that it starts, while pending. billing: milli-GPUs; 0 while
    pending on versions that do not say. array: `7_3` for a task, `7_[4-9%2]` for those that wait; else empty.
    """

    id: int
    submit: int
    name: str
    user: str
    account: str
    qos: str
    partition: str
    state: str
    reason: str = ""
    nodes: str = ""
    tres: str = ""
    billing: int = 0
    limit_seconds: int | None = None
    start: int | None = None
    expected: int | None = None
    array: str = ""


class LiveNode(Wire):
    """A node as one look shows it. state: Slurm's base word with flags, such as MIXED or IDLE+DRAIN."""

    name: str
    state: str
    partition: str
    gpus: int = 0
    gpus_used: float = 0
    cores: int = 0
    cores_used: int = 0


class View(Wire):
    """One look at the whole cluster: what everybody is shown until the next. jobs: the highest priority first."""

    cluster: str
    at: float
    jobs: list[LiveJob]
    nodes: list[LiveNode]


class FinishedJob(Wire):
    """A job's end as slurmdbd records it (`sacct -D`, one record per submission). billing: from AllocTRES."""

    cluster: str
    id: int
    submit: int
    start: int
    end: int
    elapsed: int
    state: str
    user: str
    account: str
    qos: str
    partition: str = ""
    name: str = ""
    billing: int = 0
    tres: str = ""
    nodes: str = ""


class Booked(Wire):
    """What became of one finished job: booked, already, or aside with a reason."""

    id: int
    submit: int
    outcome: str
    why: str = ""


class Unbooked(Wire):
    """A job seen alive that is gone and has no charge yet: the agent asks sacct for it by id."""

    id: int
    submit: int
    gone: int


# What Slurm should say: portal > agent.


class WishedGrant(Wire):
    """Limits of one grant: its account, its one QOS, and who may use them.

    minutes: GrpTRESMins=billing, in billing-minutes. submit: False puts GrpSubmitJobs=0; run: False puts GrpJobs=0.
    users: Unix users with an association. max_wall: longest job in minutes, None for no limit.
    """

    account: str
    qos: str
    minutes: int = Field(ge=0)
    submit: bool = True
    run: bool = True
    users: list[str] = []
    max_wall: int | None = None


class Unwanted(Wire):
    """A job that its owner cancels. It is cancelled only where id, submit time and account are all as seen."""

    id: int
    submit: int
    account: str


class Wish(Wire):
    """What Slurm should enforce now. counters: QOS ids that the booked charges were counted under, per QOS."""

    cluster: str
    grants: list[WishedGrant]
    cancel: list[int] = Field([], description="Jobs of ours to cancel: their registration has lapsed.")
    unwanted: list[Unwanted] = Field([], description="Jobs of our grants whose owners cancelled them here.")


class Counters(Wire):
    """The id in slurmdbd of each QOS of ours: a new id starts a new counter of use."""

    cluster: str
    ids: dict[str, int]


# What a person is shown: portal > dashboards.


class RunOut(Wire):
    """When a grant runs out, as `portal.forecast.Forecast` has it; paces in milli-GPU-seconds a day."""

    outlook: Outlook
    recent: int = 0
    longer: int = 0
    day: int | None = None
    earliest: int | None = None
    latest: int | None = None

    @property
    def forecast(self) -> Forecast:
        return Forecast(self.outlook, self.recent, self.longer, self.day, self.earliest, self.latest)


class GrantView(Wire):
    """A grant in figures. amounts in milli-GPU-seconds; state: active, exhausted, not-started, expired, suspended, ...

    remedy: why nothing can be started on it, with the next step; empty while it can be used.
    """

    code: str
    title: str
    organisation: str
    state: str
    role: str
    starts: int
    ends: int
    awarded: int
    balance: int
    committed: int
    available: int
    spent: int
    list_cents: int = Field(description="What was spent, at list price.")
    subsidy_cents: int
    own_cents: int
    history: list[tuple[int, int]] = Field(
        [], description="Day (its first second), spent that day; oldest first, the last one is today."
    )
    remedy: str = ""
    run_out: RunOut | None = None


class Allocation(Wire):
    at: int
    as_at: int | None = Field(
        description="Time of the look at Slurm that the figures rest on; None: none yet."
    )
    grants: list[GrantView]


class QueueJob(Wire):
    """A job as every viewer of the queue may see it. label: the name only if it is the viewer's own, else empty."""

    id: int
    mine: bool
    label: str
    state: str
    reason: str
    partition: str
    gpus: float
    nodes: str
    submit: int
    start: int | None
    limit_seconds: int | None


class Queue(Wire):
    at: int
    as_at: int | None
    nodes: list[LiveNode]
    jobs: list[QueueJob]


class Refused(Exception):
    """The portal says no. The message is fit to show to the person who asked."""

    def __init__(self, message: str, code: str = "", field: str = "", status: int = 400) -> None:
        super().__init__(message)
        self.message, self.code, self.field, self.status = message, code, field, status


class Unreachable(Exception):
    """The portal does not answer, or answers nonsense. Starts fail closed; everything else goes on without it."""


W = TypeVar("W")


class Client:
    """One connection to the portal, as the holder of one token.

    timeout: seconds for a whole call; a start must be answered within 2 (design.md, decision 3).

    Every call raises `Refused` for an answer of 4xx, and `Unreachable` for none or for 5xx.
    """

    def __init__(self, url: str, token: str, timeout: float = 2.0) -> None:
        self._http = httpx.AsyncClient(
            base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=timeout, trust_env=False
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await self._http.aclose()

    # for the hub

    async def tell(self, told: Told) -> None:
        """Tell what happened at the hub, such as who signed in; safe to repeat."""
        await self._call("POST", "/internal/events", told)

    async def offering(self, person: str, language: str) -> Offering:
        return await self._get(f"/internal/people/{person}/offering", Offering, language=language)

    async def request_session(self, asked: SessionRequest) -> Admitted:
        """Authorise, price and register in one step. Refused: with `field` where one value of the form is at fault."""
        return await self._post("/internal/sessions", asked, Admitted)

    async def report_job(self, session: str, report: JobReport) -> None:
        await self._call("POST", f"/internal/sessions/{session}/job", report)

    async def report_ready(self, session: str) -> None:
        await self._call("POST", f"/internal/sessions/{session}/ready")

    async def report_failed(self, session: str) -> None:
        """The session never got a job: its registration ends at once and commits nothing more."""
        await self._call("POST", f"/internal/sessions/{session}/failed")

    # for the agent

    async def push_view(self, view: View) -> list[Unbooked]:
        """Hand over one look; the answer lists the jobs that are gone and not booked."""
        return await self._post("/internal/view", view, list[Unbooked])

    async def push_finished(self, jobs: list[FinishedJob]) -> list[Booked]:
        return await self._post("/internal/finished", jobs, list[Booked])

    async def push_counters(self, counters: Counters) -> None:
        await self._call("POST", "/internal/counters", counters)

    async def wish(self) -> Wish:
        return await self._get("/internal/wish", Wish)

    # for the dashboards

    async def open_capability(self, person: str) -> str:
        """Return a new token that reads what this person may read, and nothing else, until it is closed."""
        return (await self._post("/internal/capabilities", {"person": person}, dict[str, str]))["token"]

    async def close_capability(self, token: str) -> None:
        await self._call("POST", "/internal/capabilities/close", {"token": token})

    async def allocation(self, language: str = "en") -> Allocation:
        return await self._get("/internal/my/allocation", Allocation, language=language)

    async def queue(self, language: str = "en") -> Queue:
        return await self._get("/internal/my/queue", Queue, language=language)

    async def health(self) -> dict[str, Any]:
        return await self._get("/internal/health", dict[str, Any])

    async def _get(self, path: str, kind: type[W], **query: str) -> W:
        return _read(await self._call("GET", path, query=query), kind)

    async def _post(self, path: str, body: object, kind: type[W]) -> W:
        return _read(await self._call("POST", path, body), kind)

    async def _call(
        self, method: str, path: str, body: object = None, query: dict[str, str] | None = None
    ) -> httpx.Response:
        content = TypeAdapter(Any).dump_json(body) if body is not None else None
        try:
            response = await self._http.request(
                method, path, params=query, content=content, headers={"Content-Type": "application/json"}
            )
        except httpx.HTTPError as error:
            raise Unreachable(f"the portal does not answer: {type(error).__name__}") from error
        if response.is_success:
            return response
        if 400 <= response.status_code < 500:
            raise _refusal(response)
        raise Unreachable(f"the portal answers {response.status_code}")


def _read(response: httpx.Response, kind: type[W]) -> W:
    try:
        return TypeAdapter(kind).validate_json(response.content)
    except ValidationError as error:
        raise Unreachable(f"the portal answers nonsense: {error.error_count()} faults") from None


def _refusal(response: httpx.Response) -> Refused:
    try:
        body = response.json()
        return Refused(
            str(body["message"]), str(body.get("code", "")), str(body.get("field", "")), response.status_code
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return Refused(f"the portal answers {response.status_code}", status=response.status_code)
