"""The secrets that our processes show each other: one file each in the folder of secrets, for our user alone."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

CLIENT_SECRET = "oidc-client.secret"
"""What the identity provider gave us; only the demonstration makes one up."""
OURS = (
    *("agent.token", "cookie_secret", "crypt_key", "dash-hub.token", "dashboards.token", "hub.token"),
    *("portal-hub.token", "portal.key", "proxy-check.token", "proxy.token"),
)
NEEDED = (*OURS, CLIENT_SECRET)


def make(folder: Path, names: tuple[str, ...] = OURS) -> list[str]:
    """Make the secrets that are missing, and return their names; those that are there stay."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.chmod(0o700)
    missing = [name for name in names if not ((folder / name).exists() and (folder / name).stat().st_size)]
    for name in missing:
        descriptor = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as out:
            out.write(secrets.token_hex(32))
    return missing
