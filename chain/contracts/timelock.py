"""The Timelock contract: who may change a network, and what is going to be changed."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from eth_abi.abi import encode
from eth_utils.crypto import keccak

from chain.contracts.contract import CallTo, Contract
from chain.rpc.ethereum import Call
from protocol.wire.ids import ZERO_ADDRESS, ZERO_HASH, Address, Wei

ANYBODY = ZERO_ADDRESS
"""As an executor: any account may carry out what has waited long enough."""
ADMIN = bytes(32)
ROLES = ("PROPOSER_ROLE", "CANCELLER_ROLE", "EXECUTOR_ROLE")
_SINGLE = ("address", "uint256", "bytes", "bytes32", "bytes32")
"""The encoding whose hash is the id of an operation of one call."""


class OperationState(IntEnum):
    """The state of an operation; the contract's numbers."""

    UNSET = 0
    WAITING = 1
    READY = 2
    DONE = 3


@dataclass(frozen=True, slots=True)
class Governance:
    """The governor of a network. Proposers may cancel, too; the keeper may pause the intake."""

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
    """Calls that the governor is going to make, one after the other; `ready_at_s` in seconds.

    predecessor: the operation that must be done before, or zero. salt: tells it from another one with the same calls.
    """

    id: bytes
    calls: tuple[Call, ...]
    predecessor: bytes
    salt: bytes
    ready_at_s: int
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

    async def holders(self, first: int, last: int) -> list[tuple[str, Address]]:
        """The holders of each role now, of all accounts that were given one in these blocks; by the names in ROLES."""
        names = {role_id(role): role for role in ROLES}
        given = {(role, account): None for role, account, _ in await self._values("RoleGranted", first, last)}
        known = [(role, account) for role, account in given if role in names]
        has = await self.read_many("hasRole", list(known)) if known else []
        return [(names[role], account) for (role, account), holds in zip(known, has, strict=True) if holds]

    async def pending(self, first: int, last: int) -> list[Operation]:
        """Operations that were proposed in these blocks and are neither done nor cancelled, in order."""
        calls: dict[bytes, dict[int, Call]] = {}
        before: dict[bytes, bytes] = {}
        for identity, index, target, value, data, predecessor, _ in await self._values("CallScheduled", first, last):
            # A cancelled operation may be proposed again, and then has two logs.
            calls.setdefault(identity, {})[index] = Call("proposed call", target, data, Wei(value))
            before[identity] = predecessor
        if not calls:
            return []
        salts = dict(await self._values("CallSalt", first, last))
        ids: list[tuple[bytes]] = [(identity,) for identity in calls]
        states = await self.read_many("getOperationState", ids)
        times = await self.read_many("getTimestamp", ids)
        made = (
            Operation(
                identity,
                tuple(calls[identity][index] for index in sorted(calls[identity])),
                before[identity],
                salts.get(identity, ZERO_HASH),
                ready_at_s,
                OperationState(state),
            )
            for (identity,), state, ready_at_s in zip(ids, states, times, strict=True)
        )
        return [each for each in made if each.state in (OperationState.WAITING, OperationState.READY)]

    def schedule(self, call: Call, delay: int, salt: bytes = ZERO_HASH) -> Call:
        """Propose a call; a proposer. Another salt lets the same call be made once more."""
        return self.call("schedule", call.to, call.value, call.data, ZERO_HASH, salt, delay)

    def execute(self, call: Call, salt: bytes = ZERO_HASH) -> Call:
        """Make a call that has waited; an executor."""
        return self.call("execute", call.to, call.value, call.data, ZERO_HASH, salt)

    def carry_out(self, operation: Operation) -> Call:
        """Make the calls of an operation that has waited; an executor."""
        after = (operation.predecessor, operation.salt)
        first = operation.calls[0]
        alone = keccak(encode(_SINGLE, (first.to, first.value, first.data, *after)))
        if alone == operation.id:
            return self.call("execute", first.to, first.value, first.data, *after)
        parts = zip(*((call.to, call.value, call.data) for call in operation.calls), strict=True)
        return self.call("executeBatch", *map(tuple, parts), *after)

    cancel = CallTo[bytes]("cancel")
    """(identity) Strike out a proposal; a canceller."""

    def grant_role(self, role: str, account: Address) -> Call:
        """Give one of ROLES; the timelock itself."""
        return self.call("grantRole", role_id(role), account)

    def revoke_role(self, role: str, account: Address) -> Call:
        """Take one of ROLES; the timelock itself."""
        return self.call("revokeRole", role_id(role), account)

    def renounce_role(self, role: str, account: Address) -> Call:
        """Give back one's own of ROLES; who has it."""
        return self.call("renounceRole", role_id(role), account)

    update_delay = CallTo[int]("updateDelay")
    """(seconds) Make the delay longer, or take that back; the timelock itself."""

    async def _values(self, event: str, first: int, last: int) -> list[tuple[Any, ...]]:
        return [entry.values for entry in await self.entries(event, first, last)]


def role_id(role: str) -> bytes:
    """As the contract names a role."""
    return ADMIN if role == "DEFAULT_ADMIN_ROLE" else keccak(text=role)
