"""JupyterHub as this product uses it: sign-in, sessions, routes. `configure` is all a configuration file needs.

The hub listens on loopback behind a proxy that it does not start, keeps its own database, and caches no policy:
who may start what is the portal's answer.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from portal import look
from portal.hub import port_callback
from portal.hub.authenticator import PortalAuthenticator
from portal.hub.language import PortalPages
from portal.settings import Settings

__all__ = ["configure"]

WORKDAY_SECONDS = 8 * 3600
"""Browser sign-ins and personal tokens live this long at most; a server's own token as long as its job."""
REFRESH_SECONDS = 3600
CONNECTIONS = 400
TEMPLATES = Path(__file__).parent / "templates"


def configure(c: Any, settings: Settings) -> None:
    """Fill JupyterHub's configuration from our settings.

    Raises:
        SettingsError: a secret is missing, or others can read the password of the database.
    """
    _addresses(c, settings)
    _secrets(c, settings)
    _services(c, settings)
    _sign_in(c, settings)
    _sessions(c, settings)
    _pages(c, settings)


def _addresses(c: Any, settings: Settings) -> None:
    web = settings.web
    hub = c.JupyterHub
    hub.bind_url = f"http://127.0.0.1:{web.port}"
    hub.hub_bind_url = settings.hub_api_url.removesuffix("/hub/api")
    hub.subdomain_host = web.url
    hub.default_url = "/hub/home"  # the portal itself is on another host: see pages.Home
    hub.cleanup_servers = False
    hub.cleanup_proxy = False
    hub.last_activity_interval = 60
    c.ConfigurableHTTPProxy.should_start = False
    c.ConfigurableHTTPProxy.api_url = f"http://127.0.0.1:{web.proxy_api_port}"
    c.ConfigurableHTTPProxy.auth_token = settings.secret("proxy.token")
    c.JupyterHubHTTPClient.connector_options = {"limit": CONNECTIONS}


def _secrets(c: Any, settings: Settings) -> None:
    hub = c.JupyterHub
    hub.db_url = settings.hub_database_url
    hub.db_kwargs = {"pool_pre_ping": True, "hide_parameters": True}  # parameters name people
    hub.upgrade_db = True
    hub.cookie_secret_file = str((settings.secrets / "cookie_secret").absolute())
    hub.cookie_max_age_days = WORKDAY_SECONDS / 86400
    hub.oauth_token_expires_in = WORKDAY_SECONDS
    hub.token_expires_in_max_seconds = WORKDAY_SECONDS
    hub.oauth_require_pkce = True
    # `__Host-` cookies must be Secure, which browsers accept over https only
    hub.cookie_host_prefix_enabled = urlsplit(settings.web.url).scheme == "https"
    c.CryptKeeper.keys = [key.encode() for key in settings.secret("crypt_key").split(";")]


def _services(c: Any, settings: Settings) -> None:
    web = settings.web
    c.JupyterHub.services = [
        _external("portal", web.portal_port, settings.secret("portal-hub.token")),
        _external("dash", web.dashboards_port, settings.secret("dash-hub.token")),
        {"name": "proxy-check", "api_token": settings.secret("proxy-check.token")},
    ]
    portal, dashboards = "access:services!service=portal", "access:services!service=dash"
    c.JupyterHub.load_roles = [
        {"name": "user", "scopes": ["self", portal, dashboards]},
        # the two stock scopes, and the portal: it finds the session by the token it is shown
        {"name": "server", "scopes": ["users:activity!user", "access:servers!server", portal]},
        # it starts and stops sessions for whoever presses the button; who signs in brings a token of their own
        {
            "name": "portal-service",
            "scopes": ["start:servers", "delete:servers"],
            "services": ["portal"],
        },
        {"name": "proxy-check", "scopes": ["proxy"], "services": ["proxy-check"]},
    ]


def _external(name: str, port: int, token: str) -> dict[str, Any]:
    """A service that somebody else starts. Not in the hub's own menu, whose links leave out the port."""
    return {
        "name": name,
        "url": f"http://127.0.0.1:{port}",
        "api_token": token,
        "oauth_no_confirm": True,
        "display": False,
        # seconds that the hub waits at its start for each; it must come up without them
        "timeout": 1,
    }


def _sign_in(c: Any, settings: Settings) -> None:
    identity = settings.identity
    c.JupyterHub.authenticator_class = PortalAuthenticator
    auth = c.PortalAuthenticator
    auth.portal = settings
    auth.client_id = identity.client_id
    auth.client_secret = settings.secret("oidc-client.secret")
    auth.authorize_url = identity.endpoint("authorize")
    auth.token_url = identity.endpoint("token")
    auth.userdata_url = identity.endpoint("userdata")
    auth.oauth_callback_url = f"{settings.web.url}/hub/oauth_callback"
    auth.scope = ["openid", "profile", "email", "groups"]
    auth.basic_auth = True
    auth.enable_pkce = True
    auth.http_request_kwargs = {"connect_timeout": 3, "request_timeout": 5}
    auth.enable_auth_state = True
    auth.manage_groups = True
    auth.any_allow_config = True  # PortalAuthenticator.check_allowed is the one rule
    auth.auth_refresh_age = REFRESH_SECONDS
    # the portal decides at every start; a slow provider must not delay it
    auth.refresh_pre_spawn = False


def _sessions(c: Any, settings: Settings) -> None:
    hub = c.JupyterHub
    # named, not imported: spawners may use portal, never the reverse. Time limits are each kind's own
    hub.spawner_class = "spawners.kinds.KindsSpawner"
    c.PortalSlurmSpawner.portal_settings = settings
    port_callback.install()
    hub.allow_named_servers = False
    # people waiting in Slurm's queue would count against this limit; the spawner throttles its own submissions
    hub.concurrent_spawn_limit = 0
    c.Spawner.consecutive_failure_limit = 0


def _pages(c: Any, settings: Settings) -> None:
    hub = c.JupyterHub
    hub.template_paths = [str(TEMPLATES), str(look.TEMPLATES)]
    hub.jinja_environment_options = {"extensions": [PortalPages]}
    hub.template_vars = {
        "site": settings.site,
        "web": settings.web,
        "shared_account": settings.slurm.accounts == "shared",
        "officer_group": settings.identity.officer_group,
    }
    hub.authenticate_prometheus = True
    hub.logging_config = {"formatters": {"console": {"class": "portal.logs.JsonFormatter"}}}
    hub.tornado_settings = {
        "headers": {
            "Content-Security-Policy": "frame-ancestors 'none'",
            "X-Content-Type-Options": "nosniff",
            # not no-referrer: it would make the Origin of our own forms `null`
            "Referrer-Policy": "same-origin",
        }
    }
