"""A private, real Slurm in one folder: munge, MariaDB, slurmdbd, slurmctld and six nodes with simulated GPUs.

Everything runs as one ordinary user, on loopback, on ports and sockets of its own; nothing of /etc/slurm is read or
written, so it runs beside another Slurm. What is not here: accounts and QOS of grants, which the agent makes.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shlex
import shutil
import subprocess
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from portal.demo import processes
from portal.demo.supervision import Program, SupervisionError, accepts, answers
from portal.listeners import Known
from portal.sizes import Partition
from portal.slurm import conf
from portal.terminal import N_
from portal.terminal import gettext as _

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
NODES = {"gpu": 4, "cpu": 2}
"""How many nodes the demonstration has of each partition; one of any other."""


class ClusterError(Exception):
    """The cluster cannot be set up. The message is one sentence with the fix."""


@dataclass(frozen=True)
class Ports:
    """Loopback ports: base + 6 and + 7, then one for each node from base + 11."""

    base: int

    @property
    def slurmctld(self) -> int:
        return self.base + 6

    @property
    def slurmdbd(self) -> int:
        return self.base + 7

    @property
    def nodes(self) -> int:
        return self.base + 11

    def all(self, nodes: int) -> list[int]:
        return [self.slurmctld, self.slurmdbd, *range(self.nodes, self.nodes + nodes)]


@dataclass(frozen=True)
class Layout:
    """Where a private cluster keeps what it needs, below the home folder, and how it is named.

    user: the one Unix user that daemons and jobs run as.
    """

    home: Path
    base: int
    partitions: tuple[Partition, ...]
    name: str = "aisc"
    user: str = ""

    @property
    def ports(self) -> Ports:
        return Ports(self.base)

    @property
    def folder(self) -> Path:
        return self.home / "slurm"

    @property
    def conf(self) -> Path:
        return self.folder / "slurm.conf"

    @property
    def munge_socket(self) -> Path:
        return self.folder / "munge" / "munge.sock"

    @property
    def database_socket(self) -> Path:
        return self.folder / "db-run" / "db.sock"

    @property
    def environment(self) -> dict[str, str]:
        """What a Slurm command needs, and no more."""
        return {"PATH": PATH, "SLURM_CONF": str(self.conf), "TZ": "UTC", "LC_ALL": "C.UTF-8"}

    def nodes(self, partition: Partition) -> list[str]:
        return [f"{partition.name}{number:02}" for number in range(1, NODES.get(partition.name, 1) + 1)]

    @property
    def all_nodes(self) -> list[str]:
        return [node for partition in self.partitions for node in self.nodes(partition)]


def prepare(layout: Layout) -> None:
    """Write every file the daemons read, as the user that will run them. Safe to repeat; keys and state are kept."""
    folder = layout.folder
    for name, mode in (
        ("", 0o755),
        ("munge", 0o755),
        ("db-run", 0o700),
        ("state", 0o700),
        ("spool", 0o755),
        ("run", 0o755),
    ):
        (folder / name).mkdir(exist_ok=True, mode=mode)
        (folder / name).chmod(mode)
    (layout.home / "logs").mkdir(exist_ok=True)
    _keep_key(folder / "munge" / "munge.key")
    _write(layout.conf, slurm_conf(layout), 0o644)
    _write(
        folder / "mark", f"#!/bin/sh\necho export {processes.MARK}={shlex.quote(str(layout.home))}\n", 0o755
    )
    _write(folder / "gres.conf", gres_conf(layout), 0o644)
    _write(folder / "slurmdbd.conf", slurmdbd_conf(layout), 0o600)
    _make_database(layout)


def waves(layout: Layout) -> list[list[Program]]:
    """The daemons in the order they need each other; those of one wave start together."""
    munged, mariadbd, slurmdbd, slurmctld, *nodes = _programs(layout)
    return [[munged, mariadbd], [slurmdbd], [slurmctld], nodes]


def _programs(layout: Layout) -> list[Program]:
    folder, user = layout.folder, layout.user
    environment = {**layout.environment, "MYSQL_UNIX_PORT": str(layout.database_socket)}
    munge = folder / "munge"
    return [
        Program(
            "munged",
            (
                *("/usr/sbin/munged", "--foreground", "--force", f"--socket={layout.munge_socket}"),
                *(f"--key-file={munge}/munge.key", f"--pid-file={munge}/munged.pid"),
                f"--seed-file={munge}/munged.seed",
            ),
            ready=lambda: answers(layout.munge_socket),
            listens=(
                Known(
                    str(layout.munge_socket), N_("Munge vouches for the Unix user of every Slurm command.")
                ),
            ),
        ),
        Program(
            "mariadbd",
            (
                *("/usr/sbin/mariadbd", "--no-defaults", f"--datadir={folder}/db", "--skip-networking"),
                *(f"--socket={layout.database_socket}", f"--pid-file={folder}/db-run/mariadbd.pid"),
                f"--tmpdir={folder}/db-run",  # in a shared one, each that starts removes the others' tables
                *("--innodb-buffer-pool-size=64M", "--innodb-log-file-size=32M"),
                *("--innodb-lock-wait-timeout=900", "--max-allowed-packet=64M", f"--user={user}"),
                # MariaDB 10 takes latin1 otherwise, and slurmdbd keeps ???? for a name in Chinese
                *("--character-set-server=utf8mb4", "--collation-server=utf8mb4_general_ci"),
            ),
            ready=lambda: answers(layout.database_socket),
            limit=60,
            grace=30,
            listens=(
                Known(
                    str(layout.database_socket),
                    N_("MariaDB keeps Slurm's records; slurmdbd alone may enter."),
                ),
            ),
        ),
        Program(
            "slurmdbd",
            ("/usr/sbin/slurmdbd", "-D"),
            environment,
            ready=lambda: accepts(layout.ports.slurmdbd),
            limit=60,
            port=layout.ports.slurmdbd,
            then=lambda: _register(layout),
            own_log=True,
            listens=(_tcp(layout.ports.slurmdbd, N_("slurmdbd answers slurmctld, sacct and sacctmgr.")),),
        ),
        Program(
            "slurmctld",
            ("/usr/sbin/slurmctld", "-D"),
            environment,
            ready=lambda: run(layout, "scontrol", "ping", check=False).returncode == 0,
            limit=60,
            port=layout.ports.slurmctld,
            own_log=True,
            listens=(_tcp(layout.ports.slurmctld, N_("slurmctld answers the nodes and Slurm's commands.")),),
        ),
        *(
            Program(
                node,
                ("/usr/sbin/slurmd", "-D", "-N", node),
                environment,
                ready=lambda node=node: _usable(layout, node),  # type: ignore[misc]
                port=layout.ports.nodes + offset,
                own_log=True,
                listens=(
                    _tcp(layout.ports.nodes + offset, N_("A node takes jobs from slurmctld.")),
                    Known(
                        f"{folder}/spool/{node}/*",
                        N_("The keeper of one job's step takes orders of its node."),
                    ),
                ),
            )
            for offset, node in enumerate(layout.all_nodes)
        ),
    ]


def _tcp(port: int, why: str) -> Known:
    return Known(f"127.0.0.1:{port}", why)


def run(
    layout: Layout, *command: str, check: bool = True, limit: float = 30
) -> subprocess.CompletedProcess[str]:
    """Run a Slurm command of this cluster.

    Raises:
        ClusterError: it failed, and `check` was asked for.
    """
    try:
        done = subprocess.run(
            [f"/usr/bin/{command[0]}", *command[1:]],
            env=layout.environment,
            capture_output=True,
            text=True,
            timeout=limit,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        if check:
            raise ClusterError(
                _("{command} did not answer within {seconds} s.").format(
                    command=command[0], seconds=round(limit)
                )
            ) from None
        return subprocess.CompletedProcess(command, 124, "", "timed out")
    if check and done.returncode != 0:
        said = (done.stderr or done.stdout).strip().replace("\n", " ")
        raise ClusterError(_("{command} failed: {reason}").format(command=" ".join(command), reason=said))
    return done


def slurm_conf(layout: Layout) -> str:
    """The slurm.conf of this cluster, limits enforced (accounting.md, row "cluster")."""
    folder, ports = layout.folder, layout.ports
    accounting = "\n".join(conf.cluster_lines(layout.partitions))
    return f"""\
ClusterName={layout.name}
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={ports.slurmctld}
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmUser={layout.user}
SlurmdUser={layout.user}
AuthType=auth/munge
AuthInfo=socket={layout.munge_socket}
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/run/slurmctld.pid
SlurmdPidFile={folder}/run/%n.pid
SlurmctldSyslogDebug=quiet
SlurmdSyslogDebug=quiet
SlurmctldLogFile={layout.home}/logs/slurmctld.log
SlurmdLogFile={layout.home}/logs/%n.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
TaskProlog={folder}/mark
MpiDefault=none
MailProg=/bin/true
PropagateResourceLimits=NONE
ReturnToService=2
KillWait=5
JobRequeue=0
MaxJobCount=50000
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=5,sched_interval=5,batch_sched_delay=0
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={ports.slurmdbd}
AccountingStoragePass={layout.munge_socket}
{accounting}
JobAcctGatherType=jobacct_gather/none
PriorityDecayHalfLife=14-0
PriorityCalcPeriod=1
{_node_lines(layout)}"""


def _node_lines(layout: Layout) -> str:
    lines, port = [], layout.ports.nodes
    for partition in layout.partitions:
        names = layout.nodes(partition)
        gres = [f"gpu:{partition.accelerator}:{partition.gpus}" if partition.gpus else ""]
        gres.append(f"shard:{partition.shards}" if partition.shards else "")
        offered = ",".join(filter(None, gres))
        lines += [
            f"NodeName={name} NodeHostname=localhost NodeAddr=127.0.0.1 Port={port + offset}"
            f" CPUs={partition.cores} RealMemory={partition.memory_mb}{f' Gres={offered}' if offered else ''}"
            f" State=UNKNOWN"
            for offset, name in enumerate(names)
        ]
        port += len(names)
        lines.append(
            f"PartitionName={partition.name} Nodes={','.join(names)} MaxTime=INFINITE State=UP"
            f" Default={'YES' if partition is layout.partitions[0] else 'NO'}"
            f" {conf.partition_options(partition)}"
        )
    return "\n".join(lines) + "\n"


def gres_conf(layout: Layout) -> str:
    """Simulated GPUs: any file serves as a device, accounting and CUDA_VISIBLE_DEVICES are real."""
    lines = ["AutoDetect=off"]
    for partition in layout.partitions:
        nodes = ",".join(layout.nodes(partition))
        if partition.gpus:
            kind = f" Type={partition.accelerator}" if partition.accelerator else ""
            files = ",".join(_devices(partition.gpus))
            lines.append(f"NodeName={nodes} Name=gpu{kind} Count={partition.gpus} File={files}")
        if partition.shards:
            lines.append(f"NodeName={nodes} Name=shard Count={partition.shards}")
    return "\n".join(lines) + "\n"


def _devices(count: int) -> list[str]:
    """Device files that stand for GPUs. Nothing opens them, but Slurm wants them to exist and to be devices."""
    there = [path for path in Path("/dev").iterdir() if path.is_char_device()]
    there.sort(
        key=lambda path: (not path.name.startswith("tty"), path.name == "tty", len(path.name), path.name)
    )
    if len(there) < count:
        raise ClusterError(
            _(
                "/dev has only {found} character devices and {wanted} are to stand for the GPUs of a node: mount a"
                " complete /dev."
            ).format(found=len(there), wanted=count)
        )
    return [str(path) for path in there[:count]]


def slurmdbd_conf(layout: Layout) -> str:
    return f"""\
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={layout.ports.slurmdbd}
CommunicationParameters=NoInAddrAny
SlurmUser={layout.user}
AuthType=auth/munge
AuthInfo=socket={layout.munge_socket}
PidFile={layout.folder}/run/slurmdbd.pid
DebugLevelSyslog=quiet
LogFile={layout.home}/logs/slurmdbd.log
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser={layout.user}
StorageLoc=slurm_acct_db
"""


def _make_database(layout: Layout) -> None:
    """The database answers to one Unix user and to no password."""
    data = layout.folder / "db"
    if (data / "mysql").is_dir() and not (layout.folder / "db.unfinished").exists():
        return
    (layout.folder / "db.unfinished").touch()
    shutil.rmtree(data, ignore_errors=True)
    made = subprocess.run(
        [
            *("/usr/bin/mariadb-install-db", "--no-defaults", f"--datadir={data}", f"--user={layout.user}"),
            *("--auth-root-authentication-method=socket", f"--auth-root-socket-user={layout.user}"),
            *("--skip-test-db", f"--tmpdir={layout.folder}/db-run"),
        ],
        env={"PATH": PATH, "LC_ALL": "C.UTF-8", "HOME": str(layout.home)},
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode != 0:
        said = (made.stderr or made.stdout).strip().splitlines()
        raise ClusterError(
            _("The database for slurmdbd cannot be made: {reason}").format(
                reason=said[-1] if said else _("it gave no reason")
            )
        )
    (layout.folder / "db.unfinished").unlink()


def _register(layout: Layout) -> None:
    """slurmctld starts only where slurmdbd knows its cluster; safe to repeat."""
    deadline = time.monotonic() + 20
    while True:
        known = run(layout, "sacctmgr", "-nP", "list", "cluster", "format=cluster", check=False)
        if known.returncode == 0:
            break
        if time.monotonic() > deadline:
            raise SupervisionError(
                _("slurmdbd does not answer sacctmgr: {reason}").format(reason=known.stderr.strip())
            )
        time.sleep(0.2)
    if layout.name not in known.stdout.split():
        run(layout, "sacctmgr", "-i", "add", "cluster", layout.name)


def _usable(layout: Layout, node: str) -> bool:
    shown = run(layout, "sinfo", "-h", "-N", "-n", node, "-o", "%t", check=False).stdout.split()
    return bool(shown) and shown[0] in ("idle", "mix", "alloc")


def _keep_key(path: Path) -> None:
    if not path.exists() or path.stat().st_size < 32:
        _write_bytes(path, secrets.token_bytes(1024), 0o600)


def _write(path: Path, text: str, mode: int) -> None:
    _write_bytes(path, text.encode(), mode)


def _write_bytes(path: Path, content: bytes, mode: int) -> None:
    """Replace a file whole, never readable by more than `mode` says."""
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as out:
        out.write(content)
    fresh.chmod(mode)
    fresh.replace(path)


def current_user() -> str:
    return pwd.getpwuid(os.getuid()).pw_name


def running_jobs(layout: Layout) -> list[str]:
    """Ids of the jobs that hold nodes now."""
    shown = run(
        layout,
        "squeue",
        "-h",
        "-t",
        "RUNNING,SUSPENDED,COMPLETING,CONFIGURING,STOPPED",
        "-o",
        "%A",
        check=False,
    )
    return shown.stdout.split()


def jobs_started_before(layout: Layout, instant: int) -> list[str]:
    """Ids of the jobs that Slurm holds for running since `instant` or longer. Seconds since 1970."""
    shown = run(layout, "squeue", "-h", "-t", "RUNNING,SUSPENDED,COMPLETING", "-o", "%A %S").stdout
    started = [line.split() for line in shown.splitlines()]
    return [job for job, at in started if _seconds(at) <= instant]


def _seconds(text: str) -> int:
    return int(datetime.strptime(text, "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC).timestamp())


def unwritten(layout: Layout) -> int:
    """Messages that slurmctld has yet to hand to slurmdbd."""
    for line in run(layout, "sdiag").stdout.splitlines():
        if line.startswith("DBD Agent queue size:"):
            return int(line.split(":")[1])
    return 0


def close_partitions(layout: Layout) -> None:
    """Start no more jobs; what waits stays in the queue."""
    for partition in layout.partitions:
        run(layout, "scontrol", "update", f"PartitionName={partition.name}", "State=DOWN", check=False)


def open_partitions(layout: Layout) -> None:
    for partition in layout.partitions:
        run(layout, "scontrol", "update", f"PartitionName={partition.name}", "State=UP")
