"""The events of the chain between two blocks, in the order of the logs."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from chain.contracts.facts import ClientTouched, Fact, NodeTouched
from chain.contracts.network import Network
from chain.rpc.ethereum import Ethereum, Log
from protocol import events as ev
from protocol.errors import ChainError
from protocol.stages.assignment import Account
from protocol.stages.offer import NodeRecord
from protocol.wire.ids import Address, Hash32


@dataclass(frozen=True, slots=True)
class SeenFact:
    """A fact and the block that it stands in."""

    block: int
    fact: Fact


async def read_facts(
    network: Network, first: int, last: int, hashes: Mapping[int, Hash32] | None = None
) -> tuple[int, list[SeenFact]]:
    """The facts from block `first` on, in order: up to which block, at most `last`, and the facts.

    Args: hashes, of blocks that are known.
    Raises: ChainError, transient, if a log is not of these blocks.
    """
    until, logs = await network.ethereum.logs(network.speakers, first, last)
    for log in logs:
        if not first <= log.block <= until or (hashes or {}).get(log.block, log.block_hash) != log.block_hash:
            raise ChainError(f"the endpoint has logs of another block {log.block} than the chain", transient=True)
    return until, list(_facts(network, logs))


class LogDecoder:
    """Turns facts into events: what a log does not hold is read at a final block, what has not changed is not told."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._records: dict[Address, NodeRecord] = {}
        self._accounts: dict[Address, Account] = {}

    async def tell(self, seen: Sequence[SeenFact], final: int) -> list[ev.Event]:
        """The events of some facts, in their order, on the state after block `final`."""
        records = await self._read_nodes({each.fact.node for each in seen if isinstance(each.fact, NodeTouched)}, final)
        clients = {each.fact.client for each in seen if isinstance(each.fact, ClientTouched)}
        accounts = await self._read_accounts(clients, final)
        times = await _times(self._network.ethereum, seen)
        events: list[ev.Event] = []
        for each in seen:
            match each.fact:
                case NodeTouched(node):
                    events += self._node(records.get(node))
                case ClientTouched(client):
                    events += self._account(accounts[client])
                case ev.AccountSeen(account):
                    events += self._account(account)
                case ev.IntakeStopped(until):
                    # An intake stop that is over by its own block was ended before its time.
                    events.append(ev.IntakeStopped(until if until > times[each.block] else 0))
                case ev.CaseConvened() | ev.SeatAdded() | ev.DataAnswered() | ev.AuditConvened() as event:
                    events.append(replace(event, timestamp=times[each.block]))
                case event:
                    events.append(event)
        return events

    async def refresh(self, nodes: Iterable[Address], final: int) -> list[ev.Event]:
        """The nodes that have changed since they were told: scores age without a log."""
        records = await self._read_nodes(set(nodes), final)
        return [event for record in records.values() for event in self._node(record)]

    def _node(self, record: NodeRecord | None) -> list[ev.Event]:
        if record is None or self._records.get(record.node_id) == record:
            return []
        self._records[record.node_id] = record
        return [ev.NodeSeen(record)]

    def _account(self, account: Account) -> list[ev.Event]:
        before = self._accounts.get(account.client)
        self._accounts[account.client] = account
        return [] if before == account else [ev.AccountSeen(account)]

    async def _read_nodes(self, nodes: set[Address], final: int) -> dict[Address, NodeRecord]:
        order = sorted(nodes)
        found = await self._network.stakes.nodes_of(order, final) if order else []
        return {node: view.record(node) for node, view in zip(order, found, strict=True) if view is not None}

    async def _read_accounts(self, clients: set[Address], final: int) -> dict[Address, Account]:
        order = sorted(clients)
        found = await self._network.settlement.accounts_of(order, final) if order else []
        return {account.client: account for account in found}


def _facts(network: Network, logs: Iterable[Log]) -> Iterable[SeenFact]:
    """The facts of whole transactions; a batch takes its lanes' job counts from the logs before it."""
    jobs: dict[tuple[Address, Address, Address], int] = {}
    transaction = b""
    for log in logs:
        if log.transaction != transaction:
            transaction = log.transaction
            jobs.clear()
        match network.fact(log):
            case None:
                continue
            case ev.LaneSeen(lane) as fact:
                jobs[lane.client, lane.signer, lane.node] = lane.jobs
                yield SeenFact(log.block, fact)
                # Opening a lane takes from the account without a log of its own.
                yield SeenFact(log.block, ClientTouched(lane.client))
            case ev.BatchChallenged(client=client) as fact:
                yield SeenFact(log.block, fact)
                yield SeenFact(log.block, ClientTouched(client))
            case ev.BatchSubmitted() as batch:
                yield SeenFact(log.block, _with_lanes(batch, jobs))
            case fact:
                yield SeenFact(log.block, fact)


def _with_lanes(batch: ev.BatchSubmitted, jobs: dict[tuple[Address, Address, Address], int]) -> ev.BatchSubmitted:
    lanes = [(debit.client, debit.signer, batch.node) for debit in batch.contents.debits]
    if not all(lane in jobs for lane in lanes):
        raise ChainError("the endpoint's logs are nonsense: a batch without its lanes", transient=True)
    return replace(batch, lane_jobs=tuple(jobs[lane] for lane in lanes))


async def _times(ethereum: Ethereum, seen: Sequence[SeenFact]) -> dict[int, int]:
    """The times of the blocks that hold an event which names its time, or goes by it."""
    timed = ev.CaseConvened | ev.SeatAdded | ev.DataAnswered | ev.AuditConvened | ev.IntakeStopped
    blocks = {each.block for each in seen if isinstance(each.fact, timed)}
    return {block: (await ethereum.block(block)).timestamp for block in sorted(blocks)}
