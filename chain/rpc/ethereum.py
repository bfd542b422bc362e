"""The Ethereum calls that we use, typed: blocks, logs, state at a block, transactions."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from chain.abi.interface import refusal_of
from chain.rpc.endpoints import RpcRefusal
from protocol.errors import ChainError, Reverted
from protocol.wire.ids import Address, Hash32, Wei, checksum

BlockTag = int | Literal["latest", "pending"]
Topics = Sequence[Sequence[bytes] | None]
LOG_RANGE = 5_000
"""Blocks asked for at once; an endpoint that allows fewer is asked for half, and half of that."""
TOO_EARLY = frozenset(
    {
        "CaseWaits",
        "IntakePaused",
        "NoSeed",
        "NotAllRevealed",
        "NotStarved",
        "RulingWaits",
        "SeatStillHasTime",
        "SeatsMissing",
        "SeedNotYet",
        "TurnNotOver",
        "WindowOpen",
    }
)
"""Refusals of a contract that time will lift."""
_HEX = re.compile(r"0x[0-9a-fA-F]*")
_REVERTED = 3
"""JSON-RPC code of a revert, beside the data that says why."""


@dataclass(frozen=True, slots=True)
class Block:
    """A block header; time in seconds, base fee in wei."""

    number: int
    hash: Hash32
    parent: Hash32
    timestamp: int
    base_fee: Wei


@dataclass(frozen=True, slots=True)
class Log:
    """A log as it is on chain."""

    address: Address
    topics: tuple[bytes, ...]
    data: bytes
    block: int
    block_hash: Hash32
    transaction: Hash32
    index: int


@dataclass(frozen=True, slots=True)
class TransactionReceipt:
    """The outcome of a transaction."""

    transaction: Hash32
    block: int
    succeeded: bool
    gas_used: int
    fee: Wei
    contract: Address | None
    logs: tuple[Log, ...]


@dataclass(frozen=True, slots=True)
class Call:
    """A call to a contract, or with no `to` the creation of one; `title` names it for people."""

    title: str
    to: Address | None
    data: bytes
    value: Wei = Wei(0)


class RpcSource(Protocol):
    """Answers JSON-RPC: the first endpoint that does, or all of them together. Raises: ChainError."""

    chain_id: int

    async def request(self, method: str, *parameters: Any) -> Any:
        """The result of one call."""

    async def batch(self, calls: Sequence[tuple[str, Sequence[Any]]]) -> list[Any]:
        """The results of many, in order."""


class Ethereum:
    """One chain, through any of its endpoints."""

    def __init__(self, rpc: RpcSource) -> None:
        self.rpc = rpc
        self.chain_id = rpc.chain_id
        self._log_span = LOG_RANGE

    async def block(self, tag: BlockTag = "latest") -> Block:
        """A header.

        Raises: ChainError, transient, if the endpoint does not have the block yet.
        """
        raw = await self.rpc.request("eth_getBlockByNumber", _tag(tag), False)
        return _read_block(tag, raw)

    async def blocks(self, first: int, last: int) -> list[Block]:
        """The headers of some blocks, in order.

        Raises: as `block`.
        """
        numbers = range(first, last + 1)
        raw = await self.rpc.batch([("eth_getBlockByNumber", (hex(number), False)) for number in numbers])
        return [_read_block(number, each) for number, each in zip(numbers, raw, strict=True)]

    async def head(self) -> int:
        """The number of the newest block."""
        return _number(await self.rpc.request("eth_blockNumber"))

    async def call(self, call: Call, sender: Address | None = None, block: BlockTag = "latest") -> bytes:
        """The answer of a call on the state after `block`.

        Raises: Reverted.
        """
        try:
            return _bytes(await self.rpc.request("eth_call", _message(call, sender), _tag(block)))
        except RpcRefusal as error:
            raise refused(call, error) from error

    async def call_many(self, calls: Sequence[Call], block: BlockTag = "latest") -> list[bytes]:
        """The answers to many calls on the same state, in order.

        Raises: Reverted for the first that is refused.
        """
        asked = [("eth_call", (_message(call, None), _tag(block))) for call in calls]
        try:
            return [_bytes(answer) for answer in await self.rpc.batch(asked)]
        except RpcRefusal as error:
            raise refused(calls[0], error) from error

    async def logs(
        self, addresses: Sequence[Address], first: int, last: int, topics: Topics = ()
    ) -> tuple[int, list[Log]]:
        """The logs of these contracts from block `first` on, in order: up to which block, at most `last`, and the logs.

        Args: topics, to get only the logs that have one of those named at each place; None: whatever stands there.
        """
        query: dict[str, Any] = {"address": list(addresses), "fromBlock": hex(first)}
        if topics:
            query["topics"] = [each and [f"0x{topic.hex()}" for topic in each] for each in topics]
        while True:
            until = min(first + self._log_span - 1, last)
            try:
                raw = await self.rpc.request("eth_getLogs", {**query, "toBlock": hex(until)})
            except RpcRefusal:
                if until == first:
                    raise
                self._log_span = max(1, (until - first + 1) // 2)
            else:
                return until, sorted((read_log(each) for each in _list(raw)), key=lambda log: (log.block, log.index))

    async def code(self, address: Address) -> bytes:
        """A contract's code; empty if there is none."""
        return _bytes(await self.rpc.request("eth_getCode", address, "latest"))

    async def balance(self, address: Address) -> Wei:
        """The balance of an account for gas, in wei of the chain's own coin."""
        return Wei(_number(await self.rpc.request("eth_getBalance", address, "latest")))

    async def nonce(self, address: Address, tag: BlockTag = "latest") -> int:
        """Transactions that an account has sent: mined ones up to a block, or with "pending" also waiting ones."""
        return _number(await self.rpc.request("eth_getTransactionCount", address, _tag(tag)))

    async def estimate(self, call: Call, sender: Address) -> int:
        """The gas that a transaction needs.

        Raises: Reverted if it would fail.
        """
        try:
            return _number(await self.rpc.request("eth_estimateGas", _message(call, sender)))
        except RpcRefusal as error:
            raise refused(call, error) from error

    async def tip(self) -> Wei:
        """The tip per gas that the endpoint advises."""
        return Wei(_number(await self.rpc.request("eth_maxPriorityFeePerGas")))

    async def broadcast(self, raw: bytes) -> None:
        """Send a signed transaction; one that the endpoint has already is fine.

        Raises: RpcRefusal.
        """
        try:
            await self.rpc.request("eth_sendRawTransaction", f"0x{raw.hex()}")
        except RpcRefusal as error:
            words = str(error).lower()
            if "already known" not in words and "already imported" not in words:
                raise

    async def input_of(self, transaction: Hash32) -> bytes | None:
        """The calldata of a transaction; None if the endpoint does not know it any more."""
        raw = await self.rpc.request("eth_getTransactionByHash", f"0x{transaction.hex()}")
        return None if raw is None else _bytes(_field(raw, "input"))

    async def receipt(self, transaction: Hash32) -> TransactionReceipt | None:
        """The outcome of a transaction; None while it is in no block."""
        raw = await self.rpc.request("eth_getTransactionReceipt", f"0x{transaction.hex()}")
        if raw is None or _field(raw, "blockNumber") is None:
            return None
        gas_used = _number(_field(raw, "gasUsed"))
        contract = raw.get("contractAddress")
        return TransactionReceipt(
            transaction=transaction,
            block=_number(raw["blockNumber"]),
            succeeded=_number(_field(raw, "status")) == 1,
            gas_used=gas_used,
            fee=Wei(gas_used * _number(raw.get("effectiveGasPrice", "0x0"))),
            contract=_address(contract) if contract else None,
            logs=tuple(read_log(each) for each in _list(_field(raw, "logs"))),
        )


def refused(call: Call, error: RpcRefusal) -> ChainError:
    """An endpoint's error about a call: Reverted if the contract refused it, else the endpoint's own words."""
    words = str(error)
    if error.data or error.code == _REVERTED or "revert" in words.lower():
        reason = refusal_of(error.data)
        return Reverted(f"{call.title}: {reason}", transient=reason.partition("(")[0] in TOO_EARLY)
    if "insufficient funds" in words.lower():
        return ChainError(f"{call.title}: the sender has too little for gas ({words})")
    return ChainError(f"{call.title}: {words}", transient=error.transient)


def refusal_name(error: Reverted) -> str:
    """The name of the custom error behind a Reverted."""
    return str(error).partition(": ")[2].partition("(")[0]


def _read_block(tag: BlockTag, raw: Any) -> Block:
    if raw is None:
        raise ChainError(f"the endpoint does not have block {tag}", transient=True)
    return Block(
        number=_number(_field(raw, "number")),
        hash=_hash(_field(raw, "hash")),
        parent=_hash(_field(raw, "parentHash")),
        timestamp=_number(_field(raw, "timestamp")),
        base_fee=Wei(_number(raw.get("baseFeePerGas", "0x0"))),
    )


def read_log(raw: Any) -> Log:
    """A log as an endpoint gives it.

    Raises: ChainError if it is none.
    """
    return Log(
        address=_address(_field(raw, "address")),
        topics=tuple(_bytes(topic) for topic in _list(_field(raw, "topics"))),
        data=_bytes(_field(raw, "data")),
        block=_number(_field(raw, "blockNumber")),
        block_hash=_hash(_field(raw, "blockHash")),
        transaction=_hash(_field(raw, "transactionHash")),
        index=_number(_field(raw, "logIndex")),
    )


def _message(call: Call, sender: Address | None) -> dict[str, str]:
    message = {"data": f"0x{call.data.hex()}", "value": hex(call.value)}
    if call.to:
        message["to"] = call.to
    if sender:
        message["from"] = sender
    return message


def _tag(tag: BlockTag) -> str:
    return hex(tag) if isinstance(tag, int) else tag


def _nonsense(what: str) -> ChainError:
    """Transient: the next endpoint may know better."""
    return ChainError(f"the endpoint's answer is nonsense: {what}", transient=True)


def _field(raw: Any, name: str) -> Any:
    if not isinstance(raw, dict) or name not in raw:
        raise _nonsense(f"no {name}")
    return raw[name]


def _list(raw: Any) -> list[Any]:
    if not isinstance(raw, list):
        raise _nonsense("no list")
    return raw


def _number(raw: Any) -> int:
    if not isinstance(raw, str) or not _HEX.fullmatch(raw) or not 3 <= len(raw) <= 66:
        raise _nonsense("no number")
    return int(raw, 16)


def _bytes(raw: Any) -> bytes:
    if not isinstance(raw, str) or not _HEX.fullmatch(raw) or len(raw) % 2:
        raise _nonsense("no bytes")
    return bytes.fromhex(raw[2:])


def _hash(raw: Any) -> Hash32:
    found = _bytes(raw)
    if len(found) != 32:
        raise _nonsense("no hash")
    return Hash32(found)


def _address(raw: Any) -> Address:
    if len(_bytes(raw)) != 20:
        raise _nonsense("no address")
    return checksum(raw.lower())
