"""The state of a network at one block, gathered from all its logs: for a node that knows nothing yet."""

from collections.abc import Sequence

from chain.contracts.facts import ClientTouched, NodeTouched
from chain.read.log_decoder import LogDecoder, SeenFact
from protocol import events as ev
from protocol.stages.sampling import epoch_of
from protocol.wire.ids import Address


class ChainSnapshot:
    """Takes facts in order and keeps what still counts: the last word on each lane, the story of open batches."""

    def __init__(self, epoch_blocks: int) -> None:
        self._epoch_blocks = epoch_blocks
        self._calibrations: list[SeenFact] = []
        self._lanes: dict[tuple[Address, Address, Address], SeenFact] = {}
        self._nodes: dict[Address, SeenFact] = {}
        self._clients: dict[Address, SeenFact] = {}
        self._intake: list[SeenFact] = []
        self._seeds: dict[int, tuple[int, SeenFact]] = {}
        self._open: dict[bytes, list[tuple[int, SeenFact]]] = {}
        self._epochs: dict[bytes, int] = {}
        self._count = 0

    @property
    def nodes(self) -> frozenset[Address]:
        """Every node that was ever registered."""
        return frozenset(self._nodes)

    def add(self, seen: Sequence[SeenFact]) -> None:
        """The facts of the next blocks."""
        for each in seen:
            self._count += 1
            self._add(each)

    async def tell(self, decoder: LogDecoder, final: int) -> list[ev.Event]:
        """The state at `final`: intake, calibrations, nodes, lanes, accounts, then the open batches as they went."""
        state = (
            *self._intake,
            *self._calibrations,
            *self._nodes.values(),
            *self._lanes.values(),
            *self._clients.values(),
        )
        epochs = {self._epochs[batch] for batch in self._open}
        story = [at for batch in self._open.values() for at in batch]
        story += [at for epoch, at in self._seeds.items() if epoch in epochs]
        ordered = [each for _, each in sorted(story, key=lambda at: at[0])]
        events = await decoder.tell([*state, *ordered], final)
        # Everybody who ever had an account is in the logs; one that is empty says nothing.
        return [event for event in events if not (isinstance(event, ev.AccountSeen) and event.account.free == 0)]

    def _add(self, each: SeenFact) -> None:
        match each.fact:
            case NodeTouched(node):
                self._nodes[node] = each
            case ev.LaneSeen(lane):
                self._lanes[lane.client, lane.signer, lane.node] = each
            case ClientTouched(client):
                self._clients[client] = each
            case ev.AccountSeen(account):
                self._clients[account.client] = SeenFact(each.block, ClientTouched(account.client))
            case ev.IntakeStopped():
                self._intake = [each]
            case ev.CalibrationSeen():
                self._calibrations.append(each)
            case ev.SeedRevealed(epoch):
                self._seeds[epoch] = (self._count, each)
            case ev.BatchSettled(batch_id) | ev.BatchRefunded(batch_id):
                self._open.pop(batch_id, None)
                self._epochs.pop(batch_id, None)
            case ev.BatchSubmitted(batch_id=batch_id, block=block):
                self._open[batch_id] = [(self._count, each)]
                self._epochs[batch_id] = epoch_of(block, self._epoch_blocks)
            case fact:
                story = self._open.get(getattr(fact, "batch_id", b""))
                # A node's slash shows in its stake; the case that it was for may have ended long ago.
                if story is not None and not isinstance(fact, ev.NodeSlashed):
                    story.append((self._count, each))
