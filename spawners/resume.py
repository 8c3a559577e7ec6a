"""A start that a restart of the hub cut short is taken up again (facts-stack R3).

JupyterHub cannot: it would take a session without a port for one that has died. So before the hub's own check sees it,
the unfinished start becomes a pending spawn again, with the same job, token and place in the queue; the person sees the
progress page and can cancel, as if nothing had happened.
"""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

from jupyterhub.spawner import SpawnException

from portal import reasons
from portal.slurm.commands import SlurmError
from spawners import hub_database
from spawners.queue import Queue
from spawners.session import Session

LOOKS = 2
"""A job that Slurm took in at the last moment may be missing from one look."""


class Interrupted(Protocol):
    """A spawner whose start an earlier hub began."""

    session: Session
    log: Any

    @property
    def queue(self) -> Queue: ...
    def adopt(self, job: int) -> None: ...
    async def arrive(self) -> tuple[str, int]: ...
    def report(self) -> None: ...
    def report_failed(self, session: str) -> None: ...


async def resume(spawner: Interrupted, hub_spawner: Any) -> None:
    """Finish the start of a session that an earlier hub submitted, or was about to.

    hub_spawner: the spawner as the hub knows it.
    """
    user, name, log = hub_spawner.user, hub_spawner.name, hub_spawner.log
    _become_pending(hub_spawner)
    while hub_spawner._check_pending:  # noqa: ASYNC110 - the hub has no event for it
        await asyncio.sleep(0.02)
    hub_database.give_server(hub_spawner)
    log.info("Taking up the start of session %s of %s", spawner.session.id, user.name)
    try:
        await _finish(spawner, hub_spawner)
    except Exception as error:
        log.error("Session %s could not be taken up: %s", spawner.session.id, error)
        hub_spawner._spawn_pending = False
        if name in user.spawners and user.spawners[name] is hub_spawner:
            await user.stop(name)
        raise
    finally:
        hub_spawner._spawn_pending = False


def _become_pending(hub_spawner: Any) -> None:
    hub_database.take_server(hub_spawner)
    hub_spawner._spawn_pending = True
    task = asyncio.current_task()
    assert task is not None
    hub_spawner._spawn_future = task

    def ended(done: asyncio.Task[Any]) -> None:
        # a failure is shown to the person by the hub, which reads it from here; nobody awaits it
        if done.cancelled() or done.exception() is None:
            hub_spawner._spawn_future = None

    task.add_done_callback(ended)


async def _finish(spawner: Interrupted, hub_spawner: Any) -> None:
    """What the hub does in a start from the submission on."""
    user, name = hub_spawner.user, hub_spawner.name
    await _find_job(spawner)
    spawner.report()
    ip, port = await asyncio.wait_for(spawner.arrive(), hub_spawner.start_timeout)
    hub_database.place_server(hub_spawner, ip, port)
    hub_spawner._waiting_for_response = True
    await user._wait_up(hub_spawner)
    hub_spawner._proxy_pending = True
    try:
        await user.settings["proxy"].add_user(user, name)
    finally:
        hub_spawner._proxy_pending = False

    async def stopped() -> None:
        await user.settings["proxy"].delete_user(user, name)
        await user.stop(name)

    hub_spawner.add_poll_callback(stopped)
    hub_spawner.start_polling()
    spawner.report()


async def _find_job(spawner: Interrupted) -> None:
    """Find the job of a submission that an earlier hub did not see to its end, by its name.

    Raises:
        SpawnException: there is none; the portal is told.
    """
    session, looks = spawner.session, 0
    while session.job is None:
        try:
            found = await spawner.queue.find(session.job_name)
        except SlurmError as error:
            spawner.log.warning("Cannot look for session %s yet: %s", session.id, error)
        else:
            looks += 1
            if found:
                spawner.adopt(found[0])
                return
            if looks >= LOOKS:
                spawner.report_failed(session.id)
                raise SpawnException(
                    reasons.say("interrupted", session.language),
                    reason="interrupted",
                )
        await asyncio.sleep(1)
