"""From a configuration to a running node, and back to nothing: signals, the ready line, one clear last word."""

import gc
import logging
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import trio

from node.config import Config
from node.daemon.node import Node
from node.daemon.parts import open_parts
from node.daemon.runner import FindRunner, find_docker
from node.daemon.telemetry import set_up_logging
from protocol.errors import NodeError

log = logging.getLogger(__name__)

STOP_S = 15.0
"""How long a node may take to stop; a second signal does not wait for it either."""


def main(config: Config) -> None:
    """Run a node until SIGTERM or SIGINT.

    Raises: NodeError with the reason why it could not be started, or had to stop.
    """
    set_up_logging(config.log.format, config.log.level)
    try:
        trio.run(_until_signal, config)
    except BaseExceptionGroup as group:
        error = last_word(group)
        if error is None:
            raise
        raise error from group


async def run(
    config: Config, find_runner: FindRunner = find_docker, *, task_status: Any = trio.TASK_STATUS_IGNORED
) -> None:
    """Run a node until cancelled. Started, with the Node, once it answers its peers and its user."""
    async with open_parts(config, find_runner=find_runner) as parts:
        await Node(parts).run(task_status=task_status)


def last_word(group: BaseExceptionGroup[BaseException]) -> NodeError | None:
    """The one error of a group that people should read; None if something in it is a bug of ours."""
    leaves = list(_leaves(group))
    ours = [error for error in leaves if isinstance(error, NodeError)]
    # Errors of tasks that broke off because of it say nothing new.
    others = [error for error in leaves if not isinstance(error, NodeError | trio.Cancelled | trio.ClosedResourceError)]
    return ours[0] if ours and not others else None


def keep_what_stays() -> None:
    """Collect garbage once, and look at none of the objects that are left again.

    They are 180,000, mostly code, and stay as long as the process: looked through with every full collection, they
    would stop the node's loop for 80 ms each time.
    """
    gc.collect()
    gc.freeze()


async def _until_signal(config: Config) -> None:
    running = trio.CancelScope()
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as outer:
            outer.start_soon(_stop_on_signal, signals, running)
            with running:
                async with trio.open_nursery() as inner:
                    node = await inner.start(run, config)
                    keep_what_stays()
                    announce_ready(node)
            outer.cancel_scope.cancel()
    log.info("stopped")


async def _stop_on_signal(signals: AsyncIterator[int], running: trio.CancelScope) -> None:
    number = await anext(signals)
    log.info("stopping", extra={"signal": signal.Signals(number).name})
    notify("STOPPING=1")
    running.cancel()
    with trio.move_on_after(STOP_S):
        await anext(signals)
    log.error("did not stop in time")
    os._exit(1)


def announce_ready(node: Node) -> None:
    """Say who this is and where its doors are; the last line is the one to wait for."""
    parts = node.parts
    identity = parts.machine.identity
    names = {"node": parts.config.node.name, "id": identity.node_id, "peer": identity.peer_id}
    log.info("running", extra={**names, "roles": ",".join(sorted(node.roles))})
    for address in parts.host.addresses:
        log.info("listening", extra={"at": address})
    log.info("ready", extra={"socket": str(parts.config.api.socket)})
    notify("READY=1")


def notify(words: str) -> None:
    """Tell systemd, where it has started us."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as door:
        door.sendto(words.encode(), address.replace("@", "\0", 1) if address.startswith("@") else address)


def _leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for each in error.exceptions for leaf in _leaves(each)]
    return [error]
