"""The demonstration's folder, its files for Slurm, and what /proc tells: all without starting anything."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from portal import doctor
from portal import settings as settings_module
from portal.demo import cluster, homes, install, processes, proxy, supervision
from portal.demo.cluster import Layout
from portal.demo.homes import HomeError
from portal.demo.supervision import Program, Supervisor
from portal.listeners import Listener, decoded
from portal.settings import Offer

HOME = Path("/srv/demo")
LAYOUT = Layout(HOME, 8000, Offer().partitions, user="someone")


@pytest.fixture
def short(tmp_path: Path) -> Iterator[Path]:
    """A folder whose name is short enough, whatever the test is called."""
    link = Path(f"/tmp/aisc-unit-{os.getpid()}")
    link.symlink_to(tmp_path)
    yield link / "home"
    link.unlink()


def test_portal_home_wins(tmp_path: Path) -> None:
    """Whoever names a folder gets that folder."""
    assert homes.chosen(tmp_path, {"PORTAL_HOME": "/srv/x"}) == Path("/srv/x")


def test_a_home_may_be_made_twice(short: Path) -> None:
    """The second start finds the first one's folder and takes it."""
    homes.make(short)
    homes.make(short)

    assert (short / homes.MARK).exists()


def test_a_long_name_is_refused(tmp_path: Path) -> None:
    """Sockets below it would have names that are too long; the sentence tells which length is allowed."""
    with pytest.raises(HomeError, match="at most 60 characters"):
        homes.make(tmp_path / ("x" * 60))


def test_a_folder_with_other_things_is_neither_used_nor_removed(short: Path) -> None:
    """A wrong PORTAL_HOME costs nobody a file."""
    short.mkdir()
    (short / "thesis.txt").touch()

    with pytest.raises(HomeError, match="holds other things"):
        homes.make(short)
    with pytest.raises(HomeError, match="not one of ours"):
        homes.remove(short)
    assert (short / "thesis.txt").exists()


def test_a_home_in_use_is_not_removed(short: Path) -> None:
    """`make clean` while it runs is refused; afterwards it removes everything, and a second time nothing."""
    homes.make(short)
    with homes.locked(short):
        assert homes.running(short)
        with pytest.raises(HomeError, match="already runs"):
            homes.remove(short)

    assert not homes.running(short)
    assert homes.remove(short)
    assert not homes.remove(short)


@pytest.mark.parametrize("written", ["http", "-1", "80", "65001", "8000.0", "٨٠٠٠", " "])
def test_a_wrong_port_is_refused(written: str) -> None:
    """The sentence repeats the value and tells what is allowed."""
    with pytest.raises(HomeError, match="choose a number from 1024 to 65000"):
        homes.port({"PORTAL_PORT": written})


def test_the_port_has_a_default() -> None:
    """Nothing set, or set to nothing, is the usual port."""
    assert homes.port({}) == homes.port({"PORTAL_PORT": ""}) == 8000


@pytest.mark.parametrize(
    ("address", "loopback"),
    [
        ("0100007F", True),
        ("0101007F", True),
        ("00000000", False),
        ("0200000A", False),
        ("00000000000000000000000001000000", True),
        ("00000000000000000000000000000000", False),
        ("0000000000000000FFFF00000100007F", True),
        ("0000000000000000FFFF00000200000A", False),
    ],
)
def test_loopback_is_told_from_the_rest(address: str, loopback: bool) -> None:
    """Addresses as /proc/net/tcp and tcp6 write them."""
    assert Listener("tcp", decoded(address), 80, 1).loopback is loopback


def test_the_holder_of_a_port_is_named() -> None:
    """The sentence about a taken port names the program."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert processes.taken(port)
        assert f"(process {os.getpid()})" in processes.holder(port)

    assert not processes.taken(port)


def test_slurm_enforces_limits_and_listens_on_loopback() -> None:
    """The lines on which the money and the safety rest."""
    written = cluster.slurm_conf(LAYOUT).splitlines()

    assert "AccountingStorageEnforce=associations,limits,qos,safe" in written
    assert "AccountingStorageTRES=gres/gpu,gres/gpu:h800,gres/shard" in written
    assert "PriorityFlags=MAX_TRES" in written
    assert "PriorityType=priority/multifactor" in written
    assert "CommunicationParameters=NoCtldInAddrAny,NoInAddrAny" in written
    assert not [line for line in written if line.startswith("PriorityDecayHalfLife=0")]


def test_every_partition_bills_by_the_weights_of_the_settings() -> None:
    """Slurm and the portal compute the same price, because they read the same rates."""
    written = cluster.slurm_conf(LAYOUT)

    for partition in Offer().partitions:
        assert f'TRESBillingWeights="{partition.weights()}"' in written


def test_every_node_has_a_port_of_its_own() -> None:
    """Six nodes on one machine do not share a port with each other or with the services."""
    written = [line for line in cluster.slurm_conf(LAYOUT).splitlines() if line.startswith("NodeName=")]
    found = [int(line.split("Port=")[1].split()[0]) for line in written]

    assert found == list(range(8011, 8017))


def test_simulated_gpus_are_devices() -> None:
    """Slurm hands out device numbers only for real device files."""
    line = next(line for line in cluster.gres_conf(LAYOUT).splitlines() if "Name=gpu" in line)
    files = line.split("File=")[1].split(",")

    assert len(set(files)) == 8
    assert all(stat.S_ISCHR(Path(file).stat().st_mode) for file in files)


def test_a_percent_sign_is_written_for_the_supervisor(tmp_path: Path) -> None:
    """In the supervisor's file % begins a substitution; a folder may have one in its name."""
    program = Program("one", ("/bin/echo", "50 %"), {"KEY": "10%"})
    text = Supervisor(tmp_path / "a%b")._configuration([program])

    assert "command=/bin/echo '50 %%'" in text
    assert 'environment=KEY="10%%"' in text
    assert "/a%%b/logs/one.log" in text
    assert "stopasgroup=false" in text and "killasgroup=false" in text


def test_nothing_runs_where_nothing_was_started(tmp_path: Path) -> None:
    """Asking for the states of a folder in which nothing runs is no error."""
    assert supervision.states(tmp_path) == []


def test_missing_debian_packages_are_found() -> None:
    """A package that is there is not installed again."""
    assert install.missing_debian(["dpkg", "no-such-package-here"]) == ["no-such-package-here"]


def test_the_first_error_is_the_reason_given() -> None:
    """The one sentence tells apt's or pip's own reason, not its last line."""
    lines = ["Reading lists", "E: Unable to locate package x", "E: more", "Done"]

    assert install._reason(lines) == "E: Unable to locate package x"
    assert install._reason([]) == "it gave no reason"


def test_the_page_of_a_part_that_is_away_needs_nobody(tmp_path: Path) -> None:
    """Both languages in one file without addresses of ours: the hub, which would draw it, may be what is away."""
    settings = settings_module.Settings.model_validate({"home": tmp_path, "site": {"name": "A <b> centre"}})
    written = (proxy.write_away(settings) / "error.html").read_text("utf-8")
    assert "This part does not answer at the moment" in written
    assert 'lang="zh-Hant-HK"' in written
    assert "A &lt;b&gt; centre" in written
    assert "src=" not in written
    assert "url(" not in written


def test_the_settings_of_a_demonstration_name_its_home(tmp_path: Path) -> None:
    """As the README has it: PORTAL_SETTINGS alone; PORTAL_HOME wins, and a centre's own settings are no demonstration."""
    named = {"PORTAL_SETTINGS": str(tmp_path / "portal.toml")}
    assert homes.chosen(Path("/srv"), named) != tmp_path
    (tmp_path / "identity-provider").mkdir()
    assert homes.chosen(Path("/srv"), named) == tmp_path
    assert homes.chosen(Path("/srv"), named | {"PORTAL_HOME": "/srv/x"}) == Path("/srv/x")


def test_the_doctor_says_how_to_get_a_missing_secret(tmp_path: Path) -> None:
    """Ours are made; the one of the identity provider comes from there."""
    settings = settings_module.Settings.model_validate({"home": tmp_path})
    settings.secrets.mkdir()
    told = {finding.part: finding for finding in doctor._secrets(settings)}
    assert not any(finding.well for finding in told.values())
    assert "portal secrets" in told["secret hub.token"].text
    assert "identity provider" in told["secret oidc-client.secret"].text
