"""The secrets of our processes: made once, for our user alone."""

from __future__ import annotations

from pathlib import Path

from portal import keys


def test_missing_secrets_are_made_and_the_others_stay(tmp_path: Path) -> None:
    """A second run changes nothing; an empty file counts as missing; the provider's secret is not made up."""
    folder = tmp_path / "secrets"
    assert set(keys.make(folder)) == set(keys.OURS)
    before = {path.name: path.read_text() for path in folder.iterdir()}
    (folder / "hub.token").write_text("")

    assert keys.make(folder) == ["hub.token"]
    assert keys.CLIENT_SECRET not in before
    assert (folder / "portal.key").read_text() == before["portal.key"]
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    assert folder.stat().st_mode & 0o777 == 0o700
