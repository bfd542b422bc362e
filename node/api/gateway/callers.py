"""The callers of the gateway: programs with a key, never web pages."""

import ipaddress
from collections.abc import Callable
from urllib.parse import urlsplit

from starlette.datastructures import Headers

from node.api.gateway.budgets import KeyBudgets
from node.api.gateway.keys import GatewayKey, credential_of, opens
from node.api.gateway.refusals import GatewayRefusal, bad_key


def require_program(headers: Headers, hosts: tuple[str, ...]) -> None:
    """Check that a request comes from a program that knows the address.

    A web page may have a name of its own point at this machine (DNS rebinding), so a name counts only if it is
    `localhost` or one of `hosts`. A browser names the page that asks, and no page may.
    Raises: GatewayRefusal 421, 403.
    """
    if not _is_known(headers.getlist("host"), hosts):
        words = "this host name is not one of the gateway's: ask by its address, or add the name to gateway.hosts"
        raise GatewayRefusal(421, words, code="wrong_host")
    if "origin" in headers:
        raise GatewayRefusal(403, "web pages may not use the gateway: call it from a program", code="origin_refused")


def _is_known(given: list[str], hosts: tuple[str, ...]) -> bool:
    if len(given) != 1:
        return False
    try:
        parts = urlsplit(f"//{given[0]}")
        name = parts.hostname or ""
        if parts.netloc != given[0] or parts.username is not None:
            return False
        if name == "localhost" or name in hosts:
            return True
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


class Doorkeeper:
    """Finds the key that a request shows."""

    def __init__(self, budgets: KeyBudgets, clock_ms: Callable[[], int]) -> None:
        self._budgets = budgets
        self._clock_ms = clock_ms

    async def admit(self, headers: Headers) -> GatewayKey:
        """The key of a request. Raises: GatewayRefusal 401; Fault unavailable if the file of keys cannot be read."""
        given = headers.getlist("authorization")
        credential = credential_of(given[0]) if len(given) == 1 else None
        if credential is None:
            raise bad_key("give a gateway key as Authorization: Bearer vcoin_...")
        key = await self._budgets.find(credential.id)
        if key is None or not opens(credential, key) or key.revoked_ms:
            raise bad_key("this gateway key does not exist or was revoked")
        if key.is_expired(self._clock_ms()):
            raise bad_key("this gateway key has expired")
        return key
