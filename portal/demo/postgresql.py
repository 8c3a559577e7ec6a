"""A private PostgreSQL in one folder, for the demonstration and for tests: a Unix socket, no port, no password.

The folder of the socket is its owner's alone, and the server asks the system who calls: the owner, or root.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from portal.demo import cluster, isolation
from portal.demo.supervision import Program
from portal.listeners import Known
from portal.terminal import N_
from portal.terminal import gettext as _

VERSIONS = Path("/usr/lib/postgresql")
NAME = "portal"
"""Of the database, and of the role that owns it, which is no superuser."""


WHY = N_("PostgreSQL keeps the records of portal and hub; they alone may enter.")


class PostgresError(Exception):
    """The server cannot be set up. The message is one sentence with the fix."""


@dataclass(frozen=True)
class Server:
    """user: the Unix user that it runs as. durable: whether it outlives a power cut; a test's need not."""

    folder: Path
    user: str
    durable: bool = True

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def sockets(self) -> Path:
        return self.folder / "run"

    def url(self, database: str = NAME, role: str = NAME) -> str:
        """The setting `database.url` for it."""
        return f"postgresql+psycopg://{role}@/{database}?host={quote(str(self.sockets))}"

    @property
    def command(self) -> tuple[str, ...]:
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.sockets),
            "unix_socket_permissions": "0700",
            "shared_buffers": "32MB",
            "fsync": "on" if self.durable else "off",
        }
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return (str(self._bin / "postgres"), "-D", str(self.data), *options)

    @property
    def environment(self) -> dict[str, str]:
        return {"PATH": cluster.PATH, "LC_ALL": "C.UTF-8", "TZ": "UTC"}

    @property
    def program(self) -> Program:
        """For the supervisor. SIGINT: stop without waiting for clients to go."""
        return Program(
            "postgresql",
            self.command,
            self.environment,
            ready=self.answers,
            limit=60,
            grace=30,
            stop_signal="INT",
            listens=(Known(str(self.sockets / ".s.PGSQL.5432"), WHY),),
        )

    def answers(self) -> bool:
        asked = [str(self._bin / "pg_isready"), "--quiet", f"--host={self.sockets}", f"--dbname={NAME}"]
        return subprocess.run(asked, env=self.environment, check=False).returncode == 0

    def prepare(self) -> None:
        """Make the data folder, as the user that will run the server. Safe to repeat; data is kept.

        Raises:
            PostgresError: the server is not installed, or refuses.
        """
        for folder in (self.folder, self.sockets):
            folder.mkdir(exist_ok=True, mode=0o700)
        if self.data.exists():
            self._forget_a_stranger()
            return
        fresh = self.folder / "fresh"
        shutil.rmtree(fresh, ignore_errors=True)
        self._run(
            *("initdb", f"--pgdata={fresh}", f"--username={self.user}", "--auth=peer", "--encoding=UTF8"),
            *("--locale=C.UTF-8", "--no-instructions", *(() if self.durable else ("--no-sync",))),
        )
        (fresh / "pg_hba.conf").write_text("local all all peer map=here\n")
        callers = {(caller, role) for caller in (self.user, "root") for role in (self.user, NAME)}
        (fresh / "pg_ident.conf").write_text("".join(f"here {caller} {role}\n" for caller, role in callers))
        statements = f"create role {NAME} login\ncreate database {NAME} owner {NAME}\n"
        self._run("postgres", "--single", "-D", str(fresh), "postgres", told=statements)
        fresh.rename(self.data)

    def _forget_a_stranger(self) -> None:
        """After a power cut the server's old number may be another program's, and it would hold that for itself."""
        mark = self.data / "postmaster.pid"
        with contextlib.suppress(OSError, ValueError, IndexError):
            pid = int(mark.read_text().split()[0])
            if Path(f"/proc/{pid}/comm").read_text().strip() != "postgres":
                mark.unlink()

    def _run(self, program: str, *words: str, told: str = "") -> None:
        done = subprocess.run(
            [str(self._bin / program), *words],
            env=self.environment,
            input=told,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0 or "ERROR:" in done.stderr:
            said = (done.stderr or done.stdout).strip().splitlines()
            raise PostgresError(
                _("The PostgreSQL database cannot be made: {reason}").format(
                    reason=said[-1] if said else _("it gave no reason")
                )
            )

    @property
    def _bin(self) -> Path:
        """The programs of the version that made the data, or of the newest one."""
        kept = self.data / "PG_VERSION"
        wanted = kept.read_text().strip() if kept.exists() else "*"
        found = sorted(VERSIONS.glob(f"{wanted}/bin/postgres"), key=lambda path: float(path.parts[-3]))
        if not found:
            version = "" if wanted == "*" else f"-{wanted}"
            raise PostgresError(
                _("PostgreSQL is not installed; as root: apt-get install {package}").format(
                    package=f"postgresql{version}"
                )
            )
        return found[-1].parent


def main() -> int:
    """`python -m portal.demo.postgresql DIR`: become such a server, for tests. As root, the demonstration's user's."""
    folder = Path(sys.argv[1]).absolute()
    if os.getuid() == 0:
        account = isolation.system_user(folder)
        os.chown(folder, account.pw_uid, account.pw_gid)
        isolation.become(account)
    isolation.die_with_parent(signal.SIGINT)
    server = Server(folder, cluster.current_user(), durable=False)
    try:
        server.prepare()
    except PostgresError as error:
        print(error, file=sys.stderr)
        return 1
    os.chdir(folder)
    os.execve(server.command[0], server.command, server.environment)


if __name__ == "__main__":
    sys.exit(main())
