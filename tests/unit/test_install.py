"""The installer with stand-ins for the programs it runs: dpkg-query, apt-get, sudo and systemctl on PATH."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
ALONE = (
    "__init__.py",
    "terminal.py",
    "demo/__init__.py",
    "demo/install.py",
    "demo/isolation.py",
    "demo/homes.py",
)
ALONE_TOO = ("demo/policy-rc.d", "locale/zh_Hant_HK/LC_MESSAGES/portal.po")
BY_HAND = "apt-get update && apt-get install --no-install-recommends munge slurmdbd"
NOBODY = 65534


class Machine:
    """A folder with the part of the product that runs before anything is installed, and a PATH of stand-ins."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.programs, self.log = folder, folder / "bin", folder / "log"
        for name in (*ALONE, *ALONE_TOO):
            (folder / "portal" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(CHECKOUT / "portal" / name, folder / "portal" / name)
        self.programs.mkdir()
        self.log.touch()
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o777 if path.is_dir() or path == self.log else 0o644)
        self.stand_in("dpkg-query", "echo 'git installed'")

    def stand_in(self, name: str, does: str) -> None:
        """Put a program on PATH that writes down how it was called, and then does this."""
        program = self.programs / name
        program.write_text(f'#!/bin/sh\necho "{name} $*" >>{self.log}\n{does}\n')
        program.chmod(0o755)

    def install(self, **variables: str) -> subprocess.CompletedProcess[str]:
        """Ask for three packages, of which one is there, as an ordinary user."""
        code = (
            "import pathlib, sys; from portal.demo import install\n"
            f"install.POLICY = pathlib.Path('{self.folder}/policy-rc.d')\n"
            "try: install.ensure_debian(['munge', 'git', 'slurmdbd'], print)\n"
            "except install.InstallError as error: sys.exit(str(error))"
        )
        return subprocess.run(
            ["/usr/bin/python3", "-S", "-B", "-c", code],
            cwd=self.folder,
            env={"PATH": f"{self.programs}", "LANG": "C.UTF-8", "PYTHONUTF8": "1", **variables},
            user=NOBODY if os.getuid() == 0 else None,
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )

    @property
    def called(self) -> list[str]:
        return [line for line in self.log.read_text().splitlines() if line.startswith("sudo")]


@pytest.fixture
def machine() -> Iterator[Machine]:
    """Where everybody can read, which pytest's own folders are not."""
    with tempfile.TemporaryDirectory(prefix="aisc-install-") as folder:
        yield Machine(Path(folder))


def test_without_sudo_one_command_is_told(machine: Machine) -> None:
    """Whoever may not install packages gets the one command that somebody else has to run, and nothing is tried."""
    done = machine.install()

    assert done.returncode == 1
    assert done.stderr.strip().endswith(BY_HAND)
    assert machine.called == []


def test_sudo_that_says_no_is_told_the_same_way(machine: Machine) -> None:
    """Not permitted, or wanting a password where nobody is there to type it."""
    machine.stand_in("sudo", "exit 1")
    done = machine.install()

    assert done.returncode == 1
    assert done.stderr.strip().endswith(BY_HAND)
    assert machine.called == ["sudo -n true"]


def test_with_sudo_only_what_was_said_is_run_as_root(machine: Machine) -> None:
    """Every command is shown before the first is run; services stay off while apt-get is at work."""
    machine.stand_in("sudo", "")
    done = machine.install()

    assert done.returncode == 0, done.stderr
    shown = [line.strip() for line in done.stdout.splitlines() if line.startswith("  sudo ")]
    run = [line.replace("sudo -n ", "sudo ") for line in machine.called[1:]]
    assert run == shown
    kinds = [" ".join(word for word in line.split() if word in ("install", "update", "rm")) for line in run]
    assert kinds == ["update", "install", "install", "rm"]
    assert run[2].endswith("install --no-install-recommends munge slurmdbd")


def test_apt_that_fails_is_told_with_its_reason(machine: Machine) -> None:
    """The policy that keeps services off goes even then."""
    machine.stand_in(
        "sudo", 'case "$*" in *slurmdbd*) echo "E: Unable to locate package munge"; exit 100;; esac'
    )
    done = machine.install()

    assert done.returncode == 1
    assert "E: Unable to locate package munge" in done.stderr
    assert BY_HAND in done.stderr
    assert machine.called[-1] == f"sudo -n rm -f {machine.folder}/policy-rc.d"


def test_another_system_is_refused_in_one_sentence(machine: Machine) -> None:
    """Where there is no dpkg-query."""
    (machine.programs / "dpkg-query").unlink()
    done = machine.install()

    assert done.returncode == 1
    assert done.stderr == "This is not Debian: there is no dpkg-query.\n"


def test_the_installer_speaks_the_language_of_the_terminal(machine: Machine) -> None:
    """Before anything is installed, with the standard library alone."""
    done = machine.install(LC_ALL="zh_HK.UTF-8")

    assert "只有 root" in done.stderr
    assert BY_HAND in done.stderr
