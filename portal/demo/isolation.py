"""Where the demonstration runs: as an ordinary user, on a machine that calls itself localhost.

Standard library alone: this runs before anything is installed.

Slurm's daemons listen on every address, or (`NoInAddrAny`) on the one that the machine's own name stands for, which
may be public or unknown. So the daemons get a name of their own, `localhost`, in a UTS namespace that they alone see.
"""

from __future__ import annotations

import ctypes
import grp
import os
import pwd
import shutil
import signal
import socket
import subprocess
from pathlib import Path

from portal.terminal import gettext as _

SYSTEM_USER = "aisc-portal"
CLONE_NEWUTS = 0x04000000
CLONE_NEWUSER = 0x10000000
PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None, use_errno=True)


class IsolationError(Exception):
    """The machine does not allow what is needed. The message is one sentence with the fix."""


def system_user(home: Path) -> pwd.struct_passwd:
    """Return the system user of the demonstration, made if there is none yet. Needs root."""
    try:
        return pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        pass
    tool = shutil.which("useradd", path="/usr/sbin:/sbin:/usr/bin") or "useradd"
    command = [tool, "--system", "--user-group", "--no-create-home", "--home-dir", str(home)]
    made = subprocess.run(
        [*command, "--shell", "/usr/sbin/nologin", SYSTEM_USER], capture_output=True, text=True, check=False
    )
    try:
        return pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        raise IsolationError(
            _("The system user {user} cannot be made ({reason}); make it with useradd and try again.").format(
                user=SYSTEM_USER, reason=made.stderr.strip()
            )
        ) from None


def become(user: pwd.struct_passwd) -> None:
    """Give up root for good and be `user`, with no other group than the user's own."""
    if os.getuid() == user.pw_uid:
        return
    os.setgroups([entry.gr_gid for entry in grp.getgrall() if user.pw_name in entry.gr_mem])
    os.setgid(user.pw_gid)
    os.setuid(user.pw_uid)


def call_ourselves_localhost() -> None:
    """Make this process and its children see `localhost` as the machine's name; nobody else does.

    Root needs nothing more; another user becomes itself in a user namespace, which a chroot or a container may forbid:
    then it has to do with the machine's own name, if that stands for 127.0.0.1.
    Call it before any thread is started.

    Raises:
        IsolationError: not allowed, and the machine's own name does not stand for 127.0.0.1 either.
    """
    if socket.gethostname() == "localhost":
        return
    root = os.geteuid() == 0
    uid, gid = os.getuid(), os.getgid()
    if _libc.unshare(CLONE_NEWUTS if root else CLONE_NEWUTS | CLONE_NEWUSER) != 0:
        if _own_name_is_loopback():
            return
        raise IsolationError(
            _(
                "Slurm would listen on public addresses: this system forbids name spaces to ordinary users"
                " ({reason}); put '127.0.0.1 {name}' first in /etc/hosts, or run it as root."
            ).format(reason=os.strerror(ctypes.get_errno()), name=socket.gethostname())
        )
    if not root:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
        Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")
    socket.sethostname("localhost")


def _own_name_is_loopback() -> bool:
    try:
        return socket.gethostbyname(socket.gethostname()) == "127.0.0.1"
    except OSError:
        return False


def die_with_parent(sign: signal.Signals = signal.SIGTERM) -> None:
    """Get `sign` when the parent process is gone, however it went. Undone by a change of user."""
    _libc.prctl(PR_SET_PDEATHSIG, int(sign), 0, 0, 0)
