"""`portal demo up|down|status|clean`: the demonstration on one machine, as `make run` uses it."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from portal.demo import homes, isolation, lifecycle, stack, supervision
from portal.demo.cluster import ClusterError
from portal.demo.homes import HomeError
from portal.demo.install import BEGAN
from portal.demo.isolation import IsolationError
from portal.demo.lifecycle import LifecycleError
from portal.demo.postgresql import PostgresError
from portal.demo.supervision import SupervisionError
from portal.settings import SettingsError
from portal.terminal import gettext as _

app = typer.Typer(no_args_is_help=True)

STOP_SECONDS = 90


def _home() -> Path:
    return homes.chosen(Path.cwd(), dict(os.environ))


def _began() -> float | None:
    """When the installer began, where it was what started us."""
    return float(os.environ[BEGAN]) if BEGAN in os.environ else None


@contextmanager
def _one_sentence() -> Iterator[None]:
    try:
        yield
    except (
        *(ClusterError, HomeError, IsolationError, LifecycleError, PostgresError, SupervisionError),
        SettingsError,
    ) as error:
        print(error, file=sys.stderr)
        raise typer.Exit(1) from None


@app.command(help=_("Start everything in PORTAL_HOME at PORTAL_PORT, and stay until Ctrl-C."))
def up(
    leashed: Annotated[bool, typer.Option(hidden=True)] = False,
) -> None:
    """leashed: end when the parent process ends."""
    with _one_sentence():
        isolation.call_ourselves_localhost()
        home = _home()
        if os.geteuid() == 0:
            homes.make(home)
            user = isolation.system_user(home)
            os.chown(home, user.pw_uid, user.pw_gid)
            isolation.become(user)
        os.umask(0o077)  # databases, logs and people's files: for us alone
        if leashed:
            isolation.die_with_parent()
        environ = dict(os.environ)
        site = stack.Site(home, homes.port(environ), homes.database(home, environ))
        raise typer.Exit(lifecycle.up(stack.plan(site), lifecycle.Progress(_began())))


@app.command(help=_("Stop what runs in PORTAL_HOME, as Ctrl-C there would."))
def down() -> None:
    home = _home()
    if not homes.running(home):
        print(_("nothing runs in {folder}").format(folder=home))
        return
    os.kill(int((home / "lock").read_text()), signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS
    while homes.running(home):
        if time.monotonic() > deadline:
            told = _("it still runs in {folder} after {seconds} s; see {logs}")
            print(told.format(folder=home, seconds=STOP_SECONDS, logs=home / "logs"), file=sys.stderr)
            raise typer.Exit(1)
        time.sleep(0.2)


@app.command(help=_("Every process of PORTAL_HOME and its state; exit 1 if one is down or nothing runs."))
def status() -> None:
    states = supervision.states(_home())
    for state in states:
        print(
            f"{state.name:18} {state.state:9} {state.pid or '':>7}  {state.why if not state.alive else ''}".rstrip()
        )
    raise typer.Exit(0 if states and all(state.alive for state in states) else 1)


@app.command(help=_("Remove PORTAL_HOME with all its state."))
def clean() -> None:
    home = _home()
    with _one_sentence():
        said = _("removed {folder}") if homes.remove(home) else _("there is nothing at {folder}")
        print(said.format(folder=home))
