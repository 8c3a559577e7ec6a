"""Start the proxy, and have the hub tell it its routes: after a restart it knows none, and the hub would not notice.

Becomes the real Node program in the same process, so that ending the process frees the port. Secrets are read from
their files; none is in a command line.
"""

from __future__ import annotations

import os
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from portal import locale, look
from portal import settings as settings_module
from portal.demo import stack
from portal.settings import Settings, Site

AWAY = Path(__file__).with_name("away.html")

RESTORE_SECONDS = 180
"""How long the hub may take to come up; from then on its own check, every minute, does it."""


def main() -> None:
    settings = settings_module.load()
    web = settings.web
    _in_background(settings)
    node = str(stack.node())
    command = [
        *(node, str(stack.proxy_program()), "--ip", "127.0.0.1", "--port", str(web.port)),
        *("--api-ip", "127.0.0.1", "--api-port", str(web.proxy_api_port), "--host-routing"),
        *("--error-path", str(write_away(settings)), "--log-level", "warn"),
    ]
    os.execve(node, command, {**os.environ, "CONFIGPROXY_AUTH_TOKEN": settings.secret("proxy.token")})


def write_away(settings: Settings) -> Path:
    """Write the page that the proxy shows for a part that does not answer, and return its folder.

    It is one file in both languages: a page of the hub would be missing when the hub is away, and the proxy, which asks
    for it by itself, would not say in which language the person reads.
    """
    folder = settings.home / "away"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    (folder / "error.html").write_text(away(settings.site), encoding="utf-8")
    return folder


def away(site: Site) -> str:
    """The page in both languages; it tries again by itself."""
    languages = []
    for name, title in ((locale.CHINESE, site.name_zh), (locale.ENGLISH, site.name)):
        _ = locale.translator(name).gettext
        languages.append(
            {
                "lang": locale.html_lang(name),
                "site": title,
                "what": _("This part does not answer at the moment"),
                "why": _("Sessions and jobs that run go on. This page tries again by itself."),
                "again": _("Try again"),
            }
        )
    page = Environment(autoescape=True, undefined=StrictUndefined).from_string(AWAY.read_text("utf-8"))
    tokens = Markup((look.FOLDER / "tokens.css").read_text("utf-8"))
    return page.render(site=site, first=languages[0]["lang"], languages=languages, tokens=tokens)


def _in_background(settings: Settings) -> None:
    """Restore the routes from a process that is no child of the proxy, which would not collect it."""
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    if os.fork():
        os._exit(0)
    try:
        restore_routes(settings)
    finally:
        os._exit(0)


def restore_routes(settings: Settings, limit: float = RESTORE_SECONDS) -> bool:
    """Ask the hub to send all routes to the proxy, until it does; False if it did not within `limit` seconds."""
    request = urllib.request.Request(
        f"{settings.hub_api_url}/proxy",
        method="POST",
        headers={"Authorization": f"token {settings.secret('proxy-check.token')}"},
    )
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        time.sleep(0.5)
        try:
            with urllib.request.urlopen(request, timeout=10):
                print("routes restored", file=sys.stderr, flush=True)
                return True
        except urllib.error.HTTPError as error:
            print(f"the hub refuses to restore routes: {error.code}", file=sys.stderr, flush=True)
        except OSError:
            continue
    return False


if __name__ == "__main__":
    main()
