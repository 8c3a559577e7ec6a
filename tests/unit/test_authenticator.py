"""The ID token is believed only if everything about it holds; an outage of the provider signs nobody out."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from portal.hub.authenticator import PortalAuthenticator
from portal.hub.refusal import Refusal
from portal.settings import Settings

OURS = rsa.generate_private_key(public_exponent=65537, key_size=2048)
FOREIGN = rsa.generate_private_key(public_exponent=65537, key_size=2048)


class Provider(ThreadingHTTPServer):
    """Says what a test tells it to: user info, keys, and the status of each path."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.status: dict[str, int] = {}
        self.user_info: dict[str, Any] = {"sub": "ann", "name": "Ann", "groups": ["aisc-officers", "other"]}
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class _Answer(BaseHTTPRequestHandler):
    server: Provider

    def do_GET(self) -> None:
        jwk = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(OURS.public_key())) | {"kid": "k", "use": "sig"}
        self._say({"/me": self.server.user_info, "/jwks": {"keys": [jwk]}}.get(self.path, {}))

    def do_POST(self) -> None:
        self._say({"error": "invalid_grant"})

    def _say(self, body: dict[str, Any]) -> None:
        self.send_response(self.server.status.get(self.path, 200))
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, *_args: Any) -> None:
        """Tests print nothing."""


@pytest.fixture
def provider() -> Iterator[Provider]:
    server = Provider()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def authenticator(provider: Provider, tmp_path: Any) -> PortalAuthenticator:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "hub.token").write_text("token")
    settings = Settings.model_validate(
        {"home": tmp_path, "identity": {"issuer": provider.url}, "web": {"portal_port": 1}}
    )
    return PortalAuthenticator(
        portal=settings,
        userdata_url=f"{provider.url}/me",
        token_url=f"{provider.url}/token",
        enable_auth_state=True,
        manage_groups=True,
        http_request_kwargs={"connect_timeout": 1, "request_timeout": 1},
    )


def token(issuer: str, key: Any = OURS, algorithm: str = "RS256", **changed: Any) -> dict[str, Any]:
    """A token answer of the provider with a good ID token, but for what is changed; None leaves a claim out."""
    now = int(time.time())
    claims = {"iss": issuer, "aud": "aisc-portal", "sub": "ann", "iat": now, "exp": now + 60, "amr": ["mfa"]}
    claims = {name: value for name, value in (claims | changed).items() if value is not None}
    signed = jwt.encode(claims, key, algorithm=algorithm, headers={"kid": "k"})
    return {"access_token": "a", "token_type": "bearer", "id_token": signed}


async def test_a_good_token_brings_its_amr(provider: Provider, authenticator: PortalAuthenticator) -> None:
    """The second factor is read from the signed token; what user info says about it does not count."""
    provider.user_info["amr"] = ["mfa", "forged"]
    info = await authenticator.token_to_user(token(provider.url, amr=["pwd"]))
    assert (info["sub"], info["amr"]) == ("ann", ["pwd"])


@pytest.mark.parametrize(
    "forged",
    [
        {"iss": "https://another.example"},
        {"aud": "another-client"},
        {"sub": "bob"},
        {"iss": None},
        {"aud": None},
        {"sub": None},
        {"exp": None},
        {"key": FOREIGN},
        {"key": None, "algorithm": "none"},
    ],
    ids=lambda forged: "-".join(
        f"{name}:{value}" if name != "key" else "key" for name, value in forged.items()
    ),
)
async def test_a_token_that_does_not_hold_is_refused(
    provider: Provider, authenticator: PortalAuthenticator, forged: dict[str, Any]
) -> None:
    """Another issuer, audience, person or key, a claim missing, or no signature: a page that says so."""
    with pytest.raises(Refusal) as refused:
        await authenticator.token_to_user(token(provider.url, **forged))
    assert refused.value.status_code == 403


async def test_our_public_key_is_no_shared_secret(
    provider: Provider, authenticator: PortalAuthenticator
) -> None:
    """Everybody knows the public key: a token signed with it as a password must not pass."""
    public = OURS.public_key().public_numbers().n.to_bytes(256)
    with pytest.raises(Refusal):
        await authenticator.token_to_user(token(provider.url, key=public, algorithm="HS256"))


@pytest.mark.parametrize("missing", [{"id_token": ""}, {"id_token": "a.b.c"}, {"id_token": None}], ids=str)
async def test_no_token_is_no_sign_in(
    provider: Provider, authenticator: PortalAuthenticator, missing: dict[str, Any]
) -> None:
    """User info alone proves nothing about the second factor."""
    with pytest.raises(Refusal):
        await authenticator.token_to_user(token(provider.url) | missing)


async def test_without_a_second_factor_not_even_an_officer_signs_in(
    authenticator: PortalAuthenticator,
) -> None:
    """The check comes before any rule about groups."""
    state = {"oauth_user": {"amr": ["pwd"], "groups": ["aisc-officers"]}}
    with pytest.raises(Refusal, match="second factor") as refused:
        await authenticator.check_allowed("p", {"auth_state": state, "admin": True, "groups": ["officer"]})
    assert refused.value.step is not None


async def test_only_our_roles_become_groups(authenticator: PortalAuthenticator) -> None:
    """The provider's other groups stay outside."""
    state = {"oauth_user": {"groups": ["aisc-officers", "staff", "admin"]}}
    assert await authenticator.get_user_groups(state) == {"officer"}


class Known:
    """A person who signed in before."""

    def __init__(self, name: str, state: dict[str, Any] | None) -> None:
        self.name, self._state = name, state

    async def get_auth_state(self) -> dict[str, Any] | None:
        return self._state


def known(authenticator: PortalAuthenticator, issuer: str, **changed: Any) -> Known:
    answer = token(issuer, **changed)
    name = authenticator.user_info_to_username({"sub": "ann"})
    return Known(name, {"token_response": answer, "refresh_token": "r"})


@pytest.mark.parametrize(
    ("status", "stays"),
    [
        ({"/me": 503}, True),
        ({"/me": 500}, True),
        ({"/me": 401, "/token": 503}, True),
        ({"/me": 401, "/token": 400}, False),
        ({"/me": 403, "/token": 401}, False),
    ],
    ids=str,
)
async def test_a_refresh_believes_a_refusal_and_not_an_outage(
    provider: Provider, authenticator: PortalAuthenticator, status: dict[str, int], stays: bool
) -> None:
    """Trouble at the provider changes nothing; an account that it refuses has to sign in again."""
    provider.status = status
    assert await authenticator.refresh_user(known(authenticator, provider.url)) is stays


async def test_a_refresh_with_the_provider_gone_changes_nothing(
    provider: Provider, authenticator: PortalAuthenticator
) -> None:
    """Nobody listens at all."""
    authenticator.userdata_url = "http://127.0.0.1:1/me"
    assert await authenticator.refresh_user(known(authenticator, provider.url)) is True


async def test_a_refresh_reads_the_old_token_again(
    provider: Provider, authenticator: PortalAuthenticator
) -> None:
    """The ID token of the morning has expired by noon; the access token still answers."""
    model = await authenticator.refresh_user(known(authenticator, provider.url, exp=int(time.time()) - 60))
    assert (model["groups"], authenticator.names[model["name"]]) == (["officer"], "Ann")
    await authenticator.watch._client.close()


def test_sign_out_names_the_person_and_comes_back(authenticator: PortalAuthenticator) -> None:
    """With the ID token the provider needs no second question."""
    url = authenticator.sign_out_url("abc")
    assert "id_token_hint=abc" in url
    assert "post_logout_redirect_uri=http%3A%2F%2Flocalhost%3A8000%2Fhub%2Fsigned-out" in url
    assert "id_token_hint" not in authenticator.sign_out_url(None)
