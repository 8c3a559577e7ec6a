"""What Slurm's commands print, turned into records. Pure: text in, records out.

People choose the names of their jobs, so any byte may stand between two fields: `|`, newlines, other languages, a copy
of a whole record. Nothing they can write divides fields here: every field ends with a *mark*, a random word made for
this one call, which nobody can have put into a name beforehand.

The formats are the same from Slurm 22.05 to 24.11 (both tried). Times are read as UTC. `--noconvert` keeps Slurm from
writing 1024 as 1K.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from portal.client import FinishedJob, LiveJob, LiveNode

NEVER = ("", "Unknown", "None", "N/A", "NONE")
"""How versions of Slurm write a time that has not come."""
WAITING = ("PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT")
"""States of a live job that holds nothing; a start it shows is an estimate."""

_SQUEUE_FIELDS = (
    "JobID",
    "JobArrayID",
    "SubmitTime",
    "StartTime",
    "State",
    "Reason",
    "TimeLimit",
    "NodeList",
    "QOS",
    "Account",
    "UserName",
    "Partition",
    "tres-alloc",
    "Name",
)
_SINFO_FIELDS = ("NodeList", "StateComplete", "PartitionName", "CPUsState", "Gres", "GresUsed")
_SACCT_FIELDS = (
    "Cluster",
    "JobIDRaw",
    "Submit",
    "Start",
    "End",
    "ElapsedRaw",
    "State",
    "User",
    "Account",
    "QOS",
    "Partition",
    "NodeList",
    "AllocTRES",
    "JobName",
)

_LIST = re.compile(r".*\[([^\]%]*).*")
_IN_BRACKETS = re.compile(r"\([^()]*\)")
_LIMIT = re.compile(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)")
_DBD_QUEUE = re.compile(r"^\s*DBD Agent queue size:\s*(\d+)\s*$", re.MULTILINE)


class TextError(Exception):
    """A command printed something that is not the form asked for. Nothing of it is used."""


def squeue_arguments(mark: str) -> list[str]:
    """One row for each job, for each started task of an array, and for what is left of a waiting array.

    A waiting array has the id of its array and its last task keeps it, so the id of a row is always JobIDRaw. The
    highest priority comes first, so the order is the queue's.
    """
    return [
        "--noheader",
        "--all",
        "--noconvert",
        "--sort=-p,i",
        f"--Format={_long_format(_SQUEUE_FIELDS, mark)}",
    ]


def sinfo_arguments(mark: str) -> list[str]:
    """One row for each node in each of its partitions."""
    return ["--noheader", "--all", "--Node", f"--Format={_long_format(_SINFO_FIELDS, mark)}"]


def sacct_arguments(mark: str) -> list[str]:
    """Whole jobs of everybody, each of their submissions (`--duplicates`); to be joined by a choice of jobs."""
    return [
        "--noheader",
        "--allusers",
        "--allocations",
        "--duplicates",
        "--noconvert",
        "--parsable",
        f"--delimiter={mark}",
        f"--format={','.join(_SACCT_FIELDS)}",
    ]


def live_jobs(text: str, mark: str) -> list[LiveJob]:
    """The jobs in the queue, from `squeue` with `squeue_arguments(mark)`.

    Raises:
        TextError: it is not of that form.
    """
    return [_live_job(cells) for cells in _rows(text, mark, len(_SQUEUE_FIELDS))]


def live_nodes(text: str, mark: str, jobs: Sequence[LiveJob] = ()) -> list[LiveNode]:
    """The nodes, from `sinfo` with `sinfo_arguments(mark)`; one in several partitions names them all.

    jobs: of the same look. sinfo 22.05 shows how many GPUs are shared instead of how many shards are taken, so shards
    are counted from the jobs as well, except of jobs on several nodes, whose shards cannot be placed.

    Raises:
        TextError: it is not of that form.
    """
    shards = _shards_by_nodes(jobs)
    nodes: dict[str, LiveNode] = {}
    for cells in _rows(text, mark, len(_SINFO_FIELDS)):
        node = _live_node(cells, shards)
        known = nodes.get(node.name)
        if known:
            node = known.model_copy(update={"partition": f"{known.partition},{node.partition}"})
        nodes[node.name] = node
    return list(nodes.values())


def finished_jobs(text: str, mark: str) -> tuple[list[FinishedJob], list[str]]:
    """The jobs that have ended, from `sacct` with `sacct_arguments(mark)`; and one line for each that makes no sense.

    A job cancelled before it started has no start: it gets its end, and costs nothing. Jobs not ended are left out, and
    so are records that slurmdbd has only half: for some seconds after a very short job it may know the end and not yet
    the beginning, and shows the job without QOS and under the name `allocation` (seen on 22.05).

    Raises:
        TextError: it is not of that form.
    """
    jobs: list[FinishedJob] = []
    faults: list[str] = []
    for cells in _rows(text, mark, len(_SACCT_FIELDS)):
        end, account, qos, name = cells[4], cells[8], cells[9], cells[13]
        half = not account or (name == "allocation" and qos in ("", "Unknown"))
        if end in NEVER or half:
            continue
        try:
            jobs.append(_finished_job(cells))
        except ValueError as error:
            faults.append(f"sacct shows job {cells[1][:20]!r} with a field that makes no sense: {error}")
    return jobs, faults


def dbd_queue(sdiag: str) -> int:
    """How many messages slurmctld still has to hand to slurmdbd, from `sdiag`.

    Raises:
        TextError: sdiag does not say.
    """
    found = _DBD_QUEUE.search(sdiag)
    if not found:
        raise TextError("sdiag does not show the DBD Agent queue size")
    return int(found[1])


def tres_count(tres: str, name: str) -> int:
    """The count of one TRES in a list such as `cpu=4,mem=16000M,node=1,billing=250`; 0 if the list lacks it."""
    for item in tres.split(","):
        key, _, count = item.partition("=")
        if key == name and count.isascii() and count.isdigit():
            return int(count)
    return 0


def array_tasks(array: str) -> int:
    """How many jobs `7_[3-5,9-12%2]` stands for: 7. Slurm cuts a long list short with `...`: then at least so many."""
    count = 0
    for part in _LIST.sub(r"\1", array).split(",") if "[" in array else []:
        first, _, last = part.partition("-")
        if first.isdecimal() and (last.isdecimal() or not last):
            count += 1 + max(0, int(last or first) - int(first))
    return max(1, count)


def gres_counts(gres: str) -> dict[str, int]:
    """Count by name, whatever the type: `gpu:h800:3(IDX:0-2),shard:h800:1(0/4,1/4)` is {"gpu": 3, "shard": 1}."""
    counts: dict[str, int] = {}
    for item in _IN_BRACKETS.sub("", gres).split(","):
        name, *rest = item.split(":")
        if name and rest and rest[-1].isdecimal():
            counts[name] = counts.get(name, 0) + int(rest[-1])
    return counts


def seconds(limit: str) -> int | None:
    """A time limit such as `1-02:00:00`, `2:00:00` or `30:00` in seconds; None for UNLIMITED and the like."""
    found = _LIMIT.fullmatch(limit)
    if not found:
        return None
    days, hours, minutes, rest = (int(part or 0) for part in found.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + rest


def _long_format(fields: Sequence[str], mark: str) -> str:
    """For `--Format`: size 0 is "as long as it is", and the mark follows each field."""
    if not re.fullmatch(r"[a-z][a-z0-9]+", mark):
        raise ValueError(
            "a mark is a letter, then letters and digits: digits first would be read as the size"
        )
    return ",".join(f"{field}:0{mark}" for field in fields)


def _rows(text: str, mark: str, width: int) -> Iterator[list[str]]:
    """The fields of each record. A record ends with mark and newline, so only the first field can begin with one."""
    cells = text.split(mark)
    if cells.pop().strip("\n") or len(cells) % width:
        raise TextError(f"Slurm's answer is cut short or not of the form asked for ({len(cells)} fields)")
    for start in range(0, len(cells), width):
        first, *others = cells[start : start + width]
        yield [first.removeprefix("\n"), *others]


def _live_job(cells: list[str]) -> LiveJob:
    id, array, submit, start, state, reason, limit, nodes, qos, account, user, partition, tres, name = cells
    time = None if start in NEVER else start
    try:
        return LiveJob(
            id=int(id),
            submit=_epoch(submit),
            name=name,
            user=user,
            account=account,
            qos=qos,
            partition=partition,
            state=state,
            reason="" if reason == "None" else reason,
            nodes=nodes,
            tres=tres,
            billing=tres_count(tres, "billing"),
            limit_seconds=seconds(limit),
            start=_epoch(time) if time and state not in WAITING else None,
            expected=_epoch(time) if time and state == "PENDING" else None,
            array=array if "_" in array else "",
        )
    except ValueError as error:
        raise TextError(f"squeue shows job {id[:20]!r} with a field that makes no sense: {error}") from None


def _live_node(cells: list[str], shards: dict[str, int]) -> LiveNode:
    name, state, partition, cpus, gres, used = cells
    has, uses = gres_counts(gres), gres_counts(used)
    try:
        allocated, _idle, _other, total = (int(part) for part in cpus.split("/"))
    except ValueError:
        raise TextError(f"sinfo shows node {name!r} with cores {cpus!r}") from None
    return LiveNode(
        name=name,
        state=state.upper(),
        partition=partition.rstrip("*"),
        gpus=has.get("gpu", 0),
        gpus_used=uses.get("gpu", 0) + _share(has, max(uses.get("shard", 0), shards.get(name, 0))),
        cores=total,
        cores_used=allocated,
    )


def _share(has: dict[str, int], shards: int) -> float:
    """How many GPUs so many shards are, on a node with these counts."""
    return shards * has.get("gpu", 0) / has["shard"] if has.get("shard") else 0


def _shards_by_nodes(jobs: Sequence[LiveJob]) -> dict[str, int]:
    shards: dict[str, int] = {}
    for job in jobs:
        if job.state not in WAITING:
            shards[job.nodes] = shards.get(job.nodes, 0) + tres_count(job.tres, "gres/shard")
    return shards


def _finished_job(cells: list[str]) -> FinishedJob:
    cluster, id, submit, start, end, elapsed, state, user, account, qos, partition, nodes, tres, name = cells
    ended = _epoch(end)
    return FinishedJob(
        cluster=cluster,
        id=int(id),
        submit=_epoch(submit),
        start=ended if start in NEVER else _epoch(start),
        end=ended,
        elapsed=int(elapsed),
        state=state.split(" ", 1)[0],  # CANCELLED by 1000
        user=user,
        account=account,
        qos=qos,
        partition=partition,
        name=name,
        billing=tres_count(tres, "billing"),
        tres=tres,
        nodes="" if nodes == "None assigned" else nodes,
    )


def _epoch(time: str) -> int:
    """Whole seconds since 1970; sacct writes them so, squeue writes 2026-01-31T12:00:00 in the zone we set: UTC."""
    if time.isascii() and time.isdigit():
        return int(time)
    return int(datetime.strptime(time, "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC).timestamp())
