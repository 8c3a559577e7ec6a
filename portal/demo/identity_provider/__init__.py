"""The identity provider of the demonstration: how to start `provider.ts`, and who can sign in there."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from portal import look
from portal.settings import Settings

FOLDER = Path(__file__).parent
PEOPLE = FOLDER / "people.json"
PROGRAM = FOLDER / "provider.ts"


@dataclass(frozen=True)
class SamplePerson:
    """Somebody who can sign in to the demonstration. id: the subject at the provider, and the name typed in."""

    id: str
    name: str
    password: str
    role: str
    role_zh: str
    groups: tuple[str, ...]
    second_factor: bool
    email: str


def sample_people(path: Path = PEOPLE) -> list[SamplePerson]:
    """The people of a people file, in its order."""
    return [SamplePerson(**{**one, "groups": tuple(one["groups"])}) for one in json.loads(path.read_text())]


def configuration(
    settings: Settings, *, port: int, state: Path, modules: Path, people: Path = PEOPLE
) -> dict[str, Any]:
    """What `provider.ts` reads, to be written as JSON to the file named as its one argument.

    port: loopback port, the one in `settings.identity.issuer`. state: folder for its keys.
    modules: folder whose `node_modules` holds oidc-provider.
    """
    return {
        "port": port,
        "issuer": settings.identity.issuer,
        "client_id": settings.identity.client_id,
        "client_secret_file": str((settings.secrets / "oidc-client.secret").absolute()),
        "redirect_uris": [f"{settings.web.url}/hub/oauth_callback"],
        "post_logout_redirect_uris": [f"{settings.web.url}/hub/signed-out"],
        "people_file": str(people.absolute()),
        "state_dir": str(state.absolute()),
        "modules": str(modules.absolute()),
        "look_dir": str(look.FOLDER.absolute()),
    }
