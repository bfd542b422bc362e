"""The Timelock contract: who may change a network, and what is going to be changed."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

from eth_utils.crypto import keccak

from chain.contract import Contract
from chain.ethereum import Call
from protocol.wire.ids import ZERO_ADDRESS, ZERO_HASH, Address

ANYBODY = ZERO_ADDRESS
"""As an executor: whoever comes may carry out what has waited long enough."""
ADMIN = bytes(32)


class OperationState(IntEnum):
    """Where an operation stands; the contract's numbers."""

    UNSET = 0
    WAITING = 1
    READY = 2
    DONE = 3


@dataclass(frozen=True, slots=True)
class Governance:
    """Who rules a network. Proposers may cancel, too; the keeper may pause the intake."""

    proposers: tuple[Address, ...]
    keeper: Address
    cancellers: tuple[Address, ...] = ()
    executors: tuple[Address, ...] = (ANYBODY,)

    def roles(self) -> Iterable[tuple[str, Address]]:
        """Every role that the Timelock was deployed with, and who has it."""
        for proposer in self.proposers:
            yield "PROPOSER_ROLE", proposer
            yield "CANCELLER_ROLE", proposer
        for executor in self.executors:
            yield "EXECUTOR_ROLE", executor
        for canceller in self.cancellers:
            yield "CANCELLER_ROLE", canceller


@dataclass(frozen=True, slots=True)
class Operation:
    """One call that the governor is going to make; `ready_at` in seconds."""

    id: bytes
    target: Address
    data: bytes
    ready_at: int
    state: OperationState


class Timelock(Contract):
    """The governor."""

    NAME = "Timelock"

    async def delay(self) -> int:
        """Seconds between a proposal and its execution."""
        return int(await self.read("getMinDelay"))

    async def has_roles(self, roles: Iterable[tuple[str, Address]]) -> bool:
        """Whether everybody named has the role named."""
        asked: list[tuple[bytes, Address]] = [(role_id(role), account) for role, account in roles]
        return all(await self.read_many("hasRole", asked))

    async def pending(self, first: int, last: int) -> list[Operation]:
        """What was proposed in these blocks and is neither done nor cancelled, in order."""
        found: list[tuple[bytes, Address, bytes]] = []
        for entry in await self.entries("CallScheduled", first, last):
            identity, _, target, _, data, *_ = entry.values
            found.append((identity, target, data))
        ids: list[tuple[bytes]] = [(identity,) for identity, _, _ in found]
        if not ids:
            return []
        states = await self.read_many("getOperationState", ids)
        times = await self.read_many("getTimestamp", ids)
        made = (
            Operation(*call, ready_at, OperationState(state))
            for call, state, ready_at in zip(found, states, times, strict=True)
        )
        return [each for each in made if each.state in (OperationState.WAITING, OperationState.READY)]

    def schedule(self, call: Call, delay: int, salt: bytes = ZERO_HASH) -> Call:
        """Propose a call; a proposer. Another salt lets the same call be made once more."""
        return self.call("schedule", call.to, call.value, call.data, ZERO_HASH, salt, delay)

    def execute(self, call: Call, salt: bytes = ZERO_HASH) -> Call:
        """Make a call that has waited; an executor."""
        return self.call("execute", call.to, call.value, call.data, ZERO_HASH, salt)

    def cancel(self, identity: bytes) -> Call:
        """Strike out a proposal; a canceller."""
        return self.call("cancel", identity)


def role_id(role: str) -> bytes:
    """As the contract names a role."""
    return ADMIN if role == "DEFAULT_ADMIN_ROLE" else keccak(text=role)
