"""Answers of an Ethereum endpoint: it may lie, and the node must go on."""

from __future__ import annotations

import json
import warnings
from contextlib import suppress
from functools import cache
from typing import Any

from eth_abi.abi import encode
from eth_utils.crypto import keccak

from chain.abi.interface import CONTRACTS, Parameter, interface, refusal_of
from chain.contracts.network import Addresses, Network
from chain.read.log_decoder import _facts
from chain.rpc.endpoints import Endpoint, _Unreachable, result_of
from chain.rpc.ethereum import Call, Ethereum
from protocol.errors import ChainError
from protocol.wire.ids import Address, Hash32, checksum
from tests.fuzz.mutation import Shape
from tests.fuzz.target import Target, at_once

ADDRESSES = Addresses(*(checksum("0x" + keccak(text=name)[12:].hex()) for name in CONTRACTS))
WORD = Hash32(keccak(text="word"))
HASH = f"0x{WORD.hex()}"
CALL = Call("Params.classes", ADDRESSES.params, b"\x01\x02\x03\x04")


class Liar:
    """Stands where the endpoints are: answers everything with one answer."""

    chain_id = 31_337

    def __init__(self, answer: Any) -> None:
        self._answer = answer

    async def request(self, method: str, *parameters: Any) -> Any:
        return result_of(self._answer)

    async def batch(self, calls: list[Any]) -> list[Any]:
        return [result_of(self._answer) for _ in calls]


def _read(data: bytes) -> Any:
    """As requests and web3 give it; what is no JSON they have refused themselves."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def _answer(data: bytes) -> None:
    answer = _read(data)
    refused: list[ChainError] = []
    ethereum = Ethereum(Liar(answer))  # type: ignore[arg-type]
    for ask in (
        lambda: ethereum.block(),
        lambda: ethereum.head(),
        lambda: ethereum.call(CALL),
        lambda: ethereum.call_many([CALL, CALL]),
        lambda: ethereum.logs([ADDRESSES.params], 1, 1),
        lambda: ethereum.nonce(ADDRESSES.params),
        lambda: ethereum.estimate(CALL, ADDRESSES.params),
        lambda: ethereum.broadcast(b"\x02"),
        lambda: ethereum.receipt(WORD),
    ):
        try:
            at_once(ask())
        except ChainError as error:
            refused.append(error)
    assert all(str(error).isprintable() for error in refused), "words of a stranger, fit for a terminal"


def _log(address: Address, topics: list[bytes], data: bytes) -> dict[str, Any]:
    return {
        "address": address,
        "topics": [f"0x{topic.hex()}" for topic in topics],
        "data": f"0x{data.hex()}",
        "blockNumber": "0x10",
        "blockHash": HASH,
        "transactionHash": HASH,
        "logIndex": "0x2",
    }


@cache
def _answers() -> list[bytes]:
    block = {"number": "0x10", "hash": HASH, "parentHash": HASH, "timestamp": "0x64", "baseFeePerGas": "0x7"}
    log = _log(ADDRESSES.params, [WORD], b"\x01" * 32)
    receipt = {
        "blockNumber": "0x10",
        "gasUsed": "0x5208",
        "status": "0x1",
        "effectiveGasPrice": "0x7",
        "contractAddress": ADDRESSES.court,
        "logs": [log],
    }
    error = {"code": 3, "message": "execution reverted", "data": f"0x{keccak(text='NoSeed(uint256)')[:4].hex()}"}
    results: list[Any] = [block, receipt, [log, log], "0x10", f"0x{'00' * 64}", None]
    answers = [{"jsonrpc": "2.0", "id": 1, "result": result} for result in results]
    wrapped = {"code": -32000, "message": "reverted", "data": {"data": "0x08c379a0"}}
    refusals = [{"jsonrpc": "2.0", "id": 1, "error": each} for each in (error, wrapped, "rate limited")]
    return [json.dumps(answer).encode() for answer in answers + refusals]


@cache
def _post() -> tuple[Endpoint, Any]:
    """An endpoint whose answers never came over a network: everything above the socket is real."""
    import requests
    from requests.adapters import BaseAdapter

    class Line(BaseAdapter):
        data = b""

        def send(self, request: Any, **options: Any) -> Any:  # type: ignore[override]
            response = requests.Response()
            response.status_code, response._content, response.url = 200, self.data, request.url
            return response

        def close(self) -> None: ...

    endpoint, line = Endpoint("http://127.0.0.1:8545", 1.0, 1.0), Line()
    endpoint._connected()
    endpoint._session.mount("http://", line)
    return endpoint, line


def _http(data: bytes) -> None:
    endpoint, line = _post()
    line.data = data
    for ask in (
        lambda: endpoint.ask("eth_blockNumber", []),
        lambda: endpoint.ask_all([("eth_blockNumber", []), ("eth_chainId", [])]),
    ):
        with suppress(_Unreachable), warnings.catch_warnings():
            # web3 warns of ids that it did not ask for.
            warnings.simplefilter("ignore")
            ask()


def _http_answers() -> list[bytes]:
    return [*_answers(), b"[" + b",".join(_answers()[:2]) + b"]"]


@cache
def _network() -> Network:
    return Network(Ethereum(Liar(None)), ADDRESSES)  # type: ignore[arg-type]


def _logs(data: bytes) -> None:
    ethereum = Ethereum(Liar({"result": [_read(data)]}))  # type: ignore[arg-type]
    _, logs = at_once(ethereum.logs(_network().speakers, 1, 1))
    list(_facts(_network(), logs))


@cache
def _log_seeds() -> list[bytes]:
    """A log of every kind that the contracts write."""
    found = []
    for name, address in _network().by_name():
        for layout in interface(name).events.values():
            plain = [each for each in layout.inputs if not each.indexed]
            topics = [encode([each.kind], [_zero(each)]) for each in layout.inputs if each.indexed]
            body = encode([each.kind for each in plain], [_zero(each) for each in plain])
            found.append(json.dumps(_log(address, [layout.topic, *topics], body)).encode())
    return found


def _zero(parameter: Parameter) -> Any:
    return _of(parameter.kind)


def _of(kind: str) -> Any:
    if kind.endswith("[]"):
        return [_of(kind[:-2])]
    if kind.endswith("]"):
        inner, _, count = kind[:-1].rpartition("[")
        return [_of(inner)] * int(count)
    if kind.startswith("("):
        return tuple(_of(part) for part in _split(kind[1:-1]))
    if kind == "address":
        return ADDRESSES.court
    if kind.startswith("bytes"):
        return bytes(int(kind[5:] or 0))
    return {"bool": True, "string": "x"}.get(kind, 1)


def _split(kinds: str) -> list[str]:
    parts, depth = [""], 0
    for sign in kinds:
        depth += (sign == "(") - (sign == ")")
        if sign == "," and not depth:
            parts.append("")
        else:
            parts[-1] += sign
    return parts


def _refusals() -> list[bytes]:
    selectors = [known for name in CONTRACTS for known in interface(name).refusals]
    texts = [keccak(text="Error(string)")[:4] + encode(["string"], ["no"])]
    return [*texts, *(selector + bytes(96) for selector in selectors[:20])]


def _outputs(data: bytes) -> None:
    """The answer of the view that the first bytes choose."""
    functions = [each for name in CONTRACTS for each in interface(name).functions.values() if each.outputs]
    functions[int.from_bytes(data[:2], "big") % len(functions)].decode_output(data[2:])


def _output_seeds() -> list[bytes]:
    functions = [each for name in CONTRACTS for each in interface(name).functions.values() if each.outputs]
    return [
        number.to_bytes(2, "big") + encode([each.kind for each in one.outputs], [_zero(each) for each in one.outputs])
        for number, one in enumerate(functions)
    ]


TARGETS = (
    Target("rpc-answer", Shape.JSON, _answer, _answers, (), share=0.7),
    Target("http-answer", Shape.JSON, _http, _http_answers, share=0.15),
    Target("log", Shape.JSON, _logs, _log_seeds, (ChainError,)),
    Target("revert-data", Shape.BYTES, refusal_of, _refusals),
    Target("view-output", Shape.BYTES, _outputs, _output_seeds, (ValueError,), share=0.5),
)
