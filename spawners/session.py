"""What the hub keeps of a session, so that the session survives the hub (facts-stack R3). Pure."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from portal.locale import ENGLISH
from spawners.queue import Phase, Row
from spawners.submission import job_name


@dataclass
class Session:
    """One session from the portal's yes to its end; without an id while there is none.

    token_hash, token_id: the server's API token, as SHA-256 in hexadecimal and as its row in the hub's database.
    port: what the job called back with. address: where it accepted the first connection.
    node, started: where and when (Slurm's text) the job ran then. told: what the portal has heard, "job" and "ready".
    """

    id: str = ""
    job: int | None = None
    token_hash: str = ""
    token_id: int | None = None
    port: int | None = None
    address: tuple[str, int] | None = None
    node: str = ""
    started: str = ""
    language: str = ENGLISH
    told: set[str] = field(default_factory=set)

    @classmethod
    def read(cls, state: Mapping[str, Any]) -> Session:
        """The session in what `state` returned once; none if there is no id in it."""
        if not state.get("session"):
            return cls()
        address = state.get("address")
        return cls(
            id=str(state["session"]),
            job=int(state["job_id"]) if state.get("job_id") else None,
            token_hash=str(state.get("token_hash") or ""),
            token_id=state.get("token_id"),
            port=state.get("port"),
            address=(str(address[0]), int(address[1])) if address else None,
            node=str(state.get("node") or ""),
            started=str(state.get("job_start") or ""),
            language=str(state.get("language") or ENGLISH),
            told=set(state.get("told") or ()),
        )

    def state(self) -> dict[str, Any]:
        """The form that JupyterHub keeps as JSON; empty if there is no session."""
        if not self.id:
            return {}
        return {
            "session": self.id,
            "job_id": str(self.job) if self.job is not None else "",
            "token_hash": self.token_hash,
            "token_id": self.token_id,
            "port": self.port,
            "address": list(self.address) if self.address else None,
            "node": self.node,
            "job_start": self.started,
            "language": self.language,
            "told": sorted(self.told),
        }

    @property
    def job_name(self) -> str:
        return job_name(self.id)

    def owns(self, token: str) -> bool:
        """Whether this is the token of the session's own server."""
        return bool(self.token_hash) and hmac.compare_digest(digest(token), self.token_hash)

    def is_lost(self, row: Row) -> bool:
        """Whether the job was ready and was put back in the queue or started again: nobody can reach it (R13)."""
        if self.address is None:
            return False
        if row.phase is Phase.WAITING:
            return True
        known = bool(self.node and row.node and self.started)
        return known and (row.node, row.start) != (self.node, self.started)


def digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
