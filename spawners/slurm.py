"""A session as a Slurm job: asked of the portal, submitted, waited for, watched, stopped.

A subclass of batchspawner's, whose known faults are closed here (facts-stack R1 to R13): no command goes through a
shell, nothing a person sends reaches a command, the state is kept before anything can be lost, and a session is over
only when Slurm says so.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import os
import pwd
import re
import stat
import time
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

from batchspawner import SlurmSpawner
from batchspawner.api import BatchSpawnerAPIHandler
from jupyterhub import orm
from jupyterhub.apihandlers import default_handlers
from jupyterhub.spawner import SpawnException
from pydantic import ValidationError
from sqlalchemy import inspect
from traitlets import Any as AnyTrait
from traitlets import Bool, Float, Instance, Integer, Unicode, default

from portal.client import Admitted, Client, JobReport, Refused, SessionRequest, Unreachable
from portal.locale import ENGLISH, translator
from portal.settings import Settings
from portal.slurm import reasons
from portal.slurm.commands import Slurm, SlurmError
from spawners import form, options, submission
from spawners.queue import Phase, Queue, Row, Watch
from spawners.reports import Background, cancel
from spawners.resume import resume

# Importing batchspawner installs a handler by which any notebook runs commands on the hub (R1).
# `portal.hub.port_callback` has ours.
default_handlers[:] = [entry for entry in default_handlers if entry[1] is not BatchSpawnerAPIHandler]

ANSWER_SECONDS = 2.0
"""How long a start waits for the portal (design.md, decision 3)."""
POLL_SECONDS = 2.0
"""How long a poll waits for Slurm before it says that nothing is known."""
STOP_SECONDS = 15.0
SUBMISSIONS = 8
"""How many sbatch run at once; a class that presses Start together must not bury Slurm or the hub."""
PERSON = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
REASON = re.compile(r"[a-z][a-z_-]{0,30}")
LOG_TAIL = 1500


class PortalSlurmSpawner(SlurmSpawner):  # type: ignore[misc]
    """Starts a session as the portal admits it."""

    portal_settings = Instance(Settings, help="The settings of the portal.").tag(config=True)
    start_timeout = Integer(
        7 * 24 * 3600, help="Seconds a session may wait in the queue and start; it is cancelled then."
    ).tag(config=True)
    http_timeout = Integer(120, help="Seconds from the first connection to the first answer.").tag(
        config=True
    )
    poll_interval = Integer(10, help="Seconds between two looks at a running session.").tag(config=True)
    call_back_seconds = Float(
        90, help="Seconds a running job may take until it has called back with its port."
    ).tag(config=True)
    connect_seconds = Float(
        180, help="Seconds a session may take from its call back until it accepts connections."
    ).tag(config=True)
    exec_prefix = Unicode("")
    disable_user_config = Bool(True).tag(config=True)
    default_url = Unicode("/lab").tag(config=True)
    hub_spawner = AnyTrait(help="The spawner that the hub knows: this one, or the one that wraps it.")

    _queues: ClassVar[dict[Path, Queue]] = {}
    _clients: ClassVar[dict[str, Client]] = {}
    _background: ClassVar[Background] = Background(logging.getLogger("spawners"))
    _gate: ClassVar[asyncio.Semaphore] = asyncio.Semaphore(SUBMISSIONS)
    _portal_away_since: ClassVar[float | None] = None

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._forget()

    @default("hub_spawner")
    def _itself(self) -> PortalSlurmSpawner:
        return self

    @default("options_form")
    def _form(self) -> Any:
        return form.render

    @default("options_from_form")
    def _from_form(self) -> Any:
        return self.chosen

    @default("apply_user_options")
    def _check_options(self) -> Any:
        return lambda spawner, chosen: spawner.chosen(chosen)

    # what the class shares: one queue, one client, one list of what is still to be done

    @property
    def slurm(self) -> Slurm:
        return Slurm.of(self.portal_settings.slurm)

    @property
    def queue(self) -> Queue:
        slurm = self.slurm
        return self._queues.setdefault(slurm.conf, Queue(slurm))

    @property
    def portal(self) -> Client:
        url = self.portal_settings.portal_url
        if url not in self._clients:
            self._clients[url] = Client(url, self.portal_settings.secret("hub.token"))
        return self._clients[url]

    # state: what must survive the hub

    def _forget(self) -> None:
        self.session = ""
        self.job: int | None = None
        self.token_hash = ""
        self.token_id: int | None = None
        self.told_port: int | None = None
        self.address: tuple[str, int] | None = None
        self.node = ""
        self.job_start = ""
        self.language = ENGLISH
        self.told: set[str] = set()
        self._watch: Watch | None = None
        self._row: Row | None = None
        self._submission: asyncio.Task[None] | None = None
        self._resuming: asyncio.Task[None] | None = None
        self._port: asyncio.Future[int] | None = None

    def get_state(self) -> dict[str, Any]:
        state: dict[str, Any] = {}
        if self.session:
            state = {
                "session": self.session,
                "job_id": self.job_id,
                "token_hash": self.token_hash,
                "token_id": self.token_id,
                "port": self.told_port,
                "address": list(self.address) if self.address else None,
                "node": self.node,
                "job_start": self.job_start,
                "language": self.language,
                "told": sorted(self.told),
            }
        return state

    def load_state(self, state: dict[str, Any]) -> None:
        """Take up a session where an earlier hub left it: watch it, tell what was not told, finish its start."""
        state = state.get("child_state") or state  # as wrapped (R17)
        self._forget()
        self.job_id = ""
        self.session = str(state.get("session") or "")
        if not self.session:
            return
        self.token_hash = str(state.get("token_hash") or "")
        self.token_id = state.get("token_id")
        self.told_port = state.get("port")
        if state.get("address"):
            self.address = (str(state["address"][0]), int(state["address"][1]))
        self.node, self.job_start = str(state.get("node") or ""), str(state.get("job_start") or "")
        self.language = str(state.get("language") or ENGLISH)
        self.told = set(state.get("told") or ())
        if state.get("job_id"):
            self._follow(int(state["job_id"]))
        if self.address is None:
            self._resuming = asyncio.ensure_future(resume(self, self.hub_spawner))
        else:
            self._tell_portal()

    def clear_state(self) -> None:
        super().clear_state()
        if self.job is not None:
            self.queue.forget(self.job)
        self._forget()

    def save(self) -> None:
        """Keep the state in the hub's database now: whatever is lost next, this is not."""
        self.orm_spawner.state = self.hub_spawner.get_state()
        inspect(self.orm_spawner).session.commit()

    def _follow(self, job: int) -> None:
        self.job, self.job_id = job, str(job)
        self._watch = Watch(job, time.monotonic())
        self.queue.watch(job)

    # start

    def chosen(self, data: object) -> dict[str, object]:
        """What was asked for, checked: the one way in for the form, for links and for the REST API."""
        return self._options(data).as_dict()

    def _options(self, data: object) -> options.Options:
        try:
            return options.parse(data, form.language())
        except options.BadOption as error:
            raise SpawnException(error.message, reason=error.field) from None

    async def start(self) -> tuple[str, int]:
        """Ask, submit, wait until the session accepts connections; return where.

        Raises:
            SpawnException: refused, or ended before it was ready; the message is for the person.
        """
        self.language = form.language()
        admitted = await self._admit(self._options(dict(self.user_options)))
        try:
            await self._submit(admitted)
        except Exception:
            self._report_failed(admitted.id)
            self._forget()
            raise
        address = await self.arrive()
        self._tell_portal()
        return address

    async def _admit(self, asked: options.Options) -> Admitted:
        request = SessionRequest(
            person=self.user.name,
            server=self.name,
            grant=asked.grant,
            size=asked.size,
            minutes=asked.minutes,
            language=self.language,
        )
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                admitted = await self.portal.request_session(request)
        except Refused as no:
            if no.status in (401, 403) and not no.field:
                self.log.error("The portal refuses the hub itself: %s", no.message)
            raise _refusal(no) from None
        except (Unreachable, TimeoutError, ValidationError) as error:
            self.log.warning("No session can be started: %s", str(error) or "the portal is too slow")
            cls = PortalSlurmSpawner
            cls._portal_away_since = cls._portal_away_since or time.time()
            raise SpawnException(
                self._away(cls._portal_away_since), reason="portal", status_code=503
            ) from None
        PortalSlurmSpawner._portal_away_since = None
        return admitted

    def _away(self, since: float) -> str:
        zone = ZoneInfo(self.portal_settings.site.timezone)
        said = self._(
            "No session can be started now: the portal or Slurm has not answered since %s. Running sessions go on."
        )
        return said % datetime.fromtimestamp(since, zone).strftime("%H:%M")

    def _(self, message: str) -> str:
        return translator(self.language).gettext(message)

    async def _submit(self, admitted: Admitted) -> None:
        """Submit the job; whatever becomes of this call, the submission itself runs to its end."""
        home = self._home(admitted)
        variables = self._variables(admitted, home)
        try:
            arguments = submission.arguments(admitted, home, variables)
        except submission.Unsubmittable as error:
            self.log.error("Session %s cannot be submitted: %s", admitted.id, error)
            raise SpawnException(
                self._("The session could not be submitted. Nothing was charged. Please tell us."),
                reason="submission",
                status_code=500,
            ) from None
        self.session = admitted.id
        self.token_hash = hashlib.sha256(self.api_token.encode()).hexdigest()
        self.token_id = self._token_row()
        self._port = asyncio.get_running_loop().create_future()
        self.save()
        self._submission = asyncio.ensure_future(self._sbatch(arguments, variables))
        self._submission.add_done_callback(self._note_failure)
        await asyncio.shield(self._submission)

    async def _sbatch(self, arguments: list[str], variables: dict[str, str]) -> None:
        name = submission.job_name(self.session)
        try:
            async with self._gate:
                printed = await self.slurm.sbatch(arguments, submission.SCRIPT, variables)
        except SlurmError as error:
            self.log.error("Job %s was not submitted: %s", name, error)
            # Slurm may have taken the job in and only the answer was lost.
            self._background.cancel(self.slurm, name, None, lambda: None)
            raise SpawnException(
                self._("Slurm did not accept the session: %s") % _said(error),
                reason="sbatch",
                status_code=503,
            ) from None
        job = submission.job_id(printed)
        if job is None:
            self.log.error("sbatch printed no job id for %s", name)
            job = next(iter(await self.queue.find(name)), None)
        if job is None:
            raise SpawnException(
                self._("Slurm did not accept the session: %s") % "sbatch", reason="sbatch", status_code=503
            )
        self._follow(job)
        self.save()
        self.log.info("Session %s of %s is job %s", self.session, self.user.name, job)
        self._tell_portal()

    def _note_failure(self, submission: asyncio.Task[None]) -> None:
        """Tell the portal of a submission that failed after its start had been cancelled: nobody else is left to."""
        if not submission.cancelled() and submission.exception() and self.session:
            self._report_failed(self.session)

    def _home(self, admitted: Admitted) -> Path:
        """The person's folder on the nodes, made where everybody shares one Unix account."""
        slurm = self.portal_settings.slurm
        if admitted.unix_user != pwd.getpwuid(os.geteuid()).pw_name:
            self.log.error("This hub cannot submit as %s", admitted.unix_user)
            raise SpawnException(
                self._("The session could not be submitted. Nothing was charged. Please tell us."),
                reason="account",
                status_code=500,
            )
        if slurm.accounts == "own":
            return Path(pwd.getpwnam(admitted.unix_user).pw_dir)
        if not PERSON.fullmatch(self.user.name):
            raise SpawnException(self._("This name cannot have a folder."), reason="person")
        home: Path = slurm.people_dir.absolute() / self.user.name
        for folder in (home, home / submission.LOG_FOLDER):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return home

    def _variables(self, admitted: Admitted, home: Path) -> dict[str, str]:
        """What the job gets, by name: the hub's own variables for a server, and whose it is. No secret of the hub."""
        environment: dict[str, str] = self.get_env()
        return environment | {
            "HOME": str(home),
            "USER": admitted.unix_user,
            "LOGNAME": admitted.unix_user,
            "SHELL": "/bin/bash",
            "LANG": "C.UTF-8",
            "JUPYTERHUB_ROOT_DIR": str(home),
            "AISC_SESSION": admitted.id,
            "AISC_PYTHON": str(self.portal_settings.slurm.session_environment.absolute() / "bin" / "python"),
        }

    def user_env(self, env: dict[str, str]) -> dict[str, str]:
        """A person's name at the hub is no Unix account; `_variables` says whose home it is."""
        env.pop("JPY_API_TOKEN", None)
        env.pop("JUPYTERHUB_OAUTH_SCOPES", None)
        return env

    # the wait: in the queue, for the port, for the first connection

    async def arrive(self) -> tuple[str, int]:
        """Wait until the session accepts connections, however long it queues; return where and keep it."""
        node = await self._node_and_port()
        assert self.told_port is not None
        ip = await self._address(node)
        await self._connect(ip, self.told_port)
        self.node = node
        self.job_start = self._row.start if self._row else ""
        self.address = (ip, self.told_port)
        self.ip, self.port = self.address
        self.save()
        return self.address

    async def find_again(self) -> None:
        """Find the job of a session whose submission an earlier hub did not see to its end.

        Raises:
            SpawnException: there is none; the portal is told.
        """
        misses = 0
        while self.job is None:
            try:
                found = await self.queue.find(submission.job_name(self.session))
            except SlurmError as error:
                self.log.warning("Cannot look for session %s yet: %s", self.session, error)
            else:
                misses += 1
                if found:
                    self._follow(found[0])
                    self.save()
                elif misses >= 2:
                    self._report_failed(self.session)
                    raise SpawnException(
                        self._("The session was interrupted before it reached Slurm. Please start it again."),
                        reason="interrupted",
                    )
            if self.job is None:
                await asyncio.sleep(1)
        self._tell_portal()

    def expect_port(self) -> asyncio.Future[int]:
        """The port, once the job has called back; it may have, before the hub was restarted."""
        if self._port is None or self._port.cancelled():
            self._port = asyncio.get_running_loop().create_future()
        if self.told_port is not None and not self._port.done():
            self._port.set_result(self.told_port)
        return self._port

    async def _node_and_port(self) -> str:
        port, began, running_since = self.expect_port(), time.monotonic(), 0.0
        while True:
            called = port.done()
            if called and self._row and self._row.phase is Phase.RUNNING and self._row.node:
                return self._row.node
            phase = await self._phase(0.2 if called else _pace(time.monotonic() - began), patience=30)
            if phase is Phase.ENDED:
                raise self._ended()
            if phase is Phase.RUNNING and not called:
                running_since = running_since or time.monotonic()
                if time.monotonic() - running_since > self.call_back_seconds:
                    raise self._failure(self._("The session started on a node but did not call back."))
            await asyncio.wait({port}, timeout=0.2 if called else _pace(time.monotonic() - began))

    async def _address(self, node: str) -> str:
        while True:
            try:
                return await self.queue.address(node)
            except SlurmError as error:
                self.log.warning("The address of %s is not known yet: %s", node, error)
                if await self._phase(1.0) is Phase.ENDED:
                    raise self._ended() from None
                await asyncio.sleep(1)

    async def _connect(self, ip: str, port: int) -> None:
        """Wait for the first connection, so that the hub's own probe need not guess when to look."""
        deadline, look_at = time.monotonic() + self.connect_seconds, time.monotonic() + 1
        while True:
            try:
                _, writer = await asyncio.wait_for(asyncio.open_connection(ip, port), 2)
                writer.close()
                return
            except OSError:  # also TimeoutError
                await asyncio.sleep(0.05)
            if time.monotonic() > look_at:
                if await self._phase(1.0, patience=2) is Phase.ENDED:
                    raise self._ended()
                look_at = time.monotonic() + 1
            if time.monotonic() > deadline:
                raise self._failure(self._("The session started on a node but does not answer."))

    def _ended(self) -> SpawnException:
        state = self._row.state if self._row else ""
        if state == "CANCELLED":
            return self._failure(self._("The session was cancelled before it was ready."))
        return self._failure(self._("The session ended before it was ready."))

    def _failure(self, message: str) -> SpawnException:
        """With the last lines of the job's own log, which say why."""
        if tail := self._log_tail():
            message = f"{message}\n{tail}"
        return SpawnException(message, reason="ended", status_code=500)

    def _log_tail(self) -> str:
        if self.job is None or self.portal_settings.slurm.accounts != "shared":
            return ""
        path = submission.log_file(
            self.portal_settings.slurm.people_dir.absolute() / self.user.name, self.job
        )
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            return ""
        with os.fdopen(descriptor, "rb") as file:
            about = os.fstat(descriptor)
            if not stat.S_ISREG(about.st_mode):
                return ""
            file.seek(max(0, about.st_size - LOG_TAIL))
            text = file.read(LOG_TAIL).decode(errors="replace")
        lines = ["".join(char for char in line if char.isprintable()) for line in text.splitlines()]
        return "\n".join(lines[-8:])

    # the call back

    def owns(self, token: str) -> bool:
        """Whether this is the token of the session's own server, also after a restart of the hub."""
        told = hashlib.sha256(token.encode()).hexdigest()
        return bool(self.token_hash) and hmac.compare_digest(told, self.token_hash)

    def take_port(self, port: int) -> bool:
        """Take the port that the job says it listens on. False if none is expected any more."""
        if self._port is None or self._port.done() or self.told_port is not None or self.address:
            return False
        self.told_port = port
        self.save()
        self._port.set_result(port)
        return True

    # while it runs

    async def _phase(self, oldest: float, patience: float = POLL_SECONDS) -> Phase:
        if self._watch is None:
            return Phase.UNKNOWN
        phase = self._watch.judge(await self.queue.look(oldest, patience))
        self._row = self._watch.row
        return phase

    async def poll(self) -> int | None:
        """None while the session is alive, or while nothing is known. Clears nothing: `stop` needs the token (R6)."""
        if self._submission is not None and not self._submission.done():
            return None
        if not self.session:
            return 0
        if self.job is None:
            return None if self._resuming is not None and not self._resuming.done() else 1
        phase = await self._phase(oldest=self.poll_interval)
        if phase is Phase.ENDED:
            return 1
        if self._moved(phase):
            self.log.warning(
                "Job %s was started again elsewhere; its session is lost and it is cancelled", self.job
            )
            self._background.cancel(self.slurm, submission.job_name(self.session), self.job, lambda: None)
            return 1
        return None

    def _moved(self, phase: Phase) -> bool:
        """Whether a job that was ready was put back in the queue or started again: nobody can reach it (R13)."""
        if self.address is None or self._row is None or phase is Phase.UNKNOWN:
            return False
        if phase is Phase.WAITING:
            return True
        return bool(self.node and self._row.node and self.job_start) and (
            (self._row.node, self._row.start) != (self.node, self.job_start)
        )

    async def get_url(self) -> str:
        if self.address is None:
            return str(await super().get_url())
        ip, port = self.address
        return f"http://{ip}:{port}" + (self.server.base_url if self.server else "")

    async def stop(self, now: bool = False) -> None:
        """Cancel the job and see it go. If Slurm is away the order is kept and given as soon as it is back."""
        if self._submission is not None and not self._submission.done():
            await asyncio.wait({self._submission}, timeout=STOP_SECONDS)
        if not self.session:
            return
        name = submission.job_name(self.session)
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await cancel(self.slurm, name, self.job)
        except (SlurmError, TimeoutError) as error:
            self.log.warning("Job %s is not cancelled yet: %s", name, error)
            self._background.cancel(self.slurm, name, self.job, lambda: None)
            return
        if now or self.job is None:
            return
        deadline = time.monotonic() + STOP_SECONDS
        while await self._phase(oldest=0.1) is not Phase.ENDED:
            if time.monotonic() > deadline:
                self.log.warning("Job %s was cancelled and is not gone yet", name)
                return
            await asyncio.sleep(0.1)

    def run_post_stop_hook(self) -> Any:
        self.revoke_token()
        return super().run_post_stop_hook()

    def revoke_token(self) -> None:
        """Delete the server's token, also where the hub itself has forgotten it (R6)."""
        if self.token_id is None:
            return
        db = inspect(self.orm_spawner).session
        row = db.get(orm.APIToken, self.token_id)
        if row is not None and row.user_id == self.orm_spawner.user_id:
            db.delete(row)
            db.commit()
        self.token_id = None

    def _token_row(self) -> int | None:
        row = orm.APIToken.find(inspect(self.orm_spawner).session, self.api_token) if self.api_token else None
        return row.id if row is not None else None

    # what the person sees meanwhile

    async def progress(self) -> AsyncIterator[dict[str, Any]]:
        """What is going on, in plain words, once for each change."""
        said = ""
        while True:
            percent, message = self._situation()
            if message != said:
                said = message
                yield {"progress": percent, "message": message}
            await asyncio.sleep(0.3)

    def _situation(self) -> tuple[int, str]:
        if self.job is None:
            return 10, self._("Checking your grant and asking Slurm.")
        if self.told_port is not None:
            return 70, self._("JupyterLab is starting.")
        if self._row is None:
            return 20, self._("Your session is in the queue.")
        if self._row.phase is Phase.WAITING:
            return 30, reasons.explain(self._row.reason, self.language)
        return 50, self._("Node %s is starting your session.") % self._row.node

    # what the portal learns

    def _tell_portal(self) -> None:
        """Report the job, then that it is ready: each once, kept until it was heard."""
        session, portal = self.session, self.portal
        if self.job is not None and "job" not in self.told:
            report = JobReport(job=self.job, token_hash=self.token_hash)
            self._tell("job", lambda: portal.report_job(session, report))
        if self.address is not None and "ready" not in self.told:
            self._tell("ready", lambda: portal.report_ready(session))

    def _tell(self, step: str, call: Any) -> None:
        session = self.session

        def told() -> None:
            if self.session == session:
                self.told.add(step)
                self.save()

        self._background.tell(f"{step} of {session}", call, told)

    def _report_failed(self, session: str) -> None:
        portal = self.portal
        self._background.tell(f"end of {session}", lambda: portal.report_failed(session), lambda: None)

    # what batchspawner would do through a shell

    async def run_command(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError("Slurm's commands are run by portal.slurm, as argv")

    submit_batch_script = query_job_status = cancel_batch_job = run_command


def _pace(waited: float) -> float:
    """Seconds between two looks of a start: quick at first, then as slow as nobody minds."""
    return 0.4 if waited < 20 else 2.0 if waited < 300 else 5.0


def _refusal(no: Refused) -> SpawnException:
    reason = no.field or no.code
    message = no.message if not no.field or no.field in no.message else f"{no.field}: {no.message}"
    return SpawnException(message, reason=reason if REASON.fullmatch(reason) else "refused")


def _said(error: SlurmError) -> str:
    """What Slurm itself said last, without the name of the command."""
    lines = [line.strip() for line in error.stderr.splitlines() if line.strip()]
    last = re.sub(r"^\S*sbatch: (error: )?", "", lines[-1]) if lines else ""
    return "".join(char for char in last if char.isprintable())[:200]
