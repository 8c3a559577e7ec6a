"""The command line: `portal serve`, `portal agent`, `portal dashboards`, `portal migrate`, `portal doctor`, ..."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from portal import logs
from portal import settings as settings_module
from portal.settings import Settings, SettingsError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
ledger = typer.Typer(no_args_is_help=True, help="Look into the ledger.")
app.add_typer(ledger, name="ledger")
slurm = typer.Typer(no_args_is_help=True, help="Look at what Slurm is told to enforce.")
app.add_typer(slurm, name="slurm")


def _settings() -> Settings:
    try:
        return settings_module.load()
    except SettingsError as error:
        print(error, file=sys.stderr)
        raise typer.Exit(2) from None


@app.command()
def serve() -> None:
    """Run the portal service."""
    from portal.service.main import run
    from portal.store import StoreError

    logs.configure()
    try:
        run(_settings())
    except (StoreError, SettingsError) as error:
        print(error, file=sys.stderr)
        raise typer.Exit(1) from None


@app.command()
def agent() -> None:
    """Run the Slurm agent."""
    from portal.agent import run

    logs.configure()
    run(_settings())


@app.command()
def dashboards() -> None:
    """Run the dashboards."""
    from portal.dashboards.server import run

    logs.configure()
    run(_settings())


@app.command()
def migrate() -> None:
    """Bring the portal's database to this version's shape; safe to repeat."""
    from portal.store import StoreError, connect, writer
    from portal.store import migrate as bring

    engine = connect(_settings().database_url)
    try:
        with writer(engine):
            bring(engine)
    except StoreError as error:
        print(error, file=sys.stderr)
        raise typer.Exit(1) from None


@slurm.command(name="plan")
def show_plan() -> None:
    """Print the calls of sacctmgr that would bring Slurm to the portal's wish; change nothing."""
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
    print(f"{len(planned.calls)} calls, {len(planned.faults)} faults")
    raise typer.Exit(1 if planned.faults else 0)


@ledger.command()
def verify() -> None:
    """Check the whole chain of the ledger; name every line that was edited, removed or moved."""
    from portal.ledger import faults
    from portal.store import Store, books, connect

    store = Store(connect(_settings().database_url))
    with store.read() as db:
        found = list(faults(books.chain(db)))
        lines = sum(1 for _ in books.chain(db))
    for fault in found:
        print(fault)
    print(f"{lines} lines, {len(found)} faults")
    raise typer.Exit(1 if found else 0)


@app.command()
def doctor(
    quiet: Annotated[bool, typer.Option("--quiet", help="Show only what is not well.")] = False,
) -> None:
    """Look at every part and setting, one line each; exit 0 when all is well."""
    from portal.doctor import examine

    findings = examine(_settings())
    for finding in findings:
        if not (quiet and finding.well):
            print(finding.line)
    raise typer.Exit(0 if all(finding.well for finding in findings) else 1)


def _demo() -> None:
    try:
        from portal.demo.cli import app as demo
    except ImportError:
        return
    app.add_typer(demo, name="demo", help="The whole centre on one machine.")


def main() -> None:
    _demo()
    app()


if __name__ == "__main__":
    main()
