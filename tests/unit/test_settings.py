"""Settings: one line for every mistake, naming key, value and what is allowed."""

from pathlib import Path

import pytest

from portal.settings import Settings, SettingsError, Web, load
from portal.sizes import Partition, Size, billing, gres


def of(tmp_path: Path, text: str, **environ: str) -> Settings:
    path = tmp_path / "portal.toml"
    path.write_text(text)
    return load(path, environ)


def test_an_empty_file_gives_the_defaults(tmp_path: Path) -> None:
    """Nothing has to be set to read the settings."""
    assert of(tmp_path, "") == Settings()


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    """One variable for each key."""
    settings = of(tmp_path, "[slurm]\ncluster = 'a'", PORTAL_SLURM__CLUSTER="b")
    assert settings.slurm.cluster == "b"


@pytest.mark.parametrize(
    ("text", "environ", "message"),
    [
        ("[slurm]\nlook_secs = 3", {}, "slurm.look_secs .*unknown setting; allowed here: accounts, bin,"),
        ("colour = 1", {}, "colour .*unknown setting; allowed here: .*database, .*home"),
        ("[slurm]\nlook_seconds = 'soon'", {}, "slurm.look_seconds = 'soon'.*valid number"),
        ("[slurm]\nlook_seconds = 0", {}, "slurm.look_seconds = 0.*greater than or equal to 1"),
        ("[slurm]\naccounts = 'all'", {}, "slurm.accounts = 'all'.*'own' or 'shared'"),
        ("[web]\nurl = 'https://x/hub'", {}, "web.url = 'https://x/hub'.*scheme, host and port only"),
        ("[offer]\ndefault_minutes = 7", {}, "default_minutes 7 is not among"),
        ("", {"PORTAL_SLURM__LOOK": "3"}, "slurm.look.*unknown setting"),
        ("", {"PORTAL_WEB__HUB_PORT": "many"}, "web.hub_port = 'many'"),
        ("slurm = 3", {"PORTAL_SLURM__CLUSTER": "a"}, "PORTAL_SLURM__CLUSTER: slurm is not a section"),
        ("slurm = [", {}, "is not TOML"),
    ],
)
def test_a_wrong_setting_is_one_plain_line(
    tmp_path: Path, text: str, environ: dict[str, str], message: str
) -> None:
    """Key, value, what is allowed."""
    with pytest.raises(SettingsError, match=message) as error:
        of(tmp_path, text, **environ)
    assert "\n" not in str(error.value)


def test_a_missing_file_says_how_to_name_another(tmp_path: Path) -> None:
    """Not a traceback."""
    with pytest.raises(SettingsError, match=r"none.toml: No such file.*PORTAL_SETTINGS"):
        load(tmp_path / "none.toml", {})


def test_a_missing_secret_names_its_file(tmp_path: Path) -> None:
    """And never another secret's content."""
    with pytest.raises(SettingsError, match=r"secret agent\.token: cannot read"):
        Settings(home=tmp_path).secret("agent.token")


def test_every_setting_says_what_it_is_for() -> None:
    """Default and help for each."""
    for name, section in Settings.model_fields.items():
        fields = getattr(section.annotation, "model_fields", {name: section})
        for key, field in fields.items():
            assert field.description or (key in fields and name == "home"), f"{name}.{key} has no help"


GPU = Partition(name="gpu", gpus=8, shards=32, cores=128, memory_mb=2_048_000, accelerator="h800")


@pytest.mark.parametrize(
    ("size", "cost"),
    [
        (Size(id="a", partition="gpu", gpus=1, cores=16, memory_mb=1000), 1000),
        (Size(id="a", partition="gpu", shards=1, cores=4, memory_mb=1000), 250),
        (Size(id="a", partition="gpu", cores=8, memory_mb=1000), 500),
        (Size(id="a", partition="gpu", gpus=1, cores=64, memory_mb=1000), 4000),
        (Size(id="a", partition="gpu", gpus=1, cores=1, memory_mb=512_000), 2000),
    ],
)
def test_a_size_costs_its_largest_share_of_the_node(size: Size, cost: int) -> None:
    """One GPU with half of the cores costs four (accounting.md, Units)."""
    assert billing(size, GPU) == cost


def test_a_request_names_the_accelerator_or_the_shards() -> None:
    """As sbatch's --gres takes it."""
    assert gres(Size(id="a", partition="gpu", gpus=2, cores=1, memory_mb=1), GPU) == "gpu:h800:2"
    assert gres(Size(id="a", partition="gpu", shards=1, cores=1, memory_mb=1), GPU) == "shard:1"
    assert gres(Size(id="a", partition="gpu", cores=1, memory_mb=1), GPU) == ""


def test_a_provider_is_one_setting(tmp_path: Path) -> None:
    """Endpoints as Keycloak has them, known by its issuer; one that is set by itself wins."""
    identity = of(
        tmp_path,
        '[identity]\nissuer = "https://id.hk/realms/a/"\njwks_url = "https://id.hk/keys"',
    ).identity

    assert identity.endpoint("token") == "https://id.hk/realms/a/protocol/openid-connect/token"
    assert identity.endpoint("jwks") == "https://id.hk/keys"
    plain = of(tmp_path, '[identity]\nissuer = "https://id.hk/realms/a"\npaths = "plain"').identity
    assert plain.endpoint("token") == "https://id.hk/realms/a/token"


def test_naming_the_shared_account_shares_it(tmp_path: Path) -> None:
    """One setting instead of two; saying both still works."""
    assert of(tmp_path, '[slurm]\nshared_user = "aisc"').slurm.accounts == "shared"
    assert of(tmp_path, '[slurm]\nshared_user = "aisc"\naccounts = "own"').slurm.accounts == "own"
    assert of(tmp_path, "").slurm.accounts == "own"


def test_the_proxy_stands_behind_tls(tmp_path: Path) -> None:
    """With https another server has the public port; with http the proxy has it."""
    assert of(tmp_path, '[web]\nurl = "https://hub.example.hk"').web.port == 8000
    assert of(tmp_path, '[web]\nurl = "http://localhost:8100"').web.port == 8100


def test_who_ends_tls_counts_as_a_proxy_in_front(tmp_path: Path) -> None:
    """Else every request would seem to come from that server, and one person's refused sign-ins would be everybody's."""
    for url, told, hops in (
        ("https://hub.example.hk", None, 1),
        ("http://localhost:8000", None, 0),
        ("https://hub.example.hk", 2, 2),
        ("https://hub.example.hk", 0, 0),
    ):
        assert Web(url=url, proxies_before=told).hops == hops
