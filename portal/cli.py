"""The command line: `portal serve`, `portal agent`, `portal dashboards`, `portal migrate`, `portal doctor`, ..."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from portal import logs
from portal import settings as settings_module
from portal.settings import Settings, SettingsError
from portal.terminal import gettext as _
from portal.terminal import ngettext

if TYPE_CHECKING:
    from portal.store import Db  # SQLAlchemy is loaded only where it is needed

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
ledger = typer.Typer(no_args_is_help=True, help=_("Look into the ledger."))
app.add_typer(ledger, name="ledger")
slurm = typer.Typer(no_args_is_help=True, help=_("Look at what Slurm is told to enforce."))
app.add_typer(slurm, name="slurm")
audit = typer.Typer(no_args_is_help=True, help=_("Look into the audit."))
app.add_typer(audit, name="audit")


def _settings() -> Settings:
    try:
        return settings_module.load()
    except SettingsError as error:
        print(error, file=sys.stderr)
        raise typer.Exit(2) from None


@app.command(help=_("Run the portal service."))
def serve() -> None:
    from portal.service.main import run
    from portal.store import StoreError

    logs.configure()
    try:
        run(_settings())
    except (StoreError, SettingsError) as error:
        print(error, file=sys.stderr)
        raise typer.Exit(1) from None


@app.command(help=_("Run the Slurm agent."))
def agent() -> None:
    from portal.agent import run

    logs.configure()
    run(_settings())


@app.command(help=_("Run the dashboards."))
def dashboards() -> None:
    from portal.dashboards.server import run

    logs.configure()
    run(_settings())


@app.command(help=_("Bring the portal's database to this version's shape; safe to repeat."))
def migrate() -> None:
    from portal.store import StoreError, connect, writer
    from portal.store import migrate as bring

    try:
        engine = connect(_settings().database_url)
        with writer(engine):
            bring(engine)
    except (StoreError, SettingsError) as error:
        print(error, file=sys.stderr)
        raise typer.Exit(1) from None


@app.command(help=_("Run the proxy, the one address that browsers use."))
def proxy() -> None:
    from portal.demo import proxy as program

    program.main()


@app.command(
    help=_("Make the keys and tokens that our processes show each other; those that are there stay.")
)
def secrets() -> None:
    from portal import keys

    settings = _settings()
    made = keys.make(settings.secrets)
    print(_("made in {folder}: {names}").format(folder=settings.secrets, names=", ".join(made) or "-"))


@slurm.command(name="conf", help=_("Print the lines that slurm.conf needs for prices and limits to hold."))
def show_conf() -> None:
    from portal.slurm.conf import lines

    print(lines(_settings().offer.partitions))


@slurm.command(
    name="plan",
    help=_("Print the calls of sacctmgr that would bring Slurm to the portal's wish; change nothing."),
)
def show_plan() -> None:
    from portal.agent import FAULTS, plan

    try:
        planned = plan(_settings())
    except (SettingsError, *FAULTS) as error:
        print(error, file=sys.stderr)
        raise typer.Exit(1) from None
    for fault in planned.faults:
        print(fault, file=sys.stderr)
    for call in planned.calls:
        print("sacctmgr", "-i", *call)
    print(_("{calls} calls, {faults} faults").format(calls=len(planned.calls), faults=len(planned.faults)))
    raise typer.Exit(1 if planned.faults else 0)


@ledger.command(
    name="verify",
    help=_("Check the whole chain of the ledger; name every line that was edited, removed or moved."),
)
def verify_ledger() -> None:
    from portal.ledger import faults
    from portal.store import books

    with _records() as db:
        links = list(books.chain(db))
    _verdict(list(faults(links)), len(links))


@audit.command(
    name="verify",
    help=_("Check the whole chain of the audit; name every line that was edited, removed or moved."),
)
def verify_audit() -> None:
    from portal.audit import faults
    from portal.store import audit as kept

    with _records() as db:
        links = list(kept.chain(db))
    _verdict(list(faults(links)), len(links))


@contextmanager
def _records() -> Iterator[Db]:
    """One view of the portal's database; exit 1 and one sentence if it cannot be opened."""
    from portal.store import Store, StoreError, connect

    settings = _settings()
    try:
        engine = connect(settings.database_url)
        store = Store(engine)
    except (StoreError, SettingsError) as error:
        print(error, file=sys.stderr)
        raise typer.Exit(1) from None
    with store.read() as db:
        yield db
    engine.dispose()


def _verdict(found: list[str], lines: int) -> None:
    """Print the faults of a chain and how many lines it has; exit 0 when there are none."""
    for fault in found:
        print(fault)
    print(
        ngettext("{lines} line, {faults} faults", "{lines} lines, {faults} faults", lines).format(
            lines=lines, faults=len(found)
        )
    )
    raise typer.Exit(1 if found else 0)


@app.command(help=_("Look at every part and setting, one line each; exit 0 when all is well."))
def doctor(
    quiet: Annotated[bool, typer.Option("--quiet", help=_("Show only what is not well."))] = False,
    listeners: Annotated[
        bool,
        typer.Option("--listeners", help=_("Show every listening socket, its owner and its reason instead.")),
    ] = False,
) -> None:
    from portal.doctor import examine

    if listeners:
        _show_listeners(quiet)
    findings = examine(_settings())
    for finding in findings:
        if not (quiet and finding.well):
            print(finding.line)
    raise typer.Exit(0 if all(finding.well for finding in findings) else 1)


def _show_listeners(quiet: bool) -> NoReturn:
    from portal.doctor import listening

    found = listening(_settings())
    for one in found:
        if not (quiet and one.well):
            print(one.line)
    if not found:
        print(
            _("No process of this product can be seen: run this as the user that they run as."),
            file=sys.stderr,
        )
    raise typer.Exit(0 if found and all(one.well for one in found) else 1)


def _demo() -> None:
    try:
        from portal.demo.cli import app as demo
    except ImportError:
        return
    app.add_typer(demo, name="demo", help=_("The whole centre on one machine."))


def main() -> None:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that has no Chinese still gets its lines
    _demo()
    app()


if __name__ == "__main__":
    main()
