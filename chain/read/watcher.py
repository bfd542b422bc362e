"""Follows the chain: what happened in blocks that count as final, in order, and where the head is.

Logs are read only up to the final block, so a reorganisation above it changes nothing that was reported. A
report continues the one before, block by block, and all endpoints agree on it (see `quorum`). `BlockSeen`
comes after every event of the blocks up to its `final`: the next start may begin at that number.
"""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import KW_ONLY, dataclass
from typing import Any

import trio

from chain.contracts.facts import NodeTouched
from chain.contracts.network import Network
from chain.read.log_decoder import LogDecoder, read_facts
from chain.read.snapshot import ChainSnapshot
from chain.rpc.clock import ChainClock
from chain.rpc.endpoints import WrongChain
from chain.rpc.ethereum import Block
from chain.rpc.quorum import RpcQuorum
from protocol.errors import ChainError, ReorgedOut
from protocol.events import BlockSeen, Event
from protocol.wire.ids import Address, Hash32

log = logging.getLogger(__name__)
REFRESH_BLOCKS = 64
MAX_WALK = 256
"""Blocks whose hashes are followed one by one; a longer history is checked at its two ends."""
MAX_PAUSE_S = 15.0
Send = Callable[[Event], Awaitable[None]]


@dataclass(eq=False, repr=False)
class Watcher:
    """One watcher of one network.

    network: asked through `quorum`. clock: hears of every head. first_block: not after the first contract of the
    network. epoch_blocks and final_depth in blocks.
    """

    network: Network
    quorum: RpcQuorum
    clock: ChainClock
    _: KW_ONLY
    first_block: int
    epoch_blocks: int
    final_depth: int
    cursor: int | None
    """The last block whose events were all reported, or are known already; None if nothing is known."""
    cursor_hash: Hash32 | None
    """Its hash; None where it is not known."""
    poll_s: float

    def __post_init__(self) -> None:
        self._decoder = LogDecoder(self.network)
        self._nodes: set[Address] = set()
        self._refreshed = 0
        self._head: Block | None = None
        self.trouble = ""
        """Why the chain cannot be followed at the moment; empty while it can."""

    async def follow(self, send: Send, *, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
        """Report the state, then every change, until cancelled. Started once the state is reported.

        Raises: ChainError if the chain cannot be read at the start; ReorgedOut if it lost blocks that were final;
        WrongChain. Once started, trouble with an endpoint only makes it wait.
        """
        await self._begin(send)
        await self._step(send)
        task_status.started()
        pause_s = self.poll_s
        while True:
            await trio.sleep(pause_s)
            try:
                await self._step(send)
            except (WrongChain, ReorgedOut):
                raise
            except ChainError as error:
                if not self.trouble:
                    log.warning("chain not followed: %s", error)
                self.trouble = str(error)
                pause_s = min(pause_s * 2, MAX_PAUSE_S)
            else:
                if self.trouble:
                    log.info("chain followed again", extra={"final": self.cursor})
                self.trouble, pause_s = "", self.poll_s

    async def _begin(self, send: Send) -> None:
        """Without a cursor: the whole state. With one, all is known but how the nodes' scores have aged."""
        head = await self.network.ethereum.block()
        final = head.number - self.final_depth
        if self.cursor is None:
            cursor = max(final, self.first_block - 1)
            # The hash before the logs: if the two came from different forks, the next step finds another hash.
            cursor_hash = (await self.network.ethereum.block(cursor)).hash if 0 <= cursor <= head.number else None
            await self._tell_state(final, send)
            self.cursor, self.cursor_hash = cursor, cursor_hash
        elif self.cursor > head.number:
            raise ReorgedOut(
                f"the chain ends at block {head.number}, this node has seen block {self.cursor}: it was started anew"
            )
        else:
            await self._require_same_past()
            self._nodes = await self.network.stakes.registered(self.first_block, self.cursor)
            for event in await self._decoder.refresh(self._nodes, max(final, self.cursor)):
                await send(event)
        self._refreshed = self.cursor

    async def _tell_state(self, final: int, send: Send) -> None:
        snapshot = ChainSnapshot(self.epoch_blocks)
        first = self.first_block
        while first <= final:
            until, seen = await read_facts(self.network, first, final)
            snapshot.add(seen)
            first = until + 1
        self._nodes = set(snapshot.nodes)
        for event in await snapshot.tell(self._decoder, final):
            await send(event)

    async def _step(self, send: Send) -> None:
        """Report what became final since the last step, and the head."""
        head = await self.network.ethereum.block()
        self.clock.observe(head)
        if self._head is not None and head.hash == self._head.hash:
            return
        assert self.cursor is not None
        if head.number < self.cursor:
            raise ChainError(
                f"the newest block is {head.number}, and block {self.cursor} was final already", transient=True
            )
        final = head.number - self.final_depth
        if final > self.cursor:
            await self._advance(final, send)
        self._head = head
        await send(BlockSeen(head.number, self.cursor, head.timestamp))

    async def _advance(self, final: int, send: Send) -> None:
        assert self.cursor is not None
        await self._require_same_past()
        hashes = await self._walk(final)
        while self.cursor < final:
            until, seen = await read_facts(self.network, self.cursor + 1, final, hashes)
            self._nodes |= {each.fact.node for each in seen if isinstance(each.fact, NodeTouched)}
            for event in await self._decoder.tell(seen, final):
                await send(event)
            # Run by run, so that trouble in the middle repeats nothing.
            self.cursor, self.cursor_hash = until, hashes.get(until)
        if final - self._refreshed >= REFRESH_BLOCKS:
            for event in await self._decoder.refresh(self._nodes, final):
                await send(event)
            self._refreshed = final

    async def _walk(self, final: int) -> dict[int, Hash32]:
        """The hashes of the blocks behind the cursor, each the child of the one before.

        Raises: ChainError, transient, if they are not.
        """
        assert self.cursor is not None
        if final - self.cursor > MAX_WALK:
            return {final: (await self.network.ethereum.block(final)).hash}
        parent, hashes = self.cursor_hash, {}
        for number, block in enumerate(await self.network.ethereum.blocks(self.cursor + 1, final), self.cursor + 1):
            if block.number != number or (parent is not None and block.parent != parent):
                raise ChainError(f"block {number} is no child of the block before it", transient=True)
            parent = hashes[number] = block.hash
        return hashes

    async def _require_same_past(self) -> None:
        if self.cursor is None or self.cursor_hash is None:
            return
        if not await self.quorum.has(self.cursor, self.cursor_hash):
            raise ReorgedOut(
                f"block {self.cursor} was final and is another one now: the chain was reorganised deeper than the "
                f"{self.final_depth} blocks that this node waits for, so what it has decided on may never have happened"
                "; start it again with a new node.data_dir once the chain is settled"
            )
