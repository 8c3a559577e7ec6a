"""What a person could start next, in one click: as last time if that is possible, else the nearest thing that is.

Nothing is promised: the sentence says "now" only where the latest look shows a node with room and nobody in line, and
admission judges once more when the button is pressed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from portal.client import LiveNode, Quote, View
from portal.policy import Refusal, Standing, admit, usable
from portal.service.admission import quote
from portal.service.desk import Desk
from portal.service.views import places
from portal.sizes import Partition, Size
from portal.store.people import Choice

USABLE = ("IDLE", "MIXED", "ALLOCATED")
"""Base states of a node that takes new work once it has room."""
FLAGS = "*~#!%$@^-"
"""What sinfo puts behind a state for what happens to the node besides."""


@dataclass(frozen=True)
class Room:
    """free: whether a node has room for it now. ahead: jobs that wait for their turn in its partition."""

    free: bool
    ahead: int

    @property
    def now(self) -> bool:
        return self.free and not self.ahead


@dataclass(frozen=True)
class NextStart:
    """again: whether this is what the person started last."""

    choice: Choice
    size: Size
    quote: Quote
    until: int
    room: Room
    again: bool


def next_start(desk: Desk, mine: list[Standing], last: Choice | None, now: int) -> NextStart | Refusal | None:
    """What the one button starts; why it cannot; None for a person without a grant."""
    if not mine or desk.view is None:
        return None
    wanted = _wanted(desk, mine, last, now)
    first: Refusal | None = None
    for standing, size, minutes in _nearest(desk, mine, wanted):
        billing = desk.size_billing(size.id)
        refused = admit(standing, billing, minutes, now, desk.cheapest)
        if refused is None:
            choice = Choice(standing.grant.code, size.id, minutes)
            return NextStart(
                choice=choice,
                size=size,
                quote=quote(standing, billing, minutes),
                until=now + minutes * 60,
                room=room(desk.view, size, desk.settings.offer.partition(size.partition)),
                again=choice == last,
            )
        first = first or refused
    return first


def _wanted(desk: Desk, mine: list[Standing], last: Choice | None, now: int) -> Choice:
    """The last choice as far as it is still offered, completed by what the form offers first."""
    offer = desk.settings.offer
    codes = [one.grant.code for one in mine]
    open_codes = [one.grant.code for one in mine if usable(one, now, desk.cheapest) is None]
    whole = next((size.id for size in offer.sizes if size.gpus == 1), offer.sizes[0].id)
    return Choice(
        last.grant if last and last.grant in codes else next(iter(open_codes), codes[0]),
        last.size if last and offer.size(last.size) else whole,
        last.minutes if last and last.minutes in offer.minutes else offer.default_minutes,
    )


def _nearest(desk: Desk, mine: list[Standing], wanted: Choice) -> Iterator[tuple[Standing, Size, int]]:
    """The choice itself, then shorter, then smaller; the same on the other grants after that."""
    offer = desk.settings.offer
    longest = desk.size_billing(wanted.size)
    sizes = [size for size in offer.sizes if desk.size_billing(size.id) < longest]
    sizes.sort(key=lambda size: -desk.size_billing(size.id))
    wished = offer.size(wanted.size)
    minutes = sorted((one for one in offer.minutes if one <= wanted.minutes), reverse=True)
    for standing in sorted(mine, key=lambda one: one.grant.code != wanted.grant):
        for size in [wished, *sizes] if wished else sizes:
            for limit in minutes:
                yield standing, size, limit


def room(view: View, size: Size, partition: Partition) -> Room:
    """Whether the latest look shows a node with room for this size, and how many jobs wait before it would."""
    in_line = places(view)
    waiting = sum(
        1
        for job in view.jobs
        if (job.id, job.submit) in in_line and partition.name in job.partition.split(",")
    )
    return Room(any(_fits(node, size, partition) for node in view.nodes), waiting)


def _fits(node: LiveNode, size: Size, partition: Partition) -> bool:
    if partition.name not in node.partition.split(",") or node.state.rstrip(FLAGS) not in USABLE:
        return False
    share = size.shards / partition.shards_per_gpu if size.shards and partition.shards_per_gpu else 0
    # a whole GPU is one that nobody has a part of
    free = node.gpus - (math.ceil(node.gpus_used) if size.gpus else node.gpus_used)
    return free >= size.gpus + share and node.cores - node.cores_used >= size.cores
