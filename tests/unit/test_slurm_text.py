"""What Slurm prints, read back. The lines are what 22.05 and 24.11 printed on a real cluster, with the mark `mXz`."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.client import FinishedJob, LiveJob, LiveNode
from portal.slurm import text
from portal.slurm.live import new_mark
from portal.slurm.text import TextError

MARK = "mXz"
AT = 1_795_261_776
"""2026-11-21T11:49:36 in UTC."""

SQUEUE = (
    "5mXz5_[3-12%2]mXz2026-11-21T11:49:36mXzN/AmXzPENDINGmXzJobArrayTaskLimitmXz5:00mXzmXzgtestmXzgtestmXzrootmXzcpumXz"
    "cpu=2,mem=2000M,node=1,billing=20mXzarrmXz\n"
    "3mXz3mXz2026-11-21T11:49:36mXz2026-11-21T11:50:02mXzRUNNINGmXzNonemXz1-00:30:00mXzcpu01mXzgtestmXzgtestmXz"
    "rootmXzcpumXzcpu=4,mem=16000M,node=1,billing=40mXznew\nline|x\ttab 123mXz\n"
    "7mXz7mXz2026-11-21T11:49:36mXz2026-11-21T11:50:02mXzRUNNINGmXzNonemXzUNLIMITEDmXzcpu01mXzgtestmXzgtestmXz"
    "rootmXzcpumXzcpu=2,mem=2000M,node=1,billing=20mXz人工智能 — ünïmXz\n"
    "1mXz1mXz2026-11-21T11:49:36mXz2026-11-21T11:49:36mXzRUNNINGmXzNonemXz1:00:00mXzgpu01mXzgtestmXzgtestmXzroot"
    "mXzgpumXzcpu=16,mem=240000M,node=1,billing=1000,gres/gpu=1,gres/gpu:h800=1mXzplainmXz\n"
)
SINFO_22 = (
    "cpu01mXzmixedmXzcpumXz17/47/0/64mXz(null)mXzgpu:0,shard:0mXz\n"
    "gpu01mXzmixedmXzgpumXz20/108/0/128mXzgpu:h800:8,shard:h800:32mXzgpu:h800:1(IDX:0),shard:h800:1(IDX:1)mXz\n"
    "gpu02mXzidle+drainmXzgpumXz0/0/128/128mXzgpu:h800:8,shard:h800:32mXzgpu:h800:0(IDX:N/A),shard:h800:0(IDX:N/A)mXz\n"
    "gpu02mXzidle+drainmXzlongmXz0/0/128/128mXzgpu:h800:8,shard:h800:32mXzgpu:h800:0(IDX:N/A),shard:h800:0(IDX:N/A)mXz\n"
)
SINFO_24 = (
    "cpu01mXzmixedmXzcpumXz12/52/0/64mXz(null)mXz(null)mXz\n"
    "gpu01mXzmixedmXzgpumXz20/108/0/128mXzgpu:h800:8,shard:h800:32mXz"
    "gpu:h800:1(IDX:0),shard:h800:2(0/4,2/4,0/4,0/4,0/4,0/4,0/4,0/4)mXz\n"
)
SACCT = (
    "aiscmXz1mXz1795261776mXz1795261776mXzUnknownmXz254mXzRUNNINGmXzrootmXzgtestmXzgtestmXzgpumXzgpu01mXz"
    "billing=1000,cpu=16,gres/gpu:h800=1,gres/gpu=1,mem=240000M,node=1mXzplainmXz\n"
    "aiscmXz2mXz1795261776mXz1795261802mXz1795262025mXz223mXzCANCELLED by 0mXzrootmXzgtestmXzgtestmXzgpumXzgpu01mXz"
    "billing=250,cpu=4,gres/shard=1,mem=60000M,node=1mXza|b,c;dmXz\n"
    "aiscmXz4mXz1795261776mXz1795261802mXz1795262024mXz222mXzREQUEUEDmXzrootmXzgtestmXzgtestmXzcpumXzcpu01mXz"
    "billing=40,cpu=4,mem=16000M,node=1mXznew\nlinemXz\n"
    "aiscmXz6mXz1795261776mXzNonemXz1795262024mXz0mXzCANCELLED by 0mXzrootmXzgtestmXzgtestmXzcpumXzNone assignedmXzmXzholdmXz\n"
)


def squeue_row(id: int, name: str, state: str = "RUNNING", tres: str = "billing=20") -> list[str]:
    time = "2026-11-21T11:49:36"
    return [str(id), str(id), time, time, state, "None", "5:00", "cpu01", "gq", "ga", "u", "cpu", tres, name]


def printed(rows: list[list[str]], mark: str) -> str:
    """As squeue prints it: each field ended by the mark, each row by a newline."""
    return "".join("".join(f"{cell}{mark}" for cell in row) + "\n" for row in rows)


def test_the_queue_is_read_with_billing_limits_and_times() -> None:
    """A waiting array, names with newlines and other scripts, no limit, a day and a half hour."""
    waiting, odd, endless, plain = text.live_jobs(SQUEUE, MARK)

    assert waiting == LiveJob(
        id=5,
        submit=AT,
        name="arr",
        user="root",
        account="gtest",
        qos="gtest",
        partition="cpu",
        state="PENDING",
        reason="JobArrayTaskLimit",
        tres="cpu=2,mem=2000M,node=1,billing=20",
        billing=20,
        limit_seconds=300,
        array="5_[3-12%2]",
    )
    assert (odd.name, odd.limit_seconds, odd.start) == ("new\nline|x\ttab 123", 88_200, AT + 26)
    assert (endless.name, endless.limit_seconds) == ("人工智能 — ünï", None)
    assert (plain.billing, plain.reason, plain.nodes) == (1000, "", "gpu01")


def test_a_waiting_job_has_no_start_even_if_slurm_estimates_one() -> None:
    """squeue shows when the scheduler expects a pending job to start."""
    (job,) = text.live_jobs(printed([squeue_row(1, "x", state="PENDING")], MARK), MARK)
    assert (job.start, job.expected) == (None, AT)


@pytest.mark.parametrize(
    ("array", "tasks"),
    [("", 1), ("7_3", 1), ("7_[3-12%2]", 10), ("7_[1,4-6,9]", 5), ("7_[0-99,...]", 100), ("x_[y]", 1)],
)
def test_the_tasks_of_a_waiting_array_are_counted(array: str, tasks: int) -> None:
    """As squeue writes them, cut short or not."""
    assert text.array_tasks(array) == tasks


def test_an_empty_queue_is_no_job() -> None:
    """No row at all is an answer, not a fault."""
    assert text.live_jobs("", MARK) == []


@given(names=st.lists(st.text(max_size=60), max_size=6))
def test_no_name_can_forge_shift_or_hide_a_job(names: list[str]) -> None:
    """Whatever jobs are called, each comes back once, with its own fields."""
    mark = new_mark()
    rows = [squeue_row(id, name) for id, name in enumerate(names, start=1)]
    jobs = text.live_jobs(printed(rows, mark), mark)

    assert [(job.id, job.name) for job in jobs] == list(enumerate(names, start=1))


def test_a_name_that_copies_a_whole_record_stays_a_name() -> None:
    """The mark of another call divides nothing."""
    forged = printed([squeue_row(99, "forged")], new_mark())
    mark = new_mark()
    (job,) = text.live_jobs(printed([squeue_row(1, f"x\n{forged}")], mark), mark)

    assert (job.id, job.name) == (1, f"x\n{forged}")


def test_a_name_of_a_million_letters_is_read_whole() -> None:
    """Nothing is cut or shifted by length."""
    rows = [squeue_row(1, "x" * 1_000_000), squeue_row(2, "y")]
    assert [len(job.name) for job in text.live_jobs(printed(rows, MARK), MARK)] == [1_000_000, 1]


@given(cut=st.integers(min_value=1, max_value=len(SQUEUE) - 2))
def test_a_queue_cut_short_is_never_taken_for_the_whole(cut: int) -> None:
    """Cut anywhere, it is refused, or it is exactly the records before a cut between two."""
    whole = text.live_jobs(SQUEUE, MARK)
    try:
        jobs = text.live_jobs(SQUEUE[:cut], MARK)
    except TextError:
        return
    assert jobs == whole[: len(jobs)]
    assert SQUEUE[:cut].rstrip("\n").endswith(MARK)


@pytest.mark.parametrize(("field", "value"), [(0, "5_[0-3]"), (0, ""), (2, "yesterday"), (3, "soon")])
def test_a_queue_with_a_field_that_makes_no_sense_is_refused(field: int, value: str) -> None:
    """A view with a hole would end a session that lives."""
    row = squeue_row(1, "x")
    row[field] = value
    with pytest.raises(TextError, match="makes no sense"):
        text.live_jobs(printed([row], MARK), MARK)


def test_what_is_not_the_form_asked_for_is_refused() -> None:
    """Such as a warning where records should be."""
    with pytest.raises(TextError, match="not of the form"):
        text.live_jobs("squeue: something\n", MARK)


def test_nodes_are_read_from_22_05() -> None:
    """GPUs, shares of GPUs, cores and flags; a node in two partitions is one node."""
    cpu, gpu, drained = text.live_nodes(SINFO_22, MARK)

    assert cpu == LiveNode(name="cpu01", state="MIXED", partition="cpu", cores=64, cores_used=17)
    assert (gpu.gpus, gpu.gpus_used, gpu.cores_used) == (8, 1.25, 20)
    assert (drained.state, drained.partition, drained.gpus_used) == ("IDLE+DRAIN", "gpu,long", 0)


def test_nodes_are_read_from_24_11() -> None:
    """The indices behind the counts are written differently."""
    cpu, gpu = text.live_nodes(SINFO_24, MARK)
    assert (cpu.gpus, gpu.gpus, gpu.gpus_used) == (0, 8, 1.5)


def test_shards_are_counted_from_the_jobs_where_sinfo_counts_shared_gpus() -> None:
    """Three shards on one GPU are three quarters of it, though sinfo 22.05 says `shard:h800:1`."""
    row = squeue_row(1, "x", tres="cpu=1,billing=750,gres/shard=3")
    row[7] = "gpu01"
    jobs = text.live_jobs(printed([row], MARK), MARK)

    assert [node.gpus_used for node in text.live_nodes(SINFO_22, MARK, jobs)] == [0, 1.75, 0]


def test_finished_jobs_are_read_and_running_ones_left_out() -> None:
    """Cancelled, sent back to the queue, and cancelled before it ever started."""
    (cancelled, requeued, never), faults = text.finished_jobs(SACCT, MARK)

    assert faults == []
    assert cancelled == FinishedJob(
        cluster="aisc",
        id=2,
        submit=AT,
        start=AT + 26,
        end=AT + 249,
        elapsed=223,
        state="CANCELLED",
        user="root",
        account="gtest",
        qos="gtest",
        partition="gpu",
        name="a|b,c;d",
        billing=250,
        tres="billing=250,cpu=4,gres/shard=1,mem=60000M,node=1",
        nodes="gpu01",
    )
    assert (requeued.state, requeued.name, requeued.elapsed) == ("REQUEUED", "new\nline", 222)
    assert (never.start, never.end, never.elapsed, never.billing, never.nodes) == (
        AT + 248,
        AT + 248,
        0,
        0,
        "",
    )


@given(names=st.lists(st.text(max_size=60), max_size=6))
def test_no_name_can_forge_shift_or_hide_a_charge(names: list[str]) -> None:
    """A record of slurmdbd is money."""
    mark = new_mark()
    rows = [
        ["aisc", str(id), "1", "2", "3", "1", "COMPLETED", "u", "ga", "ga", "cpu", "cpu01", "billing=5", name]
        for id, name in enumerate(names, start=1)
    ]
    jobs, faults = text.finished_jobs(printed(rows, mark), mark)

    assert faults == []
    assert [(job.id, job.name, job.billing) for job in jobs] == [
        (id, name, 5) for id, name in enumerate(names, start=1)
    ]


def test_one_senseless_record_does_not_hold_up_the_others() -> None:
    """It is named, and the rest is charged."""
    jobs, faults = text.finished_jobs(SACCT.replace("223", "lots"), MARK)

    assert [job.id for job in jobs] == [4, 6]
    assert len(faults) == 1 and "'2'" in faults[0]


def test_a_record_that_slurmdbd_has_only_half_is_left_for_later() -> None:
    """A very short job is shown without QOS and name at first; booked so, its session would not be found."""
    half = (
        "aiscmXz2mXz1795261776mXz1795261802mXz1795261802mXz0mXzCOMPLETEDmXzrootmXzgtestmXzUnknownmXzcpumXz(unknown)"
        "mXzbilling=10,cpu=1,mem=1000M,node=1mXzallocationmXz\n"
    )
    jobs, faults = text.finished_jobs(half + SACCT, MARK)

    assert ([job.id for job in jobs], faults) == ([2, 4, 6], [])
    assert jobs[0].name == "a|b,c;d"


def test_sdiag_tells_the_queue_to_slurmdbd() -> None:
    """It is the third of three similar lines."""
    sdiag = "Agent queue size:     3\nAgent count:          0\nDBD Agent queue size: 12\n"
    assert text.dbd_queue(sdiag) == 12
    with pytest.raises(TextError):
        text.dbd_queue("Agent queue size: 3\n")


@pytest.mark.parametrize(
    ("limit", "seconds"),
    [
        ("5:00", 300),
        ("1:00:00", 3600),
        ("01:30:00", 5400),
        ("2-00:00:01", 172_801),
        ("UNLIMITED", None),
        ("NOT_SET", None),
    ],
)
def test_time_limits(limit: str, seconds: int | None) -> None:
    """As squeue and sacctmgr write them."""
    assert text.seconds(limit) == seconds


@pytest.mark.parametrize(
    ("tres", "name", "count"),
    [
        ("cpu=2,billing=1024", "billing", 1024),
        ("billing=7", "billing", 7),
        ("cpu=2,gres/gpu=2,gres/gpu:h800=2", "gres/gpu", 2),
        ("mem=16000M", "mem", 0),
        ("", "billing", 0),
    ],
)
def test_counts_in_a_list_of_tres(tres: str, name: str, count: int) -> None:
    """By the whole name; a number with a unit is not a count."""
    assert text.tres_count(tres, name) == count
