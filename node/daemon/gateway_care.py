"""The gateway beside the node: while its file of keys cannot be used it stays closed, and the node goes on.

A node has promises to keep and money on chain, which do not rest on these keys. Settings that cannot be used still end
its start, as those of every other part.
"""

import logging
from collections.abc import Callable
from typing import Any

import trio

from node.api import views as api
from node.api.gateway.key_file import KeysUnusable
from node.api.gateway.server import GatewaySettings, serve_gateway
from node.config import Config
from node.daemon.backend import NodeBackend

log = logging.getLogger(__name__)

AGAIN_S = 10.0
"""Between two looks at a file that could not be used: its owner may have mended it."""


class GatewayCare:
    """Keeps the gateway open while it can be."""

    def __init__(self, backend: NodeBackend, config: Config, clock_ms: Callable[[], int]) -> None:
        self._backend = backend
        self._settings = _settings(config)
        self._clock_ms = clock_ms

    async def serve(self, *, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled. Started once it is known whether the gateway opens. Raises: ConfigError."""
        sign = _OpenSign(self._backend, task_status)
        while True:
            try:
                await serve_gateway(self._backend, self._settings, self._clock_ms, task_status=sign)
            except KeysUnusable as error:
                trouble = api.Trouble("unavailable", f"the gateway is closed: {error}", error.hint)
                if trouble != self._backend.status.gateway_trouble:
                    log.error("%s", trouble.message, extra={"hint": trouble.hint})
                self._backend.status.gateway_trouble = trouble
                sign.closed()
                await trio.sleep(AGAIN_S)


class _OpenSign:
    """Takes the gateway's word that it is open, as often as it comes, and gives the first one on."""

    def __init__(self, backend: NodeBackend, task_status: Any) -> None:
        self._backend = backend
        self._task_status = task_status

    def started(self, port: int) -> None:
        """It is open."""
        self._backend.status.gateway_trouble = None
        self._pass_on()

    def closed(self) -> None:
        """It cannot be opened now."""
        self._pass_on()

    def _pass_on(self) -> None:
        self._task_status.started()
        self._task_status = trio.TASK_STATUS_IGNORED


def _settings(config: Config) -> GatewaySettings:
    chosen = config.gateway
    return GatewaySettings(
        config.node.data_dir,
        chosen.listen,
        chosen.hosts,
        chosen.certificate,
        chosen.certificate_key,
        config.node.checked,
    )
