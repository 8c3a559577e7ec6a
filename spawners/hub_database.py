"""What the hub's own database holds of a session, written at once.

JupyterHub commits a spawner's state only when a start is over; a hub that dies before would lose the job (facts-stack
R3), and it forgets the token of a job that ended by itself (R6). Nothing else here touches that database.
"""

from __future__ import annotations

from typing import Any

from jupyterhub import orm
from jupyterhub.objects import Server
from jupyterhub.utils import url_escape_path, url_path_join
from sqlalchemy import inspect


def keep_state(hub_spawner: Any) -> None:
    """Commit the state of a spawner, as the hub knows it: whatever is lost next, this is not."""
    hub_spawner.orm_spawner.state = hub_spawner.get_state()
    _database(hub_spawner).commit()


def token_row(hub_spawner: Any, token: str) -> int | None:
    """The id of the server's token."""
    row = orm.APIToken.find(_database(hub_spawner), token) if token else None
    return row.id if row is not None else None


def revoke(hub_spawner: Any, token_id: int) -> None:
    """Delete a token of the spawner's own user; none of that id is no error."""
    db = _database(hub_spawner)
    row = db.get(orm.APIToken, token_id)
    if row is not None and row.user_id == hub_spawner.orm_spawner.user_id:
        db.delete(row)
        db.commit()


def take_server(hub_spawner: Any) -> None:
    """Without a server the hub takes no session for one that is up."""
    hub_spawner.server = None
    _database(hub_spawner).commit()


def give_server(hub_spawner: Any) -> None:
    """A server without an address, as the hub makes it at the begin of a start."""
    path = url_path_join(hub_spawner.user.base_url, url_escape_path(hub_spawner.name), "/")
    server = orm.Server(base_url=path)
    db = _database(hub_spawner)
    db.add(server)
    db.commit()
    hub_spawner.server = Server(orm_server=server)
    db.commit()


def place_server(hub_spawner: Any, ip: str, port: int) -> None:
    server = hub_spawner.server
    server.proto, server.ip, server.port = "http", ip, port
    _database(hub_spawner).commit()


def _database(hub_spawner: Any) -> Any:
    return inspect(hub_spawner.orm_spawner).session
