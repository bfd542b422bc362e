"""Endpoints: which one answers, and what is said when none does."""

import subprocess
import sys
import threading
from typing import Any

import pytest

from chain.rpc.endpoints import RpcRefusal, WrongChain, open_rpc
from protocol.errors import ChainError
from tests.support.endpoint import Garbage, RpcFault, endpoint

CHAIN = 31337
UNREACHABLE = "http://127.0.0.1:9"
"""The discard port: nothing listens on it."""


def honest(method: str, parameters: list[Any]) -> Any:
    return hex(CHAIN) if method == "eth_chainId" else [method, *parameters]


def other_chain(method: str, parameters: list[Any]) -> Any:
    return "0x1"


def broken(method: str, parameters: list[Any]) -> Any:
    raise Garbage(502, b"<html>bad gateway</html>")


def not_json(method: str, parameters: list[Any]) -> Any:
    raise Garbage(200, b"hello")


def refusing(method: str, parameters: list[Any]) -> Any:
    if method == "eth_chainId":
        return hex(CHAIN)
    raise RpcFault(3, "execution reverted", "0x08c379a0")


async def test_the_first_endpoint_is_asked() -> None:
    with endpoint(honest) as first, endpoint(honest) as second:
        async with open_rpc([first.url, second.url], CHAIN) as rpc:
            assert await rpc.request("eth_call", 1, "a") == ["eth_call", 1, "a"]
        assert second.asked == ["eth_chainId"]


@pytest.mark.parametrize("answer", [broken, not_json])
async def test_an_endpoint_that_talks_nonsense_gives_way_to_the_next(answer: Any) -> None:
    with endpoint(answer) as first, endpoint(honest) as second:
        async with open_rpc([first.url, second.url], CHAIN) as rpc:
            assert await rpc.request("eth_call") == ["eth_call"]


async def test_an_endpoint_that_is_gone_is_left_alone_for_a_while() -> None:
    with endpoint(broken) as first, endpoint(honest) as second:
        async with open_rpc([first.url, second.url], CHAIN) as rpc:
            asked = len(first.asked)
            await rpc.request("eth_call")
            assert len(first.asked) == asked


async def test_when_none_answers_one_sentence_names_them_all_without_their_secrets() -> None:
    with endpoint(broken) as second:
        urls = [f"{UNREACHABLE}/v3/my-secret-key", f"{second.url}/my-secret-key"]
        with pytest.raises(ChainError) as caught:
            async with open_rpc(urls, CHAIN):
                pass
        assert str(caught.value) == (
            f"no Ethereum endpoint answers: {UNREACHABLE} (connection refused or lost), {second.url} (HTTP 502)"
        )
        assert caught.value.transient


async def test_another_chain_is_an_error_at_once() -> None:
    with endpoint(other_chain) as wrong, endpoint(honest) as right:
        with pytest.raises(WrongChain, match=f"wrong chain: {wrong.url} serves chain 1, expected {CHAIN}") as caught:
            async with open_rpc([wrong.url, right.url], CHAIN):
                pass
        assert not caught.value.transient


async def test_a_second_endpoint_of_another_chain_is_never_used() -> None:
    with endpoint(other_chain) as wrong:
        with pytest.raises(WrongChain):
            async with open_rpc([UNREACHABLE, wrong.url], CHAIN):
                pass
        assert wrong.asked == ["eth_chainId"]


async def test_an_error_keeps_its_code_and_data() -> None:
    with endpoint(refusing) as only:
        async with open_rpc([only.url], CHAIN) as rpc:
            with pytest.raises(RpcRefusal, match="execution reverted") as caught:
                await rpc.request("eth_call")
        assert (caught.value.code, caught.value.data) == (3, bytes.fromhex("08c379a0"))


async def test_an_endpoint_that_hangs_is_timed_out() -> None:
    released = threading.Event()

    def hanging(method: str, parameters: list[Any]) -> Any:
        released.wait(10)
        return hex(CHAIN)

    with endpoint(hanging) as slow, endpoint(honest) as quick:
        async with open_rpc([slow.url, quick.url], CHAIN, timeout_s=0.5) as rpc:
            assert await rpc.request("eth_call") == ["eth_call"]
        released.set()


@pytest.mark.parametrize("batches", [True, False])
async def test_many_calls_come_back_in_order(batches: bool) -> None:
    with endpoint(honest, batches=batches) as only:
        async with open_rpc([only.url], CHAIN) as rpc:
            found = await rpc.batch([("eth_call", [index]) for index in range(120)])
        assert found == [["eth_call", index] for index in range(120)]


async def test_one_failure_fails_the_batch() -> None:
    with endpoint(refusing) as only:
        async with open_rpc([only.url], CHAIN) as rpc:
            with pytest.raises(RpcRefusal):
                await rpc.batch([("eth_call", [1])])


def test_nothing_heavy_is_imported_before_it_is_used() -> None:
    code = "import sys, chain.perform.adapter, chain.tx.keystore; print('web3' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]
