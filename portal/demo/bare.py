"""A bare private Slurm without the rest of the product: for tests, and by hand for experiments."""

from __future__ import annotations

import argparse
import os
import pwd
import subprocess
import sys
from pathlib import Path

from portal.demo import homes, isolation, lifecycle
from portal.demo.cluster import ClusterError, Layout, current_user, prepare, waves
from portal.demo.supervision import SupervisionError
from portal.settings import Offer


class Cluster:
    """A bare cluster for tests and experiments: `start`, then Slurm commands with `env`, then `stop`.

    As root the daemons and jobs run as the system user of the demonstration, unless `user` says otherwise. python: of
    the environment to run from, which that user must be able to read.
    """

    def __init__(self, home: Path, base: int, user: str = "", python: Path = Path(sys.executable)) -> None:
        if os.getuid() == 0 and not user:
            user = isolation.system_user(home).pw_name
        self.layout = Layout(home, base, Offer().partitions, user=user or current_user())
        self.home, self.conf, self.env = home, self.layout.conf, self.layout.environment
        self._python = python
        self._process: subprocess.Popen[str] | None = None

    def start(self, limit: float = 120) -> None:
        """Return when every node is idle.

        Raises:
            ClusterError: it does not come up.
        """
        self._process = subprocess.Popen(
            [
                *(str(self._python), "-m", "portal.demo.bare", "up", "--home", str(self.home)),
                *("--port", str(self.layout.base), "--user", self.layout.user),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
            cwd="/",  # where no other copy of this package can be taken for the installed one
        )
        assert self._process.stdout
        said = []
        for line in self._process.stdout:
            said.append(line)
            if line.strip().endswith("ready"):
                return
        raise ClusterError("".join(said[-5:]))

    def stop(self) -> None:
        """Cancel what runs and end everything."""
        if self._process is not None:
            self._process.terminate()
            self._process.communicate(timeout=120)
            self._process = None

    def run(self, *command: str, check: bool = True, limit: float = 30) -> str:
        """What a Slurm command prints, run as the user of the cluster, who is also its operator."""
        account = pwd.getpwnam(self.layout.user)
        done = subprocess.run(
            list(command),
            env={**self.env, "HOME": str(self.home)},
            cwd=self.home,
            user=account.pw_uid if os.getuid() == 0 else None,
            group=account.pw_gid if os.getuid() == 0 else None,
            extra_groups=[] if os.getuid() == 0 else None,
            capture_output=True,
            text=True,
            timeout=limit,
            check=False,
        )
        if check and done.returncode != 0:
            raise ClusterError(f"{' '.join(command)} failed: {done.stderr.strip()}")
        return done.stdout


def main() -> int:
    """`python -m portal.demo.bare up --home DIR --port BASE [--user NAME]`: a bare cluster until Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m portal.demo.bare")
    parser.add_argument("verb", choices=["up"])
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--user", default="")
    given = parser.parse_args()
    home = given.home.absolute()
    say = lifecycle.Progress()
    try:
        isolation.die_with_parent()
        isolation.call_ourselves_localhost()
        if os.getuid() == 0:
            account = pwd.getpwnam(given.user) if given.user else isolation.system_user(home)
            homes.make(home)
            os.chown(home, account.pw_uid, account.pw_gid)
            isolation.become(account)
            isolation.die_with_parent()
        layout = Layout(home, given.port, Offer().partitions, user=current_user())
        plan = lifecycle.Plan(
            layout,
            lambda: prepare(layout),
            waves(layout),
            layout.environment,
            welcome=lambda: f"export SLURM_CONF={layout.conf}\nready",
            retry=" ".join(sys.argv),
        )
        return lifecycle.up(plan, say)
    except (
        isolation.IsolationError,
        lifecycle.LifecycleError,
        homes.HomeError,
        ClusterError,
        SupervisionError,
    ) as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
