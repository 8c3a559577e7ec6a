"""Where a request came from: its network address and, coarsely, its browser. Pure."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

BROWSERS = (
    ("Edg", "Edge"),
    ("OPR/", "Opera"),
    ("SamsungBrowser", "Samsung Internet"),
    ("Firefox/", "Firefox"),
    ("FxiOS", "Firefox"),
    ("CriOS", "Chrome"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
)
SYSTEMS = (
    ("iPhone", "iOS"),
    ("iPad", "iOS"),
    ("Android", "Android"),
    ("CrOS", "ChromeOS"),
    ("Windows", "Windows"),
    ("Macintosh", "macOS"),
    ("Linux", "Linux"),
)


def address(forwarded: str, peer: str, before: int = 0) -> str:
    """The address that a request came from, or empty if that is no address.

    forwarded: X-Forwarded-For as it reached us. Every proxy appends the address it saw, so the last entry is from our own
    proxy, and what a client wrote stands before it and proves nothing. before: reverse proxies of the site in front of
    ours, each of which has appended one more. peer: who opened the connection, which counts where there is no header.
    """
    told = [part.strip() for part in forwarded[-1000:].split(",") if part.strip()]
    return _plain(told[max(0, len(told) - 1 - before)] if told else peer)


def network(address: str) -> str:
    """The network around an address: /16 of IPv4, /32 of IPv6; empty for no address."""
    plain = _plain(address)
    if not plain:
        return ""
    return str(ip_network(f"{plain}/{32 if ':' in plain else 16}", strict=False))


def browser(user_agent: str) -> str:
    """Family and system, such as `Firefox/Windows`: always one of a small set, whatever a client sends."""
    text = user_agent[:500]
    family = next((name for sign, name in BROWSERS if sign in text), "other")
    system = next((name for sign, name in SYSTEMS if sign in text), "other")
    return f"{family}/{system}"


def _plain(text: str) -> str:
    try:
        found: IPv4Address | IPv6Address = ip_address(text.partition("%")[0].strip("[]"))
    except ValueError:
        return ""
    return str(getattr(found, "ipv4_mapped", None) or found)
