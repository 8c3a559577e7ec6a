"""Inside a dashboard's kernel: keeps the regions of a page equal to what the portal says, every two seconds.

Runs with the read-only capability of one person, which ends with this kernel.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
import traceback
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from threading import Event, Thread
from typing import TypeVar
from zoneinfo import ZoneInfo

import ipywidgets
from IPython.display import display

from portal.client import Client, Refused, Unreachable
from portal.dashboards.pieces import Reader, notice

REFRESH_SECONDS = 2.0
FIRST_SECONDS = 1.5
"""How long the page waits for its first figures; without them it is shown empty and filled later."""

REPEAT_LOOKS = 15
"""Every so many looks all regions are sent again: a browser that was just joining may have missed one."""

T = TypeVar("T")
Read = Callable[[Client, Reader], Awaitable[T]]
Render = Callable[[T, Reader], dict[str, str]]


class Board:
    """The regions of a page, each a widget of HTML. All exist from the start; only their values change."""

    def __init__(self, regions: Sequence[str]) -> None:
        self._widgets = {name: ipywidgets.HTML("") for name in regions}
        self._box = ipywidgets.VBox(list(self._widgets.values()))
        self._box.add_class("board")

    def show(self) -> None:
        display(self._box)

    def update(self, regions: Mapping[str, str]) -> None:
        """Set these regions; one whose text is the same costs nothing."""
        for name, html in regions.items():
            if self._widgets[name].value != html:
                self._widgets[name].value = html

    def repeat(self) -> None:
        for widget in self._widgets.values():
            widget.send_state("value")


def reader_of(environ: Mapping[str, str]) -> Reader:
    """The reader, as the server describes them in the kernel's environment."""
    return Reader(
        language=environ.get("PORTAL_LANG", "en"),
        timezone=environ.get("TZ", "UTC"),
        currency=environ.get("PORTAL_DASH_CURRENCY", ""),
        contact=environ.get("PORTAL_DASH_CONTACT", ""),
        help=environ.get("PORTAL_DASH_HELP", ""),
    )


def show(regions: Sequence[str], read: Read[T], render: Render[T]) -> None:
    """Draw a page of these regions and keep it up to date from a thread, as long as the kernel lives."""
    reader, board, first = reader_of(os.environ), Board(regions), Event()
    url, token = os.environ["PORTAL_DASH_URL"], os.environ["PORTAL_DASH_TOKEN"]

    def keep() -> None:
        try:
            asyncio.run(_refresh(Client(url, token), board, reader, read, render, first))
        except BaseException:
            traceback.print_exc(file=sys.__stderr__)  # a fault of ours
        # The page loads again when its kernel is gone; showing old figures for ever would be worse.
        os._exit(1)

    Thread(target=keep, name="refresh", daemon=True).start()
    first.wait(FIRST_SECONDS)
    board.show()


async def _refresh(
    client: Client, board: Board, reader: Reader, read: Read[T], render: Render[T], first: Event
) -> None:
    """Look and draw, until the capability is over: it was closed, or it lived as long as a sign-in does."""
    looks, failing = 0, 0.0
    async with client:
        while True:
            began = time.monotonic()
            try:
                view = await read(client, reader)
            except (Refused, Unreachable) as error:
                if isinstance(error, Refused) and error.status in (401, 403):
                    return
                failing = failing or time.time()
                board.update({"notice": trouble(failing, reader)})
            else:
                failing = 0.0
                board.update(render(view, reader) | {"notice": ""})
            first.set()
            looks += 1
            if looks % REPEAT_LOOKS == 0:
                board.repeat()
            await asyncio.sleep(max(0.5, REFRESH_SECONDS - (time.monotonic() - began)))


def trouble(since: float, reader: Reader) -> str:
    """What is said above the last figures while the portal does not answer."""
    _ = reader.say
    clock = datetime.fromtimestamp(since, ZoneInfo(reader.timezone)).strftime("%H:%M")
    return notice(
        _("The portal has not answered since %(time)s") % {"time": clock},
        _("Your jobs go on running. The figures below are the last that were known."),
    )
