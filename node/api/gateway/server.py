"""The gateway as a part of the daemon: its address, its certificate, and what it rests on."""

import ipaddress
import logging
import socket as socketlib
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import trio

from node.api.backend import Backend
from node.api.gateway.budgets import KeyBudgets
from node.api.gateway.callers import Doorkeeper
from node.api.gateway.connections import BACKLOG, serve_connections
from node.api.gateway.job_desk import JobDesk, settle_lost
from node.api.gateway.key_file import open_key_file
from node.api.gateway.rates import KeyRates
from node.api.gateway.routes import GatewayRoutes
from protocol.errors import ConfigError

log = logging.getLogger("vcoin.api.gateway")


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """The operator's choices. listen: host:port; hosts: names by which a proxy asks; checked: as node.checked."""

    data_dir: Path
    listen: str
    hosts: tuple[str, ...] = ()
    certificate: Path | None = None
    certificate_key: Path | None = None
    checked: bool = False


# The stubs of trio that libp2p brings do not know trio.TaskStatus.
async def serve_gateway(
    backend: Backend,
    settings: GatewaySettings,
    clock_ms: Callable[[], int],
    *,
    task_status: Any = trio.TASK_STATUS_IGNORED,
) -> None:
    """Answer until cancelled. Started, with the port, once connections are taken.

    Raises: KeysUnusable; ConfigError if nothing can listen there, a certificate cannot be used, or other machines
    could listen in on keys.
    """
    tls = _tls(settings)
    listener = _listen(settings, is_secured=tls is not None)
    port = listener.getsockname()[1]
    with listener, open_key_file(settings.data_dir) as file:
        # In no task of its own, so that a damaged row is told as a damaged file is.
        settle_lost(file)
        budgets = KeyBudgets(file)
        async with trio.open_nursery() as nursery:
            desk = JobDesk(backend, budgets, nursery, checked=settings.checked)
            nursery.start_soon(desk.keep_settled)
            routes = GatewayRoutes(
                backend,
                desk,
                Doorkeeper(budgets, clock_ms),
                KeyRates(trio.current_time),
                hosts=settings.hosts,
                clock_ms=clock_ms,
            )
            scheme = "http" if tls is None else "https"
            log.info("gateway", extra={"at": f"{scheme}://{settings.listen.rpartition(':')[0]}:{port}/v1"})
            task_status.started(port)
            await serve_connections(routes.application(), listener, tls)


def _listen(settings: GatewaySettings, *, is_secured: bool) -> socketlib.socket:
    parts = urlsplit(f"//{settings.listen}")
    host, port = parts.hostname or "", parts.port or 0
    if not is_secured and not ipaddress.ip_address(host).is_loopback:
        words = f"gateway.listen = {settings.listen} is open to other machines, and keys would travel in the clear"
        hint = "set gateway.certificate and gateway.certificate_key, or listen on 127.0.0.1 behind a proxy"
        raise ConfigError(words, hint)
    try:
        family = socketlib.AF_INET6 if ":" in host else socketlib.AF_INET
        return socketlib.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        words = f"cannot listen on {settings.listen}: {error.strerror or error}"
        raise ConfigError(words, "set gateway.listen to an address that is free") from error


def _tls(settings: GatewaySettings) -> ssl.SSLContext | None:
    certificate, key = settings.certificate, settings.certificate_key
    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        raise ConfigError(
            "gateway.certificate and gateway.certificate_key belong together, and one is not set",
            "set both, or none behind a proxy",
        )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except (OSError, ValueError) as error:
        words = f"cannot use {certificate} with {key}: {getattr(error, 'strerror', None) or error}"
        raise ConfigError(words, "give files in PEM, the key without a password, that this user may read") from error
    return context


def _no_password() -> str:
    # Without this OpenSSL would ask at the terminal of the daemon.
    raise ValueError("the key has a password")
