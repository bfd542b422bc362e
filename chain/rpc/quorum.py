"""The chain as every endpoint tells it: what two of them tell differently is believed of neither.

Each question goes to all endpoints in use at once. If they differ, more than half of them decide, and the others are
left for a while; with two there is no such half, and nothing is told until they agree again. One that is silent, or has
no answer, has no vote: alone, an endpoint is believed as far as its blocks fit to each other.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import trio

from chain.rpc.endpoints import Endpoint, Rpc, RpcRefusal, Unreachable
from protocol.errors import ChainError
from protocol.wire.ids import Hash32

STUCK_S = 60.0
"""An endpoint that had no new block for so long while another had some no longer holds the others up."""
_HEAD = ("eth_getBlockByNumber", ("latest", False))
_CHAIN = ("eth_chainId", ())


class Disagreement(ChainError):
    """Endpoints tell different things of one chain, and none has more than half of them on its side."""


@dataclass(slots=True)
class _Progress:
    number: int
    at: float


class RpcQuorum:
    """Asks all endpoints of an Rpc, with its methods."""

    def __init__(self, rpc: Rpc) -> None:
        self.chain_id = rpc.chain_id
        self._rpc = rpc
        self._progress: dict[Endpoint, _Progress] = {}

    async def request(self, method: str, *parameters: Any) -> Any:
        """The answer that the endpoints agree on. The newest block is the lowest of their heads, which all have.

        Raises: Disagreement, transient; RpcRefusal if all refuse; Unreachable.
        """
        if (method, parameters) == _HEAD:
            return await self._head()
        return (await self.batch([(method, parameters)]))[0]

    async def batch(self, calls: Sequence[tuple[str, Sequence[Any]]]) -> list[Any]:
        """The answers that they agree on, for many calls, in order. Raises: as `request`."""
        answers = await self._rpc.each(calls)
        began = trio.current_time()
        found = []
        for index, (method, parameters) in enumerate(calls):
            votes = {endpoint: told[index] for endpoint, told in answers.items()}
            answer, others = _decide(method, parameters, votes)
            for endpoint in others:
                endpoint.rest(f"most others tell {method} differently", began)
                del answers[endpoint]
            found.append(answer)
        return found

    async def has(self, number: int, block_hash: Hash32) -> bool:
        """Whether the chain has this block still; endpoints that have another there are left if one has it.

        Raises: ChainError, transient, if none has any block of that number; Unreachable.
        """
        answers = await self._rpc.each([("eth_getBlockByNumber", (hex(number), False))])
        began = trio.current_time()
        same: list[Endpoint] = []
        other: list[Endpoint] = []
        for endpoint, (block,) in answers.items():
            if _is_block(block):
                (same if _hash(block) == f"0x{block_hash.hex()}" else other).append(endpoint)
        if not same and not other:
            raise ChainError(f"no endpoint has block {number}", transient=True)
        if same:
            for endpoint in other:
                endpoint.rest(f"it has another block {number} than the one that was final", began)
        return bool(same)

    async def _head(self) -> Any:
        answers = await self._rpc.each([_CHAIN, _HEAD])
        now = trio.current_time()
        heads: dict[Endpoint, Any] = {}
        for endpoint, (chain, block) in answers.items():
            if chain != hex(self.chain_id):
                endpoint.rest(f"it serves another chain than {self.chain_id}: {chain}", now)
            elif _is_block(block):
                heads[endpoint] = block
                seen = self._progress.get(endpoint)
                if seen is None or _number(block) > seen.number:
                    self._progress[endpoint] = _Progress(_number(block), now)
        if not heads:
            raise Unreachable("no Ethereum endpoint tells its newest block", transient=True)
        newest = max(self._progress[endpoint].at for endpoint in heads)
        highest = max(_number(block) for block in heads.values())
        for endpoint, block in list(heads.items()):
            if newest - self._progress[endpoint].at > STUCK_S and _number(block) < highest:
                endpoint.rest(f"it is stuck at block {_number(block)}", now)
                del heads[endpoint]
        return min(heads.values(), key=_number)


def _decide(method: str, parameters: Sequence[Any], votes: dict[Endpoint, Any]) -> tuple[Any, list[Endpoint]]:
    """The answer of more than half of those who have one, and the others."""
    refusals = [answer for answer in votes.values() if isinstance(answer, RpcRefusal)]
    camps: dict[str, list[Endpoint]] = {}
    for endpoint, answer in votes.items():
        if answer is not None and not isinstance(answer, RpcRefusal):
            camps.setdefault(_canonical(method, answer), []).append(endpoint)
    if not camps:
        if len(refusals) == len(votes):
            raise refusals[0]
        return None, []
    largest = max(camps.values(), key=len)
    others = [endpoint for camp in camps.values() if camp is not largest for endpoint in camp]
    if others and len(largest) * 2 <= len(largest) + len(others):
        names = " and ".join(endpoint.shown for endpoint in (largest[0], others[0]))
        raise Disagreement(f"{names} disagree on {method}{_about(parameters)}", transient=True)
    return votes[largest[0]], others


def _canonical(method: str, answer: Any) -> str:
    """The fields that must agree: clients differ in fields that are not read here."""
    if method == "eth_getBlockByNumber" and isinstance(answer, dict):
        return _hash(answer)
    if method == "eth_getLogs" and isinstance(answer, list) and all(isinstance(log, dict) for log in answer):
        keys = ("blockHash", "logIndex", "address", "topics", "data", "transactionHash")
        return json.dumps(sorted(json.dumps([log.get(key) for key in keys]).lower() for log in answer))
    return json.dumps(answer, sort_keys=True).lower()


def _about(parameters: Sequence[Any]) -> str:
    """The block or the blocks that a question is about."""
    for parameter in parameters:
        if isinstance(parameter, dict) and "fromBlock" in parameter:
            return f" of blocks {int(parameter['fromBlock'], 16)} to {int(parameter['toBlock'], 16)}"
    blocks = [parameter for parameter in parameters if isinstance(parameter, str) and parameter.startswith("0x")]
    return f" at block {int(blocks[-1], 16)}" if blocks and len(blocks[-1]) < 20 else ""


def _is_block(answer: Any) -> bool:
    try:
        return isinstance(answer, dict) and _number(answer) >= 0
    except (KeyError, TypeError, ValueError):
        return False


def _number(block: dict[str, Any]) -> int:
    return int(block["number"], 16)


def _hash(block: dict[str, Any]) -> str:
    return str(block.get("hash")).lower()
