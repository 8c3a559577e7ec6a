"""Three rings, one arrow: APP uses EDGE and PURE, EDGE uses PURE, PURE knows neither (docs/architecture.md)."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PURE = {
    "units",
    "ledger",
    "audit",
    "forecast",
    "reasons",
    "grants",
    "sizes",
    "policy",
    "pricing",
    "identity",
    "locale",
    "look",
}
TEXT_TO_RECORDS = "portal/slurm/text.py"
EDGE = {"settings", "store", "slurm", "client"}
FORBIDDEN_NAMES = {"utils", "common", "helpers", "errors"}
PROCESSES = ("portal/slurm/", "portal/demo/", "spawners/")
IO_IN_PURE = {"sqlalchemy", "httpx", "subprocess", "socket", "time", "asyncio"}


def modules() -> list[Path]:
    return sorted([*ROOT.glob("portal/**/*.py"), *ROOT.glob("spawners/**/*.py")])


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def ring(name: str) -> int:
    """0 for PURE, 1 for EDGE, 2 for APP."""
    parts = name.split(".")
    if parts[0] == "spawners":
        return 2
    place = parts[1] if len(parts) > 1 else ""
    return 0 if place in PURE or not place else 1 if place in EDGE else 2


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def ours(name: str) -> str:
    """The module of ours that an imported name lies in."""
    parts = name.split(".")
    while parts and not (ROOT / "/".join(parts)).is_dir() and not (ROOT / f"{'/'.join(parts)}.py").is_file():
        parts.pop()
    return ".".join(parts)


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_every_import_points_inwards(path: Path) -> None:
    """No module uses a ring further out than its own, and portal never uses spawners."""
    mine = name_of(path)
    for name in imports(path):
        target = ours(name)
        if name.split(".")[0] not in ("portal", "spawners") or target in ("portal", ""):
            continue
        assert ring(target) <= ring(mine), f"{mine} may not import {name}"
        assert not (mine.startswith("portal.") and target.startswith("spawners")), f"{mine} imports {name}"


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_processes_and_databases_are_started_in_one_place(path: Path) -> None:
    """`subprocess` where Slurm or the demonstration is run, SQL in the store alone."""
    place = str(path.relative_to(ROOT))
    used = {name.split(".")[0] for name in imports(path)}
    if not place.startswith(PROCESSES):
        assert "subprocess" not in used
        assert "create_subprocess" not in path.read_text()
    if not place.startswith("portal/store/"):
        assert not used & {"sqlalchemy", "alembic", "sqlite3", "psycopg"} or place in ALSO_SQL
    if (ring(name_of(path)) == 0 or place == TEXT_TO_RECORDS) and not place.startswith(
        ("portal/locale", "portal/look")
    ):
        assert not used & IO_IN_PURE, f"{place} is pure"


ALSO_SQL = {"spawners/hub_database.py"}
"""The hub's own database session, to commit a spawner's state right after sbatch (facts: R3)."""


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_no_module_is_a_drawer_for_odds_and_ends(path: Path) -> None:
    """A record and its errors live with the functions that use them."""
    assert path.stem not in FORBIDDEN_NAMES


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_only_settings_reads_the_environment(path: Path) -> None:
    """Every setting has one home; the demonstration and the program on the node make environments instead."""
    place = str(path.relative_to(ROOT))
    readers = ("portal/settings.py", "portal/demo/", "spawners/node.py", "portal/dashboards/live.py")
    if not place.startswith(readers):
        text = path.read_text()
        assert "os.getenv" not in text
        assert "environ.get(" not in text
