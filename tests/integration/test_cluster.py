"""The private Slurm: real, limited, and on loopback only."""

from __future__ import annotations

import os
import time

import pytest
from waiting import until

from portal import listeners
from portal.demo import processes
from portal.demo.bare import Cluster
from portal.demo.supervision import LOG_BYTES
from portal.settings import Offer
from portal.sizes import Size, billing, gres


@pytest.fixture(scope="module")
def account(cluster: Cluster) -> str:
    """An account with one QOS of its own, as a grant has, that the cluster's user may use."""
    name = "gtest"
    cluster.run("sacctmgr", "-i", "add", "account", name)
    cluster.run("sacctmgr", "-i", "add", "qos", name, "flags=NoDecay")
    cluster.run(
        "sacctmgr",
        "-i",
        "add",
        "user",
        cluster.layout.user,
        f"account={name}",
        f"qos={name}",
        f"defaultqos={name}",
    )
    return name


def submit(cluster: Cluster, account: str, *options: str, script: str = "sleep 60") -> str:
    """Submit a job and return its id."""
    command = ["sbatch", "--parsable", f"--account={account}", "--time=5", "--output=/dev/null", *options]
    return cluster.run(*command, f"--wrap={script}").strip()


def state(cluster: Cluster, job: str) -> str:
    """A job's state, as slurmctld tells it."""
    return cluster.run("squeue", "-h", "-t", "all", "-j", job, "-o", "%T").strip()


def await_state(cluster: Cluster, job: str, wanted: str) -> None:
    """Return when the job is in that state; fail after half a minute."""
    deadline = time.monotonic() + 30
    while (seen := state(cluster, job)) != wanted:
        assert time.monotonic() < deadline, f"job {job} is {seen}, not {wanted}"
        time.sleep(0.2)


def test_every_listener_is_on_loopback(cluster: Cluster) -> None:
    """No process of the cluster can be reached from another machine."""
    inodes = {inode for pid in processes.ours(cluster.home) for inode in listeners.sockets_of(pid)}
    listening = [listener for listener in listeners.listeners() if listener.inode in inodes]

    assert {listener.port for listener in listening} >= set(cluster.layout.ports.all(nodes=6))
    assert [listener for listener in listening if not listener.loopback] == []


@pytest.mark.parametrize("size", Offer().sizes, ids=lambda size: size.id)
def test_slurm_bills_what_sizes_says(cluster: Cluster, account: str, size: Size) -> None:
    """The billing that Slurm records for each size offered is the price that the portal computes."""
    partition = Offer().partition(size.partition)
    job = submit(
        cluster,
        account,
        f"--partition={partition.name}",
        f"--cpus-per-task={size.cores}",
        f"--mem={size.memory_mb}",
        *([f"--gres={gres(size, partition)}"] if gres(size, partition) else []),
    )
    await_state(cluster, job, "RUNNING")
    tres = cluster.run("squeue", "-h", "-j", job, "-O", "tres-alloc:200")
    cluster.run("scancel", job)

    assert f"billing={billing(size, partition)}" in tres.strip().split(",")


def test_a_job_sees_exactly_the_gpus_it_asked_for(cluster: Cluster, account: str) -> None:
    """The simulated GPUs are handed out one by one, as real ones would be."""
    out = cluster.layout.folder / "run" / "devices.txt"
    job = submit(
        cluster, account, "--gres=gpu:h800:2", "--mem=1000", script=f"echo $CUDA_VISIBLE_DEVICES > {out}"
    )
    await_state(cluster, job, "COMPLETED")

    assert len(out.read_text().strip().split(",")) == 2


def test_limits_are_enforced(cluster: Cluster, account: str) -> None:
    """A job that the limit in billing-minutes cannot pay waits, and says why."""
    cluster.run("sacctmgr", "-i", "modify", "qos", account, "set", "GrpTRESMins=billing=10")
    job = submit(cluster, account, "--gres=gpu:h800:1", "--mem=1000")
    time.sleep(2)
    reason = cluster.run("squeue", "-h", "-j", job, "-o", "%T %r").strip()
    cluster.run("scancel", job)
    cluster.run("sacctmgr", "-i", "modify", "qos", account, "set", "GrpTRESMins=billing=-1")

    assert reason == "PENDING QOSGrpBillingMinutes"


@pytest.mark.parametrize("daemon", ["slurmctld", "slurmdbd", "cpu01"])
def test_a_long_log_is_put_aside(cluster: Cluster, daemon: str) -> None:
    """Slurm's daemons write their logs themselves, so nobody else keeps them short; they go on in a new file."""
    log = cluster.home / "logs" / f"{daemon}.log"
    os.truncate(log, LOG_BYTES + 1)

    until(log.with_suffix(".log.1").exists, 10, f"{log} stays long")
    until(log.exists, 10, f"{daemon} does not begin a new log")
    assert log.stat().st_size < LOG_BYTES
    assert len(cluster.run("sinfo", "-h", "-N", "-o", "%N").split()) == 6
