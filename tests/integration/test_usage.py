"""Jobs of a real Slurm, alive and ended, read back: what they cost, whoever named them and however they ended."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest

from portal.client import FinishedJob, LiveJob
from portal.demo.bare import Cluster
from portal.settings import Offer
from portal.sizes import Size, billing, gres
from portal.slurm import live, usage
from portal.slurm.commands import Slurm, SlurmError

T = TypeVar("T")

ACCOUNT = "gusage"
HOSTILE = [
    "a|b|c",
    "new\nline\n",
    "aisc|1|1|1|1|1|COMPLETED|root|gusage|gusage|cpu|cpu01|billing=0|x",
    "m0123456789abcdef0123456789abcdefz",
    "\x1b[2J\x01\ttab",
    "人工智能 — ünï",
    "$(touch /tmp/x) `id` 'q' \"q\" \\ %s",
    "-J",
    "x" * 1000,
]


@pytest.fixture(scope="module")
def slurm(cluster: Cluster) -> Slurm:
    """The cluster's commands, and an account whose one QOS everybody of the cluster may use."""
    cluster.run("sacctmgr", "-i", "add", "account", ACCOUNT)
    cluster.run("sacctmgr", "-i", "add", "qos", ACCOUNT, "flags=NoDecay")
    only = (f"account={ACCOUNT}", f"qos={ACCOUNT}", f"defaultqos={ACCOUNT}")
    cluster.run("sacctmgr", "-i", "add", "user", cluster.layout.user, *only)
    return Slurm(cluster.conf)


def submit(cluster: Cluster, *options: str, script: str = "sleep 300") -> int:
    """Submit a job and return its id."""
    common = ("--parsable", f"--account={ACCOUNT}", "--time=5", "--output=/dev/null")
    return int(cluster.run("sbatch", *common, *options, f"--wrap={script}").split(";")[0])


def submit_size(cluster: Cluster, size: Size) -> int:
    """Submit a job of an offered size."""
    request = gres(size, Offer().partition(size.partition))
    options = [f"--partition={size.partition}", f"--cpus-per-task={size.cores}", f"--mem={size.memory_mb}M"]
    return submit(cluster, *options, *([f"--gres={request}"] if request else []))


async def until(what: Callable[[], Awaitable[T | None]], seconds: float = 40) -> T:
    """What the question answers, as soon as that is something."""
    deadline = time.monotonic() + seconds
    while (found := await what()) is None:
        assert time.monotonic() < deadline, "it did not come"
        await asyncio.sleep(0.3)
    return found


async def running(slurm: Slurm, id: int) -> LiveJob:
    """The job, once it runs."""

    async def look() -> LiveJob | None:
        return next((job for job in await live.jobs(slurm) if job.id == id and job.state == "RUNNING"), None)

    return await until(look)


async def idle(slurm: Slurm) -> bool | None:
    """True once nothing takes a GPU."""
    view = await live.look(slurm, "aisc")
    return None if any(node.gpus_used for node in view.nodes) else True


async def recorded(slurm: Slurm, *ids: int) -> dict[int, FinishedJob]:
    """The one record of each of these jobs, once all of them are there."""

    async def ask() -> dict[int, FinishedJob] | None:
        ended, faults = await usage.ended_by_id(slurm, ids)
        assert faults == []
        found = {job.id: job for job in ended if job.id in ids}
        return found if found.keys() == set(ids) else None

    return await until(ask)


async def test_slurm_bills_each_size_as_the_portal_prices_it(cluster: Cluster, slurm: Slurm) -> None:
    """While the job runs, and in the record after its end."""
    jobs = {submit_size(cluster, size): size for size in Offer().sizes}
    alive = {id: await running(slurm, id) for id in jobs}
    await slurm.scancel(jobs)
    ended = await recorded(slurm, *jobs)

    for id, size in jobs.items():
        now, after, expected = alive[id], ended[id], billing(size, Offer().partition(size.partition))
        assert now.billing == after.billing == expected
        assert (now.account, now.qos, now.user) == (ACCOUNT, ACCOUNT, cluster.layout.user)
        assert (after.account, after.qos, after.user) == (ACCOUNT, ACCOUNT, cluster.layout.user)
        assert (now.submit, now.start, now.limit_seconds) == (after.submit, after.start, 300)
        assert after.end - after.start == after.elapsed
        assert abs(after.end - time.time()) < 60


async def test_a_node_shows_the_shares_of_its_gpus_in_use(cluster: Cluster, slurm: Slurm) -> None:
    """Three shards of a GPU with four are three quarters of it."""
    await until(lambda: idle(slurm))  # jobs of other tests may be ending still
    id = submit(cluster, "--partition=gpu", "--gres=shard:3", "--mem=1000M")
    where = (await running(slurm, id)).nodes
    view = await live.look(slurm, "aisc")
    await slurm.scancel([id])

    assert {node.name: node.gpus_used for node in view.nodes if node.gpus_used} == {where: 0.75}
    assert {(node.gpus, node.cores) for node in view.nodes} == {(8, 128), (0, 64)}
    assert len(view.nodes) == 6
    assert abs(view.at - time.time()) < 10


async def test_no_name_of_a_job_hides_or_shifts_another(cluster: Cluster, slurm: Slurm) -> None:
    """Alive and ended, every job is there once with its own fields."""
    ids = [submit(cluster, "--partition=cpu", f"--job-name={name}") for name in HOSTILE]
    alive = {job.id: job for job in await live.jobs(slurm)}
    begun = int(time.time()) - 3600
    await slurm.scancel(ids)
    await recorded(slurm, *ids)
    ended, faults = await usage.ended_between(slurm, begun, int(time.time()) + 5)

    assert [alive[id].name for id in ids] == HOSTILE
    names = [job.name for job in sorted(ended, key=lambda job: job.id) if job.id in ids]
    kept = [name.replace('"', "`")[:255] for name in HOSTILE]  # slurmdbd keeps no double quote and 255 bytes
    assert [name[:255] for name in names] == kept
    assert {alive[id].account for id in ids} == {ACCOUNT}
    assert faults == []
    assert sorted(job.id for job in ended if job.id in ids) == ids
    assert {(job.account, job.qos, job.user) for job in ended if job.id in ids} == {
        (ACCOUNT, ACCOUNT, cluster.layout.user)
    }


async def test_each_task_of_an_array_is_a_job_of_its_own(cluster: Cluster, slurm: Slurm) -> None:
    """The tasks that ran cost, the waiting rest that was cancelled costs nothing."""
    master = submit(cluster, "--partition=cpu", "--array=0-4%2", "--job-name=array")

    async def two_run() -> list[LiveJob] | None:
        jobs = [job for job in await live.jobs(slurm) if job.name == "array"]
        return jobs if [job.state for job in jobs].count("RUNNING") == 2 else None

    alive = await until(two_run)
    assert [(job.id, job.reason) for job in alive if job.state == "PENDING"] == [
        (master, "JobArrayTaskLimit")
    ]
    await slurm.scancel([master])
    ended = await recorded(slurm, *(job.id for job in alive))

    assert {job.id: job.submit for job in alive} == {id: job.submit for id, job in ended.items()}
    assert {job.billing > 0 for id, job in ended.items() if id != master} == {True}
    assert (ended[master].elapsed, ended[master].billing) == (0, 0)


async def test_a_job_cancelled_while_it_waits_costs_nothing(cluster: Cluster, slurm: Slurm) -> None:
    """Also one that was held, which sacct finds by its id only."""
    waiting = submit(cluster, "--partition=cpu", "--begin=now+1hour")
    held = submit(cluster, "--partition=cpu", "--hold")
    await slurm.scancel([waiting, held])
    ended = await recorded(slurm, waiting, held)

    assert {(job.state, job.elapsed, job.billing) for job in ended.values()} == {("CANCELLED", 0, 0)}
    assert all(job.start == job.end >= job.submit for job in ended.values())


async def test_a_job_sent_back_to_the_queue_is_two_records(cluster: Cluster, slurm: Slurm) -> None:
    """Under one id, with a submit time each, as the queue shows them too."""
    id = submit(cluster, "--partition=cpu", "--requeue")
    first = await running(slurm, id)
    await slurm.scontrol("requeue", str(id))

    async def waits_again() -> LiveJob | None:
        return next(
            (job for job in await live.jobs(slurm) if job.id == id and job.submit != first.submit), None
        )

    second = await until(waits_again)
    await slurm.scancel([id])

    async def both() -> dict[int, FinishedJob] | None:
        ended, _ = await usage.ended_by_id(slurm, [id])
        return {job.submit: job for job in ended} if len(ended) == 2 else None

    ended = await until(both)
    assert ended.keys() == {first.submit, second.submit}
    assert (ended[first.submit].state, ended[second.submit].elapsed) == ("REQUEUED", 0)
    assert ended[first.submit].billing == first.billing


async def test_what_is_asked_and_not_there_is_nothing(slurm: Slurm) -> None:
    """Neither an id that never was nor no id at all is a fault."""
    assert await usage.ended_by_id(slurm, [60_000_000]) == ([], [])
    assert await usage.ended_by_id(slurm, []) == ([], [])


async def test_the_queue_to_slurmdbd_is_told(slurm: Slurm) -> None:
    """Empty, soon after all has been said."""

    async def empty() -> bool | None:
        return (await usage.dbd_queue(slurm) == 0) or None

    assert await until(empty)


async def test_no_slurm_is_an_error_and_not_an_empty_answer(cluster: Cluster, tmp_path: Path) -> None:
    """An empty queue would end every session. Here nobody answers on the ports that slurm.conf names."""
    conf = tmp_path / "slurm.conf"
    nobody = re.sub(r"(?m)^(SlurmctldPort|AccountingStoragePort)=.*$", r"\1=1", cluster.conf.read_text())
    conf.write_text(nobody)
    away = Slurm(conf)
    looked, asked = await asyncio.gather(
        live.look(away, "aisc"), usage.ended_by_id(away, [1]), return_exceptions=True
    )
    assert isinstance(looked, SlurmError)
    assert isinstance(asked, SlurmError)
