"""The StakeManager contract: nodes, their stake and their record."""

from dataclasses import astuple, dataclass

from chain.abi.enums import NodeState
from chain.contracts.contract import CallTo, Contract, ContractStruct, DecodedLog
from chain.contracts.facts import Fact, NodeTouched
from chain.contracts.token import Permit
from chain.rpc.ethereum import BlockTag, Call
from chain.tx.wallet import Key, sign_consent
from protocol.events import IntakeStopped, NodeSlashed
from protocol.stages.offer import NodeRecord
from protocol.wire.ids import ZERO_ADDRESS, Address, Wei

CONSENT_SECONDS = 3_600
_STILL = (1 << 40) - 1
"""Of a key that operates now."""
_ABOUT_A_NODE = frozenset(
    {
        "NodeRegistered",
        "StakeChanged",
        "NodeStateChanged",
        "PayoutChanged",
        "OperatorChanged",
        "ClassesChanged",
        "CheckedIn",
        "Jailed",
        "Unjailed",
        "ReputationChanged",
    }
)


@dataclass(frozen=True, slots=True)
class StakedNode(ContractStruct):
    """Everything that the chain has of a node; the fields of NodeView. Stakes in wei, times in seconds.

    `active_stake` is everybody's, `own_stake` the owner's part of it: what limits the price of a job.
    """

    owner: Address
    operator: Address
    payout: Address
    state: NodeState
    class_mask: int
    active_stake: Wei
    unbonding_stake: Wei
    unlock_at_s: int
    jailed_until_s: int
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
    own_stake: Wei

    def record(self, node_id: Address) -> NodeRecord:
        """The part that roles know."""
        return NodeRecord(
            node_id=node_id,
            owner=self.owner,
            operator=self.operator,
            payout=self.payout,
            active=self.state is NodeState.ACTIVE,
            class_mask=self.class_mask,
            stake=self.own_stake,
            unbonding=self.unbonding_stake,
            score=self.score_hundredths,
            rate_bps=self.rate_bps,
        )


@dataclass(frozen=True, slots=True)
class Registration:
    """The terms of a registration; `consent` is the operator's signature, good until `deadline` in seconds."""

    operator: Address
    payout: Address
    amount: Wei
    class_mask: int
    deadline: int
    consent: bytes


@dataclass(frozen=True, slots=True)
class Consent:
    """An operator key's signed agreement to be a node's, good until `deadline` in seconds."""

    operator: Address
    deadline: int
    signature: bytes


@dataclass(frozen=True, slots=True)
class Delegation:
    """One staker's part in a node, the owner included; the fields of DelegationView. In wei, as of now."""

    active: Wei
    unbonding: Wei
    unlock_at_s: int
    rewards: Wei


@dataclass(frozen=True, slots=True)
class StakeTerms:
    """On what terms others may stake on a node, and what its owner has announced; the fields of NodeTerms.

    What is announced may be confirmed by anyone from `commission_at_s` and `payout_at_s` on; 0: nothing is announced.
    """

    own_stake: Wei
    delegated_stake: Wei
    rewards_held: Wei
    commission_bps: int
    next_commission_bps: int
    commission_at_s: int
    next_payout: Address
    payout_at_s: int


class Stakes(Contract):
    """The register of nodes, and what everybody has at stake. A node's id is the address of its first operator key."""

    NAME = "StakeManager"

    async def node_of(self, node: Address, block: BlockTag = "latest") -> StakedNode | None:
        """A node; None if it is not registered."""
        return (await self.nodes_of([node], block))[0]

    async def nodes_of(self, nodes: list[Address], block: BlockTag = "latest") -> list[StakedNode | None]:
        """Many nodes on the same state, in order."""
        found = await self.read_many("nodeOf", [(node,) for node in nodes], block)
        return [StakedNode(*values) if NodeState(values[3]) is not NodeState.NONE else None for values in found]

    async def registered(self, first: int, last: int) -> set[Address]:
        """Every node that was registered in these blocks."""
        return {entry.values[0] for entry in await self.entries("NodeRegistered", first, last)}

    async def is_registered(self, node: Address) -> bool:
        """Whether this address is a node."""
        owner, _ = await self.read("keysOf", node)
        return bool(owner != ZERO_ADDRESS)

    async def paused_until_s(self) -> int:
        """Until when new obligations are stopped, seconds; in the past or 0 while they are taken."""
        return int(await self.read("intakePausedUntil"))

    async def delegation_of(self, node: Address, staker: Address) -> Delegation:
        """One staker's part in a node with its earnings; of the owner its own part."""
        return Delegation(*await self.read("delegationOf", node, staker))

    async def terms_of(self, node: Address) -> StakeTerms:
        """Commission, own and delegated stake, and what is announced; all zero if it is not registered."""
        return StakeTerms(*await self.read("termsOf", node))

    async def node_of_operator(self, operator: Address) -> Address | None:
        """The node whose operator key this is; None if it is no node's."""
        found, until = await self.read("nodeOfOperator", operator)
        return found if until == _STILL else None

    async def id_of(self, name: Address) -> Address:
        """The node that an address names: the one whose operator key it is now, else the address itself."""
        return await self.node_of_operator(name) or name

    # ---- the owner

    async def consent(self, operator: Key, owner: Address) -> Consent:
        """The agreement of an operator key to a node of `owner`, signed now and good for an hour."""
        deadline = (await self.ethereum.block()).timestamp + CONSENT_SECONDS
        signature = sign_consent(operator, owner, deadline, self.ethereum.chain_id, self.address)
        return Consent(operator.address, deadline, signature)

    def register(self, terms: Registration, permit: Permit) -> Call:
        """Register a node; the sender becomes its owner and puts up the amount."""
        return self.call("registerWithPermit", *astuple(terms), permit)

    def register_with_commission(self, terms: Registration, commission_bps: int, permit: Permit) -> Call:
        """As `register`, with a commission of one's own choice, in basis points."""
        return self.call("registerWithCommission", (*astuple(terms)[:5], commission_bps), terms.consent, permit)

    stake = CallTo[Address, int]("stake")
    """(node, amount) Add to the stake; its owner."""

    set_payout = CallTo[Address, Address]("setPayout")
    """(node, payout) Announce where rewards go; its owner. In force once it is confirmed after the network's timelock.
    """

    confirm_payout = CallTo[Address]("confirmPayout")
    """(node) Put an announced payout in force once its time has come; anyone."""

    cancel_payout = CallTo[Address]("cancelPayout")
    """(node) Call an announced payout off; its owner, or who is paid now."""

    set_commission = CallTo[Address, int]("setCommission")
    """(node, commission_bps) Announce another commission, in basis points; its owner. In force as a payout is."""

    confirm_commission = CallTo[Address]("confirmCommission")
    """(node) Put an announced commission in force once its time has come; anyone."""

    cancel_commission = CallTo[Address]("cancelCommission")
    """(node) Call an announced commission off; its owner."""

    set_classes = CallTo[Address, int]("setClasses")
    """(node, class_mask) Change the device classes; its owner. Full probation follows."""

    def rotate_operator(self, node: Address, consent: Consent) -> Call:
        """Give the node another operator key, the one that agrees; its owner."""
        return self.call("rotateOperator", node, *astuple(consent))

    unjail = CallTo[Address]("unjail")
    """(node) Leave jail once its time is over; its owner."""

    challenge_liveness = CallTo[Address, Address]("challengeLiveness")
    """(node, by) Ask another node for a sign within five minutes, for a bond; the owner of `by`."""

    # ---- everybody who has stake

    delegate = CallTo[Address, int, Permit]("delegateWithPermit")
    """(node, amount, permit) Stake on somebody else's node."""

    unbond = CallTo[Address, int]("unbond")
    """(node, amount) Start to take one's stake back."""

    rebond = CallTo[Address, int]("rebond")
    """(node, amount) Take back an unbond."""

    withdraw = CallTo[Address]("withdraw")
    """(node) Pay one's unbonded stake out."""

    claim_rewards = CallTo[Address]("claimRewards")
    """(node) Pay out what one's stake on somebody else's node has earned."""

    # ---- the operator

    check_in = CallTo[Address]("checkIn")
    """(node) Say once a day that the node is there; its operator."""

    answer_liveness = CallTo[Address, Address]("answerLiveness")
    """(node, challenger) Give the sign that the owner `challenger` has asked for, which earns the bond; the operator,
    in time."""

    # ---- anyone

    miss_liveness = CallTo[Address, Address]("missLiveness")
    """(node, challenger) Say that no sign came in time, and give the bond back; anyone."""

    penalize_offline = CallTo[Address]("penalizeOffline")
    """(node) Burn a hundredth of a node's stake for each day without a sign beyond a week; anyone, for nothing."""

    # ---- logs

    def fact(self, entry: DecodedLog) -> Fact | None:
        """The fact in a log of this contract."""
        match entry.event, entry.values:
            case "Slashed", (node, case_id, active, unbonding, *_):
                return NodeSlashed(node, active + unbonding, case_id)
            case "IntakeStopped", (until,):
                return IntakeStopped(until)
            case event, (node, *_) if event in _ABOUT_A_NODE:
                return NodeTouched(node)
        return None
