"""The StakeManager contract: nodes, their stake and their record."""

from dataclasses import astuple, dataclass

from chain.contract import Contract, Entry
from chain.ethereum import BlockTag, Call
from chain.facts import Fact, NodeTouched
from chain.states import NodeState
from chain.token import Permit
from protocol.events import NodeSlashed
from protocol.stages.offer import NodeRecord
from protocol.wire.ids import ZERO_ADDRESS, Address, Wei

_ABOUT_A_NODE = frozenset(
    {
        "NodeRegistered",
        "StakeChanged",
        "NodeStateChanged",
        "PayoutChanged",
        "CheckedIn",
        "Jailed",
        "Unjailed",
        "ReputationChanged",
    }
)


@dataclass(frozen=True, slots=True)
class Node:
    """Everything that the chain has of a node; the fields of NodeView. Stakes in wei, times in seconds."""

    owner: Address
    operator: Address
    payout: Address
    state: NodeState
    class_mask: int
    active_stake: Wei
    unbonding_stake: Wei
    unlock_at: int
    jailed_until: int
    score_hundredths: int
    rate_bps: int
    successes: int
    total: int
    response_ms: int
    check_in_days: int
    activated_day: int
    penalty_tenths: int
    samples_left: int
    recent_failures: int

    def __post_init__(self) -> None:
        """The contract's number becomes a NodeState."""
        object.__setattr__(self, "state", NodeState(self.state))

    def record(self, node_id: Address) -> NodeRecord:
        """The part that roles know."""
        return NodeRecord(
            node_id=node_id,
            owner=self.owner,
            operator=self.operator,
            payout=self.payout,
            active=self.state is NodeState.ACTIVE,
            class_mask=self.class_mask,
            stake=self.active_stake,
            unbonding=self.unbonding_stake,
            score=self.score_hundredths,
            rate_bps=self.rate_bps,
        )


@dataclass(frozen=True, slots=True)
class Registration:
    """What a node is registered with; `consent` is the operator's signature, good until `deadline` in seconds."""

    operator: Address
    payout: Address
    amount: Wei
    class_mask: int
    deadline: int
    consent: bytes


class Stakes(Contract):
    """The register of nodes. A node's id is the address of its operator key."""

    NAME = "StakeManager"

    async def node_of(self, node: Address, block: BlockTag = "latest") -> Node | None:
        """A node; None if it is not registered."""
        return (await self.nodes_of([node], block))[0]

    async def nodes_of(self, nodes: list[Address], block: BlockTag = "latest") -> list[Node | None]:
        """Many nodes on the same state, in order."""
        found = await self.read_many("nodeOf", [(node,) for node in nodes], block)
        return [Node(*values) if NodeState(values[3]) is not NodeState.NONE else None for values in found]

    async def registered(self, first: int, last: int) -> set[Address]:
        """Every node that was registered in these blocks."""
        nodes: set[Address] = set()
        while first <= last:
            until, logs = await self.ethereum.logs([self.address], first, last, self.topic("NodeRegistered"))
            nodes |= {entry.values[0] for log in logs if (entry := self.entry(log))}
            first = until + 1
        return nodes

    async def is_registered(self, node: Address) -> bool:
        """Whether this address is a node."""
        owner, _ = await self.read("keysOf", node)
        return bool(owner != ZERO_ADDRESS)

    async def paused_until(self) -> int:
        """Until when new obligations are stopped, seconds; in the past or 0 while they are taken."""
        return int(await self.read("intakePausedUntil"))

    def register(self, terms: Registration, permit: Permit) -> Call:
        """Register a node; the sender becomes its owner and puts up the amount."""
        return self.call("registerWithPermit", *astuple(terms), astuple(permit))

    def stake(self, node: Address, amount: int) -> Call:
        """Add to the stake; its owner."""
        return self.call("stake", node, amount)

    def unbond(self, node: Address, amount: int) -> Call:
        """Start to take stake back; its owner."""
        return self.call("unbond", node, amount)

    def rebond(self, node: Address, amount: int) -> Call:
        """Take back an unbond; its owner."""
        return self.call("rebond", node, amount)

    def withdraw(self, node: Address) -> Call:
        """Pay out unbonded stake; its owner."""
        return self.call("withdraw", node)

    def set_payout(self, node: Address, payout: Address) -> Call:
        """Name where rewards go; its owner."""
        return self.call("setPayout", node, payout)

    def check_in(self, node: Address) -> Call:
        """Say once a day that the node is there; its operator."""
        return self.call("checkIn", node)

    def unjail(self, node: Address) -> Call:
        """Leave jail once its time is over; its owner."""
        return self.call("unjail", node)

    def fact(self, entry: Entry) -> Fact | None:
        """What a log of this contract says."""
        match entry.event, entry.values:
            case "Slashed", (node, case_id, active, unbonding, *_):
                return NodeSlashed(node, active + unbonding, case_id)
            case event, (node, *_) if event in _ABOUT_A_NODE:
                return NodeTouched(node)
        return None
