"""The lines of slurm.conf on which prices and limits rest (accounting.md, row "cluster"), from the kinds of node offered."""

from __future__ import annotations

from collections.abc import Sequence

from portal.sizes import Partition

ENFORCED = "associations,limits,qos,safe"


def cluster_lines(partitions: Sequence[Partition]) -> list[str]:
    """What holds for the whole cluster."""
    kinds = [partition.accelerator for partition in partitions if partition.gpus and partition.accelerator]
    tres = ["gres/gpu", *dict.fromkeys(f"gres/gpu:{kind}" for kind in kinds), "gres/shard"]
    return [
        f"AccountingStorageEnforce={ENFORCED}",
        f"AccountingStorageTRES={','.join(tres)}",
        "PriorityType=priority/multifactor",
        "PriorityFlags=MAX_TRES",
        "GresTypes=gpu,shard",
    ]


def partition_options(partition: Partition) -> str:
    """What is added to the line of a partition.

    A job that names no memory gets its share of cores, not the whole node, which it would have to pay.
    """
    memory = partition.memory_mb // partition.cores
    return f'DefMemPerCPU={memory} TRESBillingWeights="{partition.weights()}"'


def lines(partitions: Sequence[Partition]) -> str:
    """All of it, to be put into an existing slurm.conf."""
    added = [f"PartitionName={partition.name} {partition_options(partition)}" for partition in partitions]
    return "\n".join([*cluster_lines(partitions), *added])
