"""Real libp2p hosts on loopback, for the tests marked `libp2p`."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from p2p.host import Host, open_host
from tests.fakes.nodes import secret

ANY_PORT = "/ip4/127.0.0.1/tcp/0"


@asynccontextmanager
async def open_hosts(count: int) -> AsyncIterator[tuple[Host, ...]]:
    """So many hosts, none connected yet."""
    async with AsyncExitStack() as stack:
        yield tuple([await stack.enter_async_context(open_host(secret(index), ANY_PORT)) for index in range(count)])
