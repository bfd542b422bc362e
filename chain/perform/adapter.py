"""The chain as the driver sees it: performs chain effects, and reports what the chain says."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import trio

from chain.contracts.network import Deployment, Network
from chain.contracts.profiles import POLL_S
from chain.perform import audits, batches, cases, fraud, lanes
from chain.perform.liveness import LivenessResponder
from chain.perform.transactor import Performer, Transactor
from chain.read.watcher import Send, Watcher
from chain.rpc.clock import ChainClock, now_ms
from chain.rpc.endpoints import REST_S, Unreachable, open_rpc
from chain.rpc.ethereum import Ethereum
from chain.rpc.quorum import RpcQuorum
from chain.tx.pending import Record, Recorded
from chain.tx.signer import Signer
from chain.tx.transactions import MAX_FEE, MAX_PAUSE_S, Sender, look_after
from chain.tx.wallet import Key, Wallet
from protocol.effects import ChainEffect
from protocol.errors import ChainError
from protocol.events import Event
from protocol.params import ChainRules
from protocol.stages.verification import Calibration
from protocol.wire.ids import Address, Cid, Hash32, Wei

LOOK_AFTER_POLLS = 4
PERFORMERS: dict[type, Performer] = {
    kind: each for room in (lanes, batches, cases, fraud, audits) for kind, each in room.PERFORMERS.items()
}
"""The performer of each chain effect. A new effect adds one line to the module of its contract."""


@dataclass(eq=False, repr=False)
class ChainAdapter:
    """Performs chain effects for one node. Use `open_chain`."""

    network: Network
    deployment: Deployment
    rules: ChainRules
    wallet: Wallet
    record: Record
    watcher: Watcher
    clock: ChainClock
    poll_s: float
    most_fee: Wei

    def __post_init__(self) -> None:
        self.signer = Signer(self.wallet, self.clock)
        self._operator = self._sender(self.wallet.operator)
        client = self.wallet.client or self.wallet.operator
        # One key may play both parts; its nonces still have one owner.
        self._client = self._operator if client.address == self._operator.address else self._sender(client)
        self._transactor = Transactor(
            self.network, self.watcher.network, self.rules, self.signer, self._operator, self._client, self.poll_s
        )

    def _sender(self, key: Key) -> Sender:
        ethereum, depth = self.network.ethereum, self.rules.final_depth
        return Sender(ethereum, key, self.record, depth=depth, poll_s=self.poll_s, most_fee=self.most_fee)

    async def run(self, send_event: Send, *, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
        """Report the chain until cancelled; see Watcher."""
        await self.watcher.follow(send_event, task_status=task_status)

    async def look_after(self) -> None:
        """Send again, or for more, what was sent and no final block has, until cancelled."""
        await look_after(self._senders, self.poll_s * LOOK_AFTER_POLLS)

    async def give_signs(self, node: Address) -> None:
        """Answer liveness challenges on the chain until cancelled."""
        await LivenessResponder(self.network, self._operator, node).give(self.poll_s * LOOK_AFTER_POLLS)

    @property
    def _senders(self) -> tuple[Sender, ...]:
        return (self._operator,) if self._client is self._operator else (self._operator, self._client)

    async def resume(self, recorded: Sequence[Recorded]) -> None:
        """Before anything is performed: take up the recorded transactions that no final block has, see Sender.

        Raises: ChainError, transient, if no endpoint answers.
        """
        for sender in self._senders:
            await sender.resume(recorded)

    def sender_of(self, address: Address) -> Sender:
        """The one owner of a key's nonces, for other senders with the same key.

        Raises: ChainError if the key is not on this machine.
        """
        for sender in (self._operator, self._client):
            if sender.address == address:
                return sender
        raise ChainError(f"the key of {address} is not on this machine")

    async def calibration(self, manifest: Cid, class_id: int) -> Calibration:
        """The noise constants of a model on a class; UNCALIBRATED if there are none."""
        return await self.network.params.calibration(manifest, class_id)

    async def perform(self, effect: ChainEffect) -> Event:
        """Do what an effect asks, unless it is done already, and say so.

        Waits while no endpoint answers, so that an outage costs an effect nothing but time.

        Raises: Reverted, transient where only time or another sender's turn is missing; ChainError.
        """
        pause_s = self.poll_s
        while True:
            try:
                return await PERFORMERS[type(effect)](self._transactor, effect)
            except Unreachable:
                # The watcher has already logged the outage.
                await trio.sleep(pause_s)
                pause_s = min(pause_s * 2, MAX_PAUSE_S)


@asynccontextmanager
async def open_chain(
    urls: Sequence[str],
    deployment: Deployment,
    wallet: Wallet,
    *,
    record: Record,
    cursor: int | None = None,
    cursor_hash: Hash32 | None = None,
    clock_ms: Callable[[], int] = now_ms,
    timeout_s: float = 10.0,
    rest_s: float = REST_S,
    poll_s: float | None = None,
    most_fee: Wei = MAX_FEE,
) -> AsyncIterator[ChainAdapter]:
    """Connect to a network: endpoints in order of preference, where its contracts are, this machine's keys.

    Args: record, keeps each transaction before it is sent; cursor, the `final` of the last BlockSeen whose
    predecessors are all kept, None for a node that knows nothing, and cursor_hash, that block's where it is known;
    clock_ms, this machine's clock; timeout_s, for each call; rest_s, how long an endpoint that failed is left alone at
    first; poll_s, how often to ask for blocks, None for what suits the profile; most_fee, wei per gas that no
    transaction pays more than.
    Raises: ChainError if no endpoint answers, one serves another chain, or the contracts are not there; ConfigError for
    a profile that this release does not know.
    """
    async with open_rpc(urls, deployment.chain_id, timeout_s, rest_s) as rpc:
        network = Network(Ethereum(rpc), deployment.addresses)
        await network.require(deployment)
        rules = await network.params.rules(deployment.addresses.settlement, deployment.addresses.stakes)
        pause_s = POLL_S[rules.profile] if poll_s is None else poll_s
        quorum, clock = RpcQuorum(rpc), ChainClock(clock_ms)
        watcher = Watcher(
            Network(Ethereum(quorum), deployment.addresses),
            quorum,
            clock,
            first_block=deployment.block,
            epoch_blocks=rules.epoch,
            final_depth=rules.final_depth,
            cursor=cursor,
            cursor_hash=cursor_hash,
            poll_s=pause_s,
        )
        yield ChainAdapter(network, deployment, rules, wallet, record, watcher, clock, pause_s, most_fee)
