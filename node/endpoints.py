"""Addresses of endpoints as texts: URLs, and hosts with a port. Pure."""

import ipaddress
from urllib.parse import urlsplit


def require_url(text: str) -> None:
    """Raises: ValueError unless it is the URL of an endpoint."""
    parts = urlsplit(text)
    # Reading the port refuses one that is none.
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0 or " " in text:
        raise ValueError(f"{text!r} is no URL that begins with http:// or https://")


def host_of(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address of host:port; None if the text is anything else."""
    try:
        parts = urlsplit(f"//{text}")
        host, port = ipaddress.ip_address(parts.hostname or ""), parts.port
    except ValueError:
        return None
    return host if port is not None and text == parts.netloc and parts.username is None else None
