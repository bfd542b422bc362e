"""The abilities of a chain, found by asking it, and whether a network may be deployed there.

Nothing is believed that can be tried: codes and opcodes are tried in simulated calls, times and proposers are measured
over recent blocks.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from chain.contracts.profiles import FINAL_DEPTH
from chain.deploy.deployment import Plan
from chain.rpc.endpoints import RpcRefusal
from chain.rpc.ethereum import Call, Ethereum
from chain.tx.transactions import DEFAULT_TIP, ETHER, MAX_FEE
from protocol.errors import ChainError, Reverted
from protocol.wire.ids import Address, Wei

LOCAL_CHAINS = frozenset({1_337, 31_337})
"""Chains of one machine: Anvil and its like. A finding that blocks elsewhere is only reported there."""
HISTORY = Address("0x0000F90827F1C53a10cb7A02335B175320002935")
"""EIP-2935: the contract that knows the hashes of the last 8191 blocks."""
HISTORY_BLOCKS = 8_191
EVM_BLOCKS = 256
MEASURED_BLOCKS = 128
SEAL_S = 600.0
"""A seed must stay within reach for so long, or a node that restarts loses the epoch."""
CODE_LIMIT = 24_576
"""EIP-170, in bytes."""
# PUSH0, MCOPY and TSTORE, each of which an older EVM does not know; the code that is made is one byte.
_CANCUN = bytes.fromhex("5f5f5f5e5f5f5d60015f5360015ff3")


@dataclass(frozen=True, slots=True)
class Survey:
    """The findings of a survey. Times in seconds, amounts in wei.

    `block_s` is None while there are too few blocks; `base_fee` None without EIP-1559; `code_limit` the size that was
    tried where it was accepted, else 0.
    """

    chain_id: int
    client: str
    head: int
    block_s: float | None
    slowest_s: float | None
    measured: int
    proposers: int
    base_fee: Wei | None
    tip: Wei
    has_history: bool
    runs_cancun: bool
    code_limit: int
    balance: Wei

    @property
    def is_local(self) -> bool:
        """Whether this is a chain of one machine."""
        return self.chain_id in LOCAL_CHAINS

    @property
    def fee(self) -> int:
        """Per gas, as the next block takes it."""
        return (self.base_fee or 0) + self.tip

    @property
    def most_fee(self) -> int:
        """Per gas, as it is offered: enough for six full blocks."""
        return 2 * (self.base_fee or 0) + self.tip

    @property
    def seed_reach_s(self) -> float | None:
        """How long a block's hash can be had."""
        blocks = HISTORY_BLOCKS if self.has_history else EVM_BLOCKS
        return None if self.block_s is None else blocks * self.block_s


@dataclass(frozen=True, slots=True)
class SurveyFinding:
    """Something that speaks against it, and what to do about it."""

    what: str
    fix: str
    refused: bool


async def survey(ethereum: Ethereum, deployer: Address, largest: int = CODE_LIMIT) -> Survey:
    """Look at a chain, and at the deployer's gas money.

    Args: largest, bytes of the largest code that is going to be created.
    Raises: ChainError.
    """
    head = await ethereum.head()
    blocks = await _recent(ethereum, head)
    times = [int(block["timestamp"], 16) for block in blocks]
    gaps = [later - earlier for earlier, later in pairwise(times)]
    newest = blocks[-1]
    try:
        tip = await ethereum.tip()
    except RpcRefusal:
        tip = DEFAULT_TIP
    base_fee = newest.get("baseFeePerGas")
    return Survey(
        chain_id=ethereum.chain_id,
        client=_printable(await _client(ethereum)),
        head=head,
        block_s=sum(gaps) / len(gaps) if gaps else None,
        slowest_s=float(max(gaps)) if gaps else None,
        measured=len(gaps),
        proposers=len({block.get("miner") for block in blocks}),
        base_fee=None if base_fee is None else Wei(int(base_fee, 16)),
        tip=tip,
        has_history=await _has_history(ethereum, newest),
        runs_cancun=await _creates(ethereum, _CANCUN, 1),
        code_limit=largest if await _creates(ethereum, _code_of(largest), largest) else 0,
        balance=await ethereum.balance(deployer),
    )


def findings(seen: Survey, made: Plan) -> tuple[SurveyFinding, ...]:
    """The findings against a deployment of this plan on that chain."""
    return (
        *_about_the_machine(seen),
        *_about_the_network(seen, made),
        *_about_time(seen, made),
        *_about_money(seen, made),
    )


def refusals(found: Sequence[SurveyFinding]) -> tuple[SurveyFinding, ...]:
    """Findings that block a deployment."""
    return tuple(each for each in found if each.refused)


def _about_the_machine(seen: Survey) -> Iterator[SurveyFinding]:
    if not seen.runs_cancun:
        yield SurveyFinding("the chain lacks opcodes of the Cancun upgrade", "deploy on a chain that has it", True)
    if not seen.code_limit:
        yield SurveyFinding("the chain refuses contracts as large as ours", f"it must allow {CODE_LIMIT:,} bytes", True)
    if seen.base_fee is None:
        yield SurveyFinding("the chain has no EIP-1559 fees", "deploy on a chain that has them", True)
    if not seen.has_history:
        yield SurveyFinding(
            f"the chain has no EIP-2935: a seed can be had for {EVM_BLOCKS} blocks only",
            "run at least one node that never sleeps, or take a chain with the Prague upgrade",
            False,
        )


def _about_the_network(seen: Survey, made: Plan) -> Iterator[SurveyFinding]:
    name = made.profile.name
    if name == "local" and not seen.is_local:
        yield SurveyFinding(
            f"profile local is for a chain of one machine, not for chain {seen.chain_id}: its stakes are free to leave "
            f"after {made.profile.unbonding_seconds} s",
            "--profile testnet",
            True,
        )
    if name != "local" and seen.is_local:
        yield SurveyFinding(
            f"profile {name} on a chain of one machine is a rehearsal", "--profile local for a laptop", False
        )
    if seen.proposers == 1 and seen.measured and not seen.is_local:
        yield SurveyFinding(
            f"one proposer made the last {seen.measured + 1} blocks: it chooses every seed",
            "take a chain whose proposers take turns" if name == "main" else "nothing to do for a test",
            name == "main",
        )


def _about_time(seen: Survey, made: Plan) -> Iterator[SurveyFinding]:
    profile, block_s, reach_s = made.profile, seen.block_s, seen.seed_reach_s
    if block_s is None or reach_s is None:
        yield SurveyFinding(
            "there are too few blocks to measure their time", "anvil --block-time 1 makes one a second", False
        )
        return
    seed_s = (profile.epoch_blocks + profile.lag_blocks) * block_s
    if seed_s >= profile.convene_seconds:
        yield SurveyFinding(
            f"a seed takes {seed_s:.0f} s of {block_s:.1f} s blocks, longer than the {profile.convene_seconds} s "
            f"in which profile {profile.name} wants a court",
            "take a profile with longer windows, or a faster chain",
            not seen.is_local,
        )
    final_s = FINAL_DEPTH.get(profile.name, 0) * block_s
    if final_s >= profile.challenge_seconds:
        yield SurveyFinding(
            f"a block is final after {final_s:.0f} s, later than the challenge window of {profile.challenge_seconds} s",
            "take a profile with longer windows, or a faster chain",
            not seen.is_local,
        )
    if reach_s < SEAL_S:
        yield SurveyFinding(
            f"a seed can be had for {reach_s:.0f} s only",
            "take a chain with EIP-2935, or with slower blocks",
            not seen.is_local,
        )


def _about_money(seen: Survey, made: Plan) -> Iterator[SurveyFinding]:
    if seen.most_fee > MAX_FEE:
        yield SurveyFinding(f"gas costs {seen.fee / 10**9:.1f} gwei", "wait until it is cheaper", True)
    lacking = made.gas * seen.most_fee - seen.balance
    if lacking > 0:
        yield SurveyFinding(
            f"{made.deployer} has {seen.balance / ETHER:.6f} of the chain's own coin, the deployment may cost "
            f"{made.gas * seen.most_fee / ETHER:.6f}",
            f"send {_rounded_up(lacking)} to {made.deployer}",
            True,
        )


def _rounded_up(wei: int) -> str:
    return f"{-(-wei // 10**12) / 10**6:.6f}"


async def _recent(ethereum: Ethereum, head: int) -> list[dict[str, Any]]:
    numbers = range(max(0, head - MEASURED_BLOCKS), head + 1)
    # The first block's time is whatever its maker wrote, and says nothing of those that follow.
    kept = numbers[1:] if numbers.start == 0 and len(numbers) > 1 else numbers
    raw = await ethereum.rpc.batch([("eth_getBlockByNumber", (hex(number), False)) for number in kept])
    for block in raw:
        if not isinstance(block, dict) or not isinstance(block.get("timestamp"), str) or "hash" not in block:
            raise ChainError("the endpoint's answer is nonsense: no block", transient=True)
    return raw


async def _client(ethereum: Ethereum) -> str:
    try:
        return str(await ethereum.rpc.request("web3_clientVersion"))
    except RpcRefusal:
        return "unknown"


async def _has_history(ethereum: Ethereum, newest: dict[str, Any]) -> bool:
    if not await ethereum.code(HISTORY):
        return False
    number = int(newest["number"], 16)
    if number == 0:
        return True
    asked = Call("history", HISTORY, (number - 1).to_bytes(32, "big"))
    try:
        return bool(f"0x{(await ethereum.call(asked, block=number)).hex()}" == newest["parentHash"])
    except (Reverted, ChainError):
        return False


async def _creates(ethereum: Ethereum, code: bytes, size: int) -> bool:
    """Whether a creation is accepted and leaves code of that size behind."""
    try:
        return len(await ethereum.call(Call("probe", None, code))) == size
    except ChainError as error:
        if error.transient and not isinstance(error.__cause__, RpcRefusal):
            raise
        return False


def _code_of(size: int) -> bytes:
    """Init code of a contract of so many zero bytes."""
    return b"\x62" + size.to_bytes(3, "big") + b"\x5f\xf3"


def _printable(words: str) -> str:
    return "".join(sign for sign in words[:80] if sign.isprintable())
