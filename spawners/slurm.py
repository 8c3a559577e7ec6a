"""A session as a Slurm job: asked of the portal, submitted, waited for, watched, stopped.

A subclass of batchspawner's, whose known faults are closed here (facts-stack R1 to R13): no command goes through a
shell, nothing a person sends reaches a command, the state is kept before anything can be lost, and a session is over
only when Slurm says so.

`start` tells the main path. Beside it: `options` and `form` what is asked for, `admission` the portal's answer, `home`
and `submission` what sbatch is given, `arrival` the wait, `queue` what Slurm says of the job, `session` what must survive
the hub, `hub_database` where that is kept, `resume` a start that a restart cut short, `reports` what the portal learns.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import Any, ClassVar

from batchspawner import SlurmSpawner
from batchspawner.api import BatchSpawnerAPIHandler
from jupyterhub.apihandlers import default_handlers
from jupyterhub.spawner import SpawnException
from markupsafe import Markup
from traitlets import Any as AnyTrait
from traitlets import Bool, Float, Instance, Integer, Unicode, default

from portal import reasons
from portal.client import Admitted, Client, SessionRequest
from portal.hub import events
from portal.hub.choice import Fault
from portal.locale import translator
from portal.settings import Settings
from portal.slurm.commands import Slurm, SlurmError
from portal.slurm.joblog import last_words
from spawners import form, home, hub_database, options, situation, submission
from spawners.admission import Admission, refused
from spawners.arrival import Arrival
from spawners.queue import Phase, Queue, Watch
from spawners.reports import Background, cancel
from spawners.resume import resume
from spawners.session import Session, digest
from spawners.situation import Situation

# Importing batchspawner installs a handler by which any notebook runs commands on the hub (R1).
# `portal.hub.port_callback` has ours.
default_handlers[:] = [entry for entry in default_handlers if entry[1] is not BatchSpawnerAPIHandler]

POLL_SECONDS = 2.0
"""How long a poll waits for Slurm before it says that nothing is known."""
STOP_SECONDS = 15.0
SUBMISSIONS = 8
"""How many sbatch run at once; a class that presses Start together must not bury Slurm or the hub."""


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
    _admissions: ClassVar[dict[str, Admission]] = {}
    _background: ClassVar[Background] = Background(logging.getLogger("spawners"))
    _gate: ClassVar[asyncio.Semaphore] = asyncio.Semaphore(SUBMISSIONS)

    session: Session
    _watch: Watch | None
    _submission: asyncio.Task[None] | None
    _resuming: asyncio.Task[None] | None
    _port: asyncio.Future[int] | None

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._forget()

    @default("hub_spawner")
    def _itself(self) -> PortalSlurmSpawner:
        return self

    @default("options_form")
    def _form(self) -> Any:
        def render(spawner: PortalSlurmSpawner) -> Awaitable[Markup]:
            return form.render(
                spawner.portal_settings, spawner.portal, spawner.user.name, spawner.log, Fault.current()
            )

        return render

    @default("options_from_form")
    def _from_form(self) -> Any:
        return self.chosen

    @default("apply_user_options")
    def _check_options(self) -> Any:
        return lambda spawner, chosen: spawner.chosen(chosen)

    # what all spawners of this process share

    @property
    def slurm(self) -> Slurm:
        return Slurm.of(self.portal_settings.slurm)

    @property
    def queue(self) -> Queue:
        slurm = self.slurm
        return self._queues.setdefault(slurm.conf, Queue(slurm))

    @property
    def admission(self) -> Admission:
        settings = self.portal_settings
        url = settings.portal_url
        if url not in self._admissions:
            client = Client(url, settings.secret("hub.token"))
            self._admissions[url] = Admission(client, settings.site.timezone, self.log)
        return self._admissions[url]

    @property
    def portal(self) -> Client:
        return self.admission.client

    # start

    def chosen(self, data: object) -> dict[str, object]:
        """What was asked for, checked: the one way in for the form, for links and for the REST API."""
        return self._options(data).as_dict()

    def _options(self, data: object) -> options.Options:
        try:
            return options.parse(data, form.language())
        except options.BadOption as error:
            raise refused(error.message, error.field) from None

    async def start(self) -> tuple[str, int]:
        """Ask, submit, wait until the session accepts connections; return where.

        Raises:
            SpawnException: refused, or ended before it was ready; the message is for the person.
        """
        self.session = Session(language=form.language())
        asked = self._options(dict(self.user_options))
        admitted = await self.admission.ask(self._request(asked))
        try:
            await self._submit(admitted)
        except Exception:
            self.report_failed(admitted.id)
            self._forget()
            raise
        address = await self.arrive()
        self.report()
        return address

    def _request(self, asked: options.Options) -> SessionRequest:
        return SessionRequest(
            person=self.user.name,
            server=self.name,
            grant=asked.grant,
            size=asked.size,
            minutes=asked.minutes,
            most=asked.most,
            language=self.session.language,
            where=events.where(),
        )

    async def _submit(self, admitted: Admitted) -> None:
        """Submit the job; whatever becomes of this call, the submission itself runs to its end."""
        arguments, variables = self._job(admitted)
        session = self.session
        session.id, session.token_hash = admitted.id, digest(self.api_token)
        session.token_id = hub_database.token_row(self.hub_spawner, self.api_token)
        self._expect_port()
        self.save()
        self._submission = asyncio.ensure_future(self._sbatch(session, arguments, variables))
        self._submission.add_done_callback(lambda done: self._note_failure(done, admitted.id))
        await asyncio.shield(self._submission)

    def _job(self, admitted: Admitted) -> tuple[list[str], dict[str, str]]:
        """What sbatch is given: its arguments, and the variables of the job."""
        slurm = self.portal_settings.slurm
        python = slurm.session_environment.absolute() / "bin" / "python"
        try:
            folder = home.prepare(slurm, self.user.name, admitted.unix_user)
            variables = self.get_env() | submission.variables(admitted, folder, python)
            return submission.arguments(admitted, folder, variables), variables
        except submission.Unsubmittable as error:
            self.log.error("Session %s cannot be submitted: %s", admitted.id, error)
            raise SpawnException(
                reasons.say("submission", self.session.language),
                reason="submission",
                status_code=500,
            ) from None

    async def _sbatch(self, session: Session, arguments: list[str], variables: dict[str, str]) -> None:
        try:
            async with self._gate:
                printed = await self.slurm.sbatch(arguments, submission.SCRIPT, variables)
            job = submission.job_id(printed) or await self._named(session.job_name)
        except SlurmError as error:
            self.log.error("Job %s was not submitted: %s", session.job_name, error)
            # Slurm may have taken the job in and only the answer was lost.
            self._background.cancel(self.slurm, session.job_name)
            raise SpawnException(
                reasons.say("sbatch", self.session.language, said=submission.complaint(error.stderr)),
                reason="sbatch",
                status_code=503,
            ) from None
        if self.session is not session:  # stopped meanwhile
            self._background.cancel(self.slurm, session.job_name, job)
            return
        self.adopt(job)
        self.log.info("Session %s of %s is job %s", session.id, self.user.name, job)
        self.report()

    async def _named(self, name: str) -> int:
        """The job of that name, where sbatch said yes and no id.

        Raises:
            SlurmError: there is none, or Slurm does not answer.
        """
        self.log.error("sbatch printed no job id for %s", name)
        for job in await self.queue.find(name):
            return job
        raise SlurmError("sbatch", 0, "sbatch")

    def _note_failure(self, submitted: asyncio.Task[None], session: str) -> None:
        """Tell the portal of a submission that failed after its start had been cancelled: nobody else is left to."""
        if not submitted.cancelled() and submitted.exception():
            self.report_failed(session)

    def user_env(self, env: dict[str, str]) -> dict[str, str]:
        """A person's name at the hub is no Unix account; `submission.variables` says whose home it is."""
        env.pop("JPY_API_TOKEN", None)
        env.pop("JUPYTERHUB_OAUTH_SCOPES", None)
        return env

    async def arrive(self) -> tuple[str, int]:
        """Wait until the session accepts connections, however long it queues; return where and keep it.

        Raises:
            SpawnException: it ended before; the message is for the person.
        """
        session, watch, port = self.session, self._watch, self._port
        if watch is None or port is None:
            raise SpawnException(reasons.say("cancelled", session.language), reason="ended")
        place = await Arrival(
            queue=self.queue,
            watch=watch,
            port=port,
            call_back_seconds=self.call_back_seconds,
            connect_seconds=self.connect_seconds,
            language=session.language,
            last_words=lambda: last_words(self.portal_settings.slurm, self.user.name, watch.job),
            log=self.log,
        ).wait()
        session.address = (place.ip, place.port)
        session.node, session.started = place.node, place.started
        self.ip, self.port = session.address
        self.save()
        return session.address

    @property
    def arrived(self) -> bool:
        """Whether the session has ever accepted a connection."""
        return self.session.address is not None

    def _(self, message: str) -> str:
        return translator(self.session.language).gettext(message)

    # the call back

    def _expect_port(self) -> None:
        """Be ready for the job's call back; it may have come before the hub was restarted."""
        self._port = asyncio.get_running_loop().create_future()
        if self.session.port is not None:
            self._port.set_result(self.session.port)

    def owns(self, token: str) -> bool:
        """Whether this is the token of the session's own server, also after a restart of the hub."""
        return self.session.owns(token)

    def take_port(self, port: int) -> bool:
        """Take the port that the job says it listens on. False if none is expected any more."""
        if self._port is None or self._port.done():
            return False
        self.session.port = port
        self.save()
        self._port.set_result(port)
        return True

    # while it runs

    async def poll(self) -> int | None:
        """None while the session is alive, or while nothing is known. Clears nothing: `stop` needs the token (R6)."""
        if self._submission is not None and not self._submission.done():
            return None
        session, watch = self.session, self._watch
        if not session.id:
            return 0
        if watch is None:
            return None if self._resuming is not None and not self._resuming.done() else 1
        phase = await self._phase(watch, oldest=self.poll_interval)
        if phase is Phase.ENDED:
            return 1
        if phase is not Phase.UNKNOWN and watch.row and session.is_lost(watch.row):
            self.log.warning("Job %s was started again elsewhere; it is cancelled", watch.job)
            self._background.cancel(self.slurm, session.job_name, watch.job)
            return 1
        return None

    async def _phase(self, watch: Watch, oldest: float) -> Phase:
        return watch.judge(await self.queue.look(oldest, POLL_SECONDS))

    async def get_url(self) -> str:
        if self.session.address is None:
            return str(await super().get_url())
        ip, port = self.session.address
        return f"http://{ip}:{port}" + (self.server.base_url if self.server else "")

    async def progress(self) -> AsyncIterator[dict[str, Any]]:
        """What is going on, in plain words of the reader's language, once for each change."""
        language, last = form.language(), None
        while True:
            now = await self.situation(language)
            if now != last:
                last = now
                yield now.event()
            await asyncio.sleep(0.3)

    async def situation(self, language: str) -> Situation:
        """Where the start has got to."""
        watch, place, expected = self._watch, None, ""
        if watch is not None and self.session.port is None and watch.row and watch.row.phase is Phase.WAITING:
            place = await self.queue.place(watch.job)
            zone = self.portal_settings.site.timezone
            expected = situation.when(watch.row.start, zone, language, time.time())
        return situation.of(
            language,
            watch is not None,
            watch.row if watch else None,
            self.session.port is not None,
            place,
            expected,
        )

    async def summary(self, language: str) -> dict[str, str]:
        """What was asked for, in words, and its price at most."""
        return await form.summary(
            self.portal_settings, self.portal, self.user.name, self.user_options, language
        )

    # stop

    async def stop(self, now: bool = False) -> None:
        """Cancel the job and see it go. If Slurm is away the order is kept and given as soon as it is back."""
        if self._submission is not None and not self._submission.done():
            await asyncio.wait({self._submission}, timeout=STOP_SECONDS)
        session, watch = self.session, self._watch
        if not session.id:
            return
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await cancel(self.slurm, session.job_name, session.job)
        except (SlurmError, TimeoutError) as error:
            self.log.warning("Job %s is not cancelled yet: %s", session.job_name, error)
            self._background.cancel(self.slurm, session.job_name, session.job)
            return
        if watch is not None and not now:
            await self._see_it_go(watch)

    async def _see_it_go(self, watch: Watch) -> None:
        deadline = time.monotonic() + STOP_SECONDS
        while await self._phase(watch, oldest=0.1) is not Phase.ENDED:
            if time.monotonic() > deadline:
                self.log.warning("Job %s was cancelled and is not gone yet", watch.job)
                return
            await asyncio.sleep(0.1)

    def run_post_stop_hook(self) -> Any:
        self.revoke_token()
        return super().run_post_stop_hook()

    def revoke_token(self) -> None:
        """Delete the server's token, also where the hub itself has forgotten it (R6)."""
        if self.session.token_id is not None:
            hub_database.revoke(self.hub_spawner, self.session.token_id)
            self.session.token_id = None

    # what the portal learns

    def report(self) -> None:
        """Report the job, then that it is ready: each once, kept until it was heard."""
        session = self.session

        def told(step: str) -> None:
            if self.session is session:
                session.told.add(step)
                self.save()

        self._background.report(self.portal, session, told)

    def report_failed(self, session: str) -> None:
        self._background.report_failed(self.portal, session)

    # state: what must survive the hub

    def get_state(self) -> dict[str, Any]:
        return self.session.state()

    def load_state(self, state: dict[str, Any]) -> None:
        """Take up a session where an earlier hub left it: watch it, tell what was not told, finish its start."""
        self._forget()
        self.job_id = ""
        self.session = Session.read(state.get("child_state") or state)  # as wrapped (R17)
        if not self.session.id:
            return
        if self.session.job is not None:
            self._follow(self.session.job)
        if self.session.address is None:
            self._expect_port()
            self._resuming = asyncio.ensure_future(resume(self, self.hub_spawner))
        else:
            self.report()

    def clear_state(self) -> None:
        super().clear_state()
        if self._watch is not None:
            self.queue.forget(self._watch.job)
        self._forget()

    def save(self) -> None:
        hub_database.keep_state(self.hub_spawner)

    def adopt(self, job: int) -> None:
        """Take this job for the session's, and keep that."""
        self._follow(job)
        self.save()

    def _follow(self, job: int) -> None:
        self.session.job, self.job_id = job, str(job)
        self._watch = Watch(job, time.monotonic())
        self.queue.watch(job)

    def _forget(self) -> None:
        self.session = Session()
        self._watch = self._submission = self._resuming = self._port = None

    # what batchspawner would do through a shell

    async def run_command(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError("Slurm's commands are run by portal.slurm, as argv")

    submit_batch_script = query_job_status = cancel_batch_job = run_command
