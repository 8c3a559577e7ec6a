"""The kernels: started for one person with a bare environment and a capability, ended when nobody looks any more."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from jupyter_client.kernelspec import KernelSpec, KernelSpecManager, NoSuchKernel
from jupyter_core.utils import ensure_async
from jupyter_server.services.kernels.connection.channels import ZMQChannelsWebsocketConnection
from jupyter_server.services.kernels.kernelmanager import AsyncMappingKernelManager
from tornado import web

from portal import reasons
from portal.client import Client, Refused, Unreachable
from portal.dashboards.owners import Owned, Owners, viewer
from portal.settings import Dashboards, Settings

log = logging.getLogger(__name__)

KERNEL = "portal"
SEEN_TIMES = 2
"""A page must prove its person is signed in at least every `SEEN_TIMES * idle_seconds`; hidden tabs are slow."""


class Full(web.HTTPError):
    """No further page can be opened now. yours: because this person has too many open."""

    def __init__(self, yours: bool) -> None:
        super().__init__(503, "too many dashboards are open")
        self.yours = yours


class NotAccepted(web.HTTPError):
    """The person has not accepted the terms in force, and is shown nothing before."""

    def __init__(self) -> None:
        super().__init__(403, "the terms are not accepted")


class PortalDown(web.HTTPError):
    """The portal gave no capability, so a page would have nothing to show."""

    def __init__(self) -> None:
        super().__init__(503, "the portal does not answer")


def environment(settings: Settings, language: str, token: str, folder: Path) -> dict[str, str]:
    """The whole environment of a kernel: a list of what it needs, not what is left of ours.

    folder: the server's private folder, for whatever the kernel wants to keep.
    """
    return {
        "PATH": os.defpath,
        "LANG": "C.UTF-8",
        "TZ": settings.site.timezone,
        "HOME": str(folder),
        "IPYTHONDIR": str(folder / "ipython"),
        "PORTAL_DASH_URL": settings.portal_url,
        "PORTAL_DASH_TOKEN": token,
        "PORTAL_DASH_CURRENCY": settings.site.currency,
        "PORTAL_DASH_CONTACT": settings.site.contact,
        "PORTAL_DASH_HELP": settings.web.service_origin("portal") + reasons.HELP,
        "PORTAL_LANG": language,
    }


class OneKernel(KernelSpecManager):
    """Knows one kernel, ours. Folders where somebody could put another are not looked at."""

    def find_kernel_specs(self) -> dict[str, str]:
        return {KERNEL: str(Path(__file__).parent)}

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        if kernel_name != KERNEL:
            raise NoSuchKernel(kernel_name)
        argv = [sys.executable, "-I", "-m", "portal.dashboards.kernel", "-f", "{connection_file}"]
        quiet = ["--HistoryManager.enabled=False", "--IPKernelApp.capture_fd_output=False"]
        return KernelSpec(argv=argv + quiet, language="python", display_name="Dashboard")

    def get_all_specs(self) -> dict[str, Any]:
        spec = self.get_kernel_spec(KERNEL).to_dict()
        return {KERNEL: {"resource_dir": str(Path(__file__).parent), "spec": spec}}


class Kernels(AsyncMappingKernelManager):
    """Starts a kernel for the person in `viewer`, within the caps, and ends it with its capability."""

    starting: Counter[str]
    """How many are being started, by person: they count against the caps as well."""
    closing: list[str]
    """Capabilities of kernels that are gone, which the portal has not been told about yet."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.starting = Counter()
        self.closing = []

    @property
    def app(self) -> Any:
        """The server, which has our settings, the owners and the client of the portal."""
        return self.parent

    @property
    def owners(self) -> Owners:
        owners: Owners = self.app.owners
        return owners

    @property
    def client(self) -> Client:
        client: Client = self.app.client
        return client

    async def start_kernel(self, *, path: Any = None, **kwargs: Any) -> str:  # type: ignore[override]
        """Start a kernel for the viewer.

        Raises:
            Full: as many pages are open as may be, altogether or for this person.
            NotAccepted, PortalDown: the portal gives no capability.
        """
        settings: Settings = self.app.portal
        who = viewer.get()
        self._check_caps(who.person, settings.dashboards)
        self.starting[who.person] += 1
        try:
            token = await self._capability(who.person)
            try:
                bare = environment(settings, who.language, token, Path(self.connection_dir))
                started = await super().start_kernel(path=path, kernel_name=KERNEL, env=bare)
            except BaseException:
                self.closing.append(token)
                raise
            kernel_id = str(started)
            now = time.monotonic()
            self.owners.kernels[kernel_id] = Owned(who.person, token, connected=now, seen=now)
            return kernel_id
        finally:
            self.starting -= Counter([who.person])

    def _check_caps(self, person: str, caps: Dashboards) -> None:
        if len(self.owners.kernels) + self.starting.total() >= caps.pages:
            raise Full(yours=False)
        if self.owners.held_by(person) + self.starting[person] >= caps.pages_per_person:
            raise Full(yours=True)

    async def _capability(self, person: str) -> str:
        try:
            return await self.client.open_capability(person)
        except (Refused, Unreachable) as error:
            if isinstance(error, Refused) and error.code == "terms-not-accepted":
                raise NotAccepted from None
            log.warning("no capability for %s: %s", person, error)
            raise PortalDown from error

    async def shutdown_kernel(self, kernel_id: str, now: bool = True, restart: bool = False) -> None:  # type: ignore[override]
        """End a kernel at once: it holds nothing worth saving. Its sockets and its capability go with it."""
        owned = self.owners.kernels.pop(kernel_id, None)
        if owned is not None:
            self.closing.append(owned.token)
        try:
            await super().shutdown_kernel(kernel_id, now=True)
        finally:
            for connection in list(ZMQChannelsWebsocketConnection._open_sockets):
                if connection.kernel_id == kernel_id:
                    connection.websocket_handler.close()
            await self._close_capabilities()

    async def alive(self, kernel_id: str) -> bool:
        """Whether the process of that kernel runs."""
        return kernel_id in self and bool(await ensure_async(self.get_kernel(kernel_id).is_alive()))

    async def reap(self, now: float, signed_in_known: bool) -> None:
        """End every kernel that died, that nobody is connected to, or whose person no longer proves to be signed in.

        now: the monotonic clock. signed_in_known: False while the hub is down, when nobody can prove anything.
        """
        idle: float = self.app.portal.dashboards.idle_seconds
        for kernel_id, owned in self.owners:
            if self._kernel_connections.get(kernel_id, 0) > 0:
                owned.connected = now
            if not signed_in_known:
                owned.seen = now
            unused = now - owned.connected > idle or now - owned.seen > SEEN_TIMES * idle
            if unused or not await self.alive(kernel_id):
                log.info("ending the unused kernel %s", kernel_id)
                await self._end(kernel_id)
        await self._close_capabilities()

    async def _end(self, kernel_id: str) -> None:
        """End it even if Jupyter has already forgotten it."""
        if kernel_id in self:
            await self.shutdown_kernel(kernel_id)
        elif owned := self.owners.kernels.pop(kernel_id, None):
            self.closing.append(owned.token)

    async def end_all(self) -> None:
        await asyncio.gather(*(self._end(kernel_id) for kernel_id, _ in self.owners))
        await asyncio.gather(*(self.shutdown_kernel(kernel_id) for kernel_id in list(self.list_kernel_ids())))

    async def _close_capabilities(self) -> None:
        """Tell the portal which capabilities are over; what it does not hear now it hears at the next look."""
        waiting, self.closing = self.closing, []
        for token in waiting:
            try:
                await self.client.close_capability(token)
            except Refused:
                pass  # the portal does not know it any more
            except Unreachable:
                self.closing.append(token)
