"""A start that a restart of the hub cut short is taken up again (facts-stack R3).

JupyterHub cannot: it would take a session without a port for one that has died. So before the hub's own check sees it,
the unfinished start becomes a pending spawn again, with the same job, token and place in the queue; the person sees the
progress page and can cancel, as if nothing had happened.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from jupyterhub import orm
from jupyterhub.objects import Server
from jupyterhub.utils import url_escape_path, url_path_join
from sqlalchemy import inspect

if TYPE_CHECKING:
    from spawners.slurm import PortalSlurmSpawner


async def resume(spawner: PortalSlurmSpawner, hub_spawner: Any) -> None:
    """Finish the start of a session that an earlier hub submitted, or was about to.

    hub_spawner: the spawner as the hub knows it.
    """
    user, name, log = hub_spawner.user, hub_spawner.name, hub_spawner.log
    _become_pending(hub_spawner)
    while hub_spawner._check_pending:  # noqa: ASYNC110 - the hub has no event for it
        await asyncio.sleep(0.02)
    _give_server(user, hub_spawner, name)
    log.info("Taking up the start of session %s of %s", spawner.session, user.name)
    try:
        await _finish(spawner, hub_spawner, user, name)
    except Exception as error:
        log.error("Session %s could not be taken up: %s", spawner.session, error)
        hub_spawner._spawn_pending = False
        if name in user.spawners and user.spawners[name] is hub_spawner:
            await user.stop(name)
        raise
    finally:
        hub_spawner._spawn_pending = False


def _become_pending(hub_spawner: Any) -> None:
    db = inspect(hub_spawner.orm_spawner).session
    hub_spawner.server = None
    db.commit()
    hub_spawner._spawn_pending = True
    task = asyncio.current_task()
    assert task is not None
    hub_spawner._spawn_future = task

    def ended(done: asyncio.Task[Any]) -> None:
        # a failure is shown to the person by the hub, which reads it from here; nobody awaits it
        if done.cancelled() or done.exception() is None:
            hub_spawner._spawn_future = None

    task.add_done_callback(ended)


def _give_server(user: Any, hub_spawner: Any, name: str) -> None:
    db = inspect(hub_spawner.orm_spawner).session
    server = orm.Server(base_url=url_path_join(user.base_url, url_escape_path(name), "/"))
    db.add(server)
    db.commit()
    hub_spawner.server = Server(orm_server=server)
    db.commit()


async def _finish(spawner: PortalSlurmSpawner, hub_spawner: Any, user: Any, name: str) -> None:
    await spawner.find_again()
    ip, port = await asyncio.wait_for(spawner.arrive(), hub_spawner.start_timeout)
    server = hub_spawner.server
    server.proto, server.ip, server.port = "http", ip, port
    inspect(hub_spawner.orm_spawner).session.commit()
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
    spawner._tell_portal()
