"""The names of this node, and the choices of its operator."""

from dataclasses import dataclass

from protocol.params import DEFAULT_LANE_WEI, DEFAULT_PRICE_WEI
from protocol.roles.role import Role
from protocol.wire.envelope import Domain
from protocol.wire.ids import Address, Cid, PeerId, Wei


@dataclass(frozen=True, slots=True)
class Identity:
    """This node's names. `client` and `signer` are set where it asks for jobs; addresses are full multiaddrs.

    `node` is its id where that is not its operator's address: the operator was rotated.
    """

    operator: Address
    peer_id: PeerId
    domain: Domain
    addresses: tuple[str, ...]
    client: Address | None = None
    signer: Address | None = None
    node: Address | None = None

    @property
    def node_id(self) -> Address:
        """The id of the node: its first operator's address, whatever key operates it now."""
        return self.node or self.operator


@dataclass(frozen=True, slots=True)
class Settings:
    """The operator's choices. price in wei per 1,000 output tokens; memory in bytes for one container.

    `slots` are containers at the same time, `at_once` the answers that one of them may write side by side.

    `risk_wei` is what this node may lose in 24 hours to all clients whose lanes are in no block yet; `confirmations`
    are blocks that a lane has been on chain for when it counts in full. `lanes_ahead` are lanes that a client opens for
    nodes that it has not hired yet.

    `secret` is 32 bytes that never leave this machine: salts and seeds are derived from it, so that a fold of the
    journal finds the same ones.
    """

    secret: bytes
    roles: frozenset[Role] = frozenset(Role)
    price: Wei = DEFAULT_PRICE_WEI
    slots: int = 1
    at_once: int = 1
    queue: int = 16
    lane_amount: Wei = DEFAULT_LANE_WEI
    memory_bytes: int = 4 * 2**30
    models: frozenset[Cid] | None = frozenset()
    """Models to fetch beside those that the chain has noise constants for; None: every model."""
    agent: str = "vcoin/0.1.0"
    profile: str = "local"
    risk_wei: Wei = Wei(0)
    confirmations: int = 1
    lanes_ahead: int = 0

    @property
    def places(self) -> int:
        """Jobs that may be here at a time, running or waiting."""
        return self.slots * self.at_once + self.queue
