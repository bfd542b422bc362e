"""Real libp2p hosts on loopback, for the tests marked `libp2p`."""

import hashlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from p2p.host import Host, open_host

ANY_PORT = "/ip4/127.0.0.1/tcp/0"


def secret(index: int) -> bytes:
    """The operator key of the n-th node of a test."""
    return hashlib.sha256(b"vcoin test node %d" % index).digest()


@asynccontextmanager
async def open_hosts(count: int) -> AsyncIterator[tuple[Host, ...]]:
    """So many hosts, none connected yet."""
    async with AsyncExitStack() as stack:
        yield tuple([await stack.enter_async_context(open_host(secret(index), ANY_PORT)) for index in range(count)])
