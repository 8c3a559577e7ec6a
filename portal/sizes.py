"""What is offered: a size of session, the Slurm request it becomes, and what it costs per second.

Pure. Unit of billing: milli-GPUs of the reference accelerator, an integer, the same number as Slurm's `billing` TRES.
Rule (accounting.md, Slurm's `PriorityFlags=MAX_TRES`): the largest share of the node that the job takes, truncated.
"""

from __future__ import annotations

from fractions import Fraction

from pydantic import BaseModel, ConfigDict, Field, model_validator

WHOLE_GPU = 1000


class Partition(BaseModel):
    """A kind of node, as one partition of the cluster.

    gpus, shards, cores: per node. memory_mb: per node, in MiB as Slurm counts.
    accelerator: the type of its GPUs in Slurm (`gres/gpu:h800`). accelerator_label: what people read instead.
    core_rate, memory_gb_rate: milli-GPUs per core and per GiB, only where the nodes have no GPU.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z][a-z0-9-]*$")
    gpus: int = Field(0, ge=0)
    shards: int = Field(0, ge=0)
    cores: int = Field(gt=0)
    memory_mb: int = Field(gt=0)
    accelerator: str = ""
    accelerator_label: str = ""
    core_rate: int = Field(0, ge=0)
    memory_gb_rate: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _has_a_rate(self) -> Partition:
        if not self.gpus and not (self.core_rate and self.memory_gb_rate):
            raise ValueError(f"partition {self.name} has no GPU: it needs core_rate and memory_gb_rate")
        return self

    @property
    def accelerator_name(self) -> str:
        """What people call the accelerator; its name in Slurm where nobody set another."""
        return self.accelerator_label or self.accelerator

    @property
    def per_core(self) -> Fraction:
        return Fraction(WHOLE_GPU * self.gpus, self.cores) if self.gpus else Fraction(self.core_rate)

    @property
    def per_mb(self) -> Fraction:
        return (
            Fraction(WHOLE_GPU * self.gpus, self.memory_mb)
            if self.gpus
            else Fraction(self.memory_gb_rate, 1024)
        )

    @property
    def shards_per_gpu(self) -> int:
        """How many shards make a whole GPU; 0 where the nodes have none."""
        return self.shards // self.gpus if self.gpus else 0

    @property
    def per_shard(self) -> Fraction:
        return Fraction(WHOLE_GPU * self.gpus, self.shards) if self.shards else Fraction(0)

    def weights(self) -> str:
        """The `TRESBillingWeights` of the partition in slurm.conf."""
        parts = [f"CPU={float(self.per_core):g}", f"Mem={float(self.per_mb * 1024):g}G"]
        if self.gpus:
            parts.append(f"GRES/gpu={WHOLE_GPU}")
        if self.shards:
            parts.append(f"GRES/shard={float(self.per_shard):g}")
        return ",".join(parts)


class Size(BaseModel):
    """A size of session as offered. Either whole GPUs, or shards of one, or neither."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(pattern=r"^[a-z][a-z0-9-]*$")
    partition: str
    gpus: int = Field(0, ge=0)
    shards: int = Field(0, ge=0)
    cores: int = Field(gt=0)
    memory_mb: int = Field(gt=0)


def billing(size: Size, partition: Partition) -> int:
    """Milli-GPUs that a job of this size is billed for each second."""
    shares = (
        Fraction(WHOLE_GPU * size.gpus),
        partition.per_shard * size.shards,
        partition.per_core * size.cores,
        partition.per_mb * size.memory_mb,
    )
    return int(max(shares))


def gres(size: Size, partition: Partition) -> str:
    """The `--gres` of a job of this size, such as `gpu:h800:2` or `shard:1`; empty for CPU only."""
    if size.shards:
        return f"shard:{size.shards}"
    if size.gpus:
        return f"gpu:{partition.accelerator}:{size.gpus}" if partition.accelerator else f"gpu:{size.gpus}"
    return ""
