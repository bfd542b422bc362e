"""Performs effects: each goes to the adapter of its kind, and what that answers is the next event."""

import logging
import math
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

import trio

from node.folding import MAX_REASON, reason_of
from protocol.effects import ChainEffect, Effect, PeerEffect, about
from protocol.errors import AdapterError, ConfigError, RemoteProtocolError
from protocol.events import EffectFailed, Event

log = logging.getLogger(__name__)

TRIES = 6
FIRST_BACKOFF_S = 0.5
YOUNG_S = 60.0
"""How long after its start a node may not have found its peers again: they, too, are tried more than once."""


class Adapter(Protocol):
    """Performs one effect and answers with one event. Asked twice, it does the thing once and answers twice.

    Raises: AdapterError, which the roles hear as EffectFailed; RemoteProtocolError for content that a peer sent.
    """

    async def perform(self, effect: Any) -> Event: ...


class Performer:
    """The adapters of a node. `routes` gives that of each kind of effect; a kind without one fails at once."""

    def __init__(self, routes: Mapping[type[Any], Adapter], tell: Callable[[str, str], Awaitable[None]]) -> None:
        self._routes = routes
        self._tell = tell
        self._started_s = -math.inf

    def start(self) -> None:
        """The node comes up now."""
        self._started_s = trio.current_time()

    async def perform(self, effect: Effect) -> Event:
        """Perform an effect, more than once where that may help. Returns: the adapter's answer, or the failure.

        A bug of an adapter is a failure too, and told. Raises: MemoryError; ConfigError if the disk takes no more.
        """
        name = type(effect).__name__
        adapter = self._routes.get(type(effect))
        if adapter is None:
            return failed(effect, f"this node does not do {name}", transient=False)
        backoff_s = FIRST_BACKOFF_S
        for left in reversed(range(self._tries(effect))):
            try:
                return await adapter.perform(effect)
            except Exception as caught:
                error = _worst(caught)
                if isinstance(error, MemoryError | ConfigError):
                    raise
                if isinstance(error, RemoteProtocolError):
                    log.info("%s: bad content: %s", name, error, extra={"about": about(effect).hex()})
                    return failed(effect, str(error), transient=False)
                if not isinstance(error, AdapterError):
                    log.debug("%s made its adapter raise", name, exc_info=caught)
                    await self._tell(f"the effect {name}", reason_of(error))
                    return failed(effect, reason_of(error), transient=False)
                if not error.transient or not left:
                    log.warning("%s failed: %s", name, error, extra={"about": about(effect).hex()})
                    return failed(effect, str(error), transient=error.transient)
                log.warning("%s will be tried again: %s", name, error, extra={"in_s": backoff_s})
                await trio.sleep(backoff_s)
                backoff_s *= 2
        raise AssertionError("the last try returns")

    def _tries(self, effect: Effect) -> int:
        young = trio.current_time() < self._started_s + YOUNG_S
        return TRIES if isinstance(effect, ChainEffect) or (young and isinstance(effect, PeerEffect)) else 1


def failed(effect: Effect, reason: str, *, transient: bool) -> EffectFailed:
    """The answer of an effect that was not done."""
    return EffectFailed(type(effect), about(effect), reason[:MAX_REASON], transient)


def _worst(error: Exception) -> Exception:
    """An adapter may work in a nursery of its own, which puts the errors of its tasks into a group: the gravest."""
    return max(map(_worst, error.exceptions), key=_gravity) if isinstance(error, ExceptionGroup) else error


def _gravity(error: Exception) -> int:
    """An error that stops the daemon comes before a bug, and a bug before a fault outside."""
    return (
        2 if isinstance(error, MemoryError | ConfigError) else not isinstance(error, AdapterError | RemoteProtocolError)
    )
