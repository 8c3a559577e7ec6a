"""The wish on a real Slurm: what sacctmgr is told to do is what slurmctld then enforces."""

from __future__ import annotations

import asyncio
import time

import pytest

from portal.client import Wish, WishedGrant
from portal.demo.bare import Cluster
from portal.demo.cluster import ClusterError
from portal.slurm import live, wish
from portal.slurm.commands import Slurm, SlurmError
from portal.slurm.wish import Plan
from portal.units import GPU_HOUR

AWARD = GPU_HOUR // 60
"""Billing-minutes of one GPU-hour."""


@pytest.fixture(scope="module")
def slurm(cluster: Cluster) -> Slurm:
    """The cluster's commands."""
    return Slurm(cluster.conf)


def grant(cluster: Cluster, name: str, **changes: object) -> WishedGrant:
    """An active grant of one GPU-hour, for the cluster's user."""
    usual = {"account": name, "qos": name, "minutes": AWARD, "users": [cluster.layout.user]}
    return WishedGrant.model_validate(usual | changes)


async def carry_out(slurm: Slurm, *grants: WishedGrant) -> Plan:
    """Apply the wish and return what it took; a second time must take nothing."""
    wished = Wish(cluster="aisc", grants=list(grants))
    plan = wish.difference(wished, await wish.read(slurm, "aisc"))
    await wish.apply(slurm, plan)
    assert wish.difference(wished, await wish.read(slurm, "aisc")) == Plan()
    return plan


def submit(cluster: Cluster, account: str, *options: str) -> int:
    """Submit a job under a grant and return its id; a job on one GPU for five minutes unless options say otherwise."""
    usual = ("--parsable", f"--account={account}", "--output=/dev/null", "--time=5", "--mem=1000M")
    return int(cluster.run("sbatch", *usual, *options, "--wrap=sleep 300"))


async def reason(slurm: Slurm, id: int, wanted: str) -> None:
    """Return when the job is in that state or waits for that reason."""
    deadline = time.monotonic() + 40
    while True:
        seen = {job.id: {job.state, job.reason} for job in await live.jobs(slurm)}.get(id, set())
        if wanted in seen:
            return
        assert time.monotonic() < deadline, f"job {id} shows {seen}, not {wanted}"
        await asyncio.sleep(0.3)


async def test_one_gpu_hour_is_60_000_billing_minutes(cluster: Cluster, slurm: Slurm) -> None:
    """slurmctld itself shows the limit, and a job that needs a minute more than an hour does not start."""
    await carry_out(slurm, grant(cluster, "ghour", minutes=60_000))
    whole = submit(cluster, "ghour", "--gres=gpu:h800:1", "--time=60")
    await reason(slurm, whole, "RUNNING")
    shown = await slurm.scontrol("show", "assoc_mgr", "flags=qos", "qos=ghour")
    await slurm.scancel([whole])
    beyond = submit(cluster, "ghour", "--gres=gpu:h800:1", "--time=61")
    await reason(slurm, beyond, "QOSGrpBillingMinutes")
    await slurm.scancel([beyond])

    assert AWARD == 60_000
    assert "billing=60000(" in shown


async def test_a_new_grant_takes_few_calls_and_a_known_one_none(cluster: Cluster, slurm: Slurm) -> None:
    """Ten grants: one call for all QOS, one for all accounts, two for each grant."""
    grants = [grant(cluster, f"gmany{n}", minutes=n) for n in range(10)]
    first = await carry_out(slurm, *grants)
    again = await carry_out(slurm, *grants)

    assert len(first.calls) == 2 + 2 * 10
    assert again == Plan()


async def test_a_used_up_grant_takes_no_new_job_and_lets_running_ones_be(
    cluster: Cluster, slurm: Slurm
) -> None:
    """GrpSubmitJobs=0; after a top-up it takes jobs again."""
    await carry_out(slurm, grant(cluster, "gused"))
    runs = submit(cluster, "gused")
    await reason(slurm, runs, "RUNNING")
    await carry_out(slurm, grant(cluster, "gused", minutes=0, submit=False))
    with pytest.raises(ClusterError, match="limit"):
        submit(cluster, "gused")
    await reason(slurm, runs, "RUNNING")
    await carry_out(slurm, grant(cluster, "gused", minutes=2 * AWARD))
    follows = submit(cluster, "gused")
    await reason(slurm, follows, "RUNNING")
    await slurm.scancel([runs, follows])


async def test_a_suspended_grant_keeps_what_waits_until_it_is_active_again(
    cluster: Cluster, slurm: Slurm
) -> None:
    """GrpJobs=0 as well: pending jobs stay, with a reason, and start by themselves afterwards."""
    await carry_out(slurm, grant(cluster, "gpause"))
    waits = submit(cluster, "gpause", "--begin=now+3")
    await carry_out(slurm, grant(cluster, "gpause", submit=False, run=False))
    await reason(slurm, waits, "QOSGrpJobsLimit")
    with pytest.raises(ClusterError, match="limit"):
        submit(cluster, "gpause")
    await carry_out(slurm, grant(cluster, "gpause"))
    await reason(slurm, waits, "RUNNING")
    await slurm.scancel([waits])


async def test_who_leaves_a_grant_keeps_the_running_job_and_submits_no_more(
    cluster: Cluster, slurm: Slurm
) -> None:
    """The association stays, closed: Slurm kills the jobs of one that is deleted."""
    await carry_out(slurm, grant(cluster, "gleave"))
    runs = submit(cluster, "gleave")
    await reason(slurm, runs, "RUNNING")
    await carry_out(slurm, grant(cluster, "gleave", users=[]))
    with pytest.raises(ClusterError, match="limit"):
        submit(cluster, "gleave")
    await reason(slurm, runs, "RUNNING")
    await carry_out(slurm, grant(cluster, "gleave"))
    back = submit(cluster, "gleave")
    await slurm.scancel([runs, back])


async def test_a_grant_has_one_qos_and_no_other_can_be_chosen(cluster: Cluster, slurm: Slurm) -> None:
    """Else a job could run outside the grant's limit."""
    await carry_out(slurm, grant(cluster, "gone"), grant(cluster, "gtwo"))
    for other in ("gtwo", "normal"):
        with pytest.raises(ClusterError, match="Invalid qos"):
            submit(cluster, "gone", f"--qos={other}")


async def test_a_job_longer_than_the_grant_lasts_does_not_start(cluster: Cluster, slurm: Slurm) -> None:
    """MaxWall in the last days; cleared when the grant is extended."""
    await carry_out(slurm, grant(cluster, "gend", max_wall=3))
    long = submit(cluster, "gend", "--time=5")
    await reason(slurm, long, "QOSMaxWallDurationPerJobLimit")
    await carry_out(slurm, grant(cluster, "gend"))
    await reason(slurm, long, "RUNNING")
    await slurm.scancel([long])


async def test_what_somebody_else_changed_is_put_right_and_what_is_theirs_left_alone(
    cluster: Cluster, slurm: Slurm
) -> None:
    """A limit raised by hand comes back down; an account of the site that begins with g is not ours."""
    await carry_out(slurm, grant(cluster, "gdrift"))
    cluster.run("sacctmgr", "-i", "add", "account", "guests")
    cluster.run("sacctmgr", "-i", "modify", "qos", "gdrift", "set", "GrpTRESMins=billing=-1", "Flags=-1")
    user = f"name={cluster.layout.user}"
    cluster.run("sacctmgr", "-i", "modify", "user", "where", user, "account=gdrift", "set", "qos+=normal")
    plan = await carry_out(slurm, grant(cluster, "gdrift"))

    assert [call[:4] for call in plan.calls] == [
        ("modify", "qos", "where", "name=gdrift"),
        ("modify", "user", "where", user),
    ]
    assert not any("guests" in word for call in plan.calls for word in call)


async def test_without_slurmdbd_nothing_is_taken_for_done(cluster: Cluster, slurm: Slurm) -> None:
    """The wish fails with an error and can be carried out later, from wherever it stopped."""
    conf = cluster.home / "away.conf"
    text = cluster.conf.read_text().splitlines()
    conf.write_text("\n".join(line for line in text if not line.startswith("AccountingStoragePort")))
    with pytest.raises(SlurmError, match="sacctmgr"):
        await carry_out(Slurm(conf), grant(cluster, "gaway"))
    unfinished = wish.difference(
        Wish(cluster="aisc", grants=[grant(cluster, "ghalf")]), await wish.read(slurm, "aisc")
    )
    await wish.apply(slurm, Plan(unfinished.calls[:2]))
    rest = await carry_out(slurm, grant(cluster, "ghalf"))

    assert rest.calls == unfinished.calls[2:]


async def test_a_name_that_is_not_ours_reaches_no_command(cluster: Cluster, slurm: Slurm) -> None:
    """A wish for the root account is a fault, told and not carried out."""
    wished = Wish(cluster="aisc", grants=[grant(cluster, "root"), grant(cluster, "normal")])
    plan = wish.difference(wished, await wish.read(slurm, "aisc"))

    assert (plan.calls, len(plan.faults)) == ((), 2)
