"""Reports of an adapter about its peers beside the answers to its effects. Time is trio's own."""

from dataclasses import replace
from pathlib import Path

import pytest
import trio
from coincurve import PrivateKey
from trio.testing import MockClock

from p2p.calls import NoAnswer
from p2p.dials import FAILED_PER_CLIENT
from protocol.effects import PublishRequest, Send
from protocol.errors import P2PError
from protocol.events import MessageUnanswered, RequestReceived
from protocol.stages.commitment import TokenFrame
from protocol.wire.ids import PeerId, peer_id_of
from tests.fakes.network import MemoryNetwork
from tests.fakes.nodes import request, run_node, secret, until


async def test_a_silent_peer_is_told_of_and_fails_the_message(autojump_clock: MockClock, tmp_path: Path) -> None:
    network = MemoryNetwork()
    async with (
        network.open_host(secret(1)) as one,
        network.open_host(secret(2)) as two,
        run_node(one, 1, tmp_path) as sender,
        run_node(two, 2, tmp_path) as silent,
    ):
        silent.inbox.open = trio.Event()
        with pytest.raises(NoAnswer):
            await sender.adapter.perform(Send(silent.address, TokenFrame(job_id=bytes(32), seq=0, sealed=b"x")))
        assert MessageUnanswered(two.peer_id) in sender.inbox.events


async def test_requests_send_a_node_to_few_addresses_where_they_lead_nowhere(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    network = MemoryNetwork()
    dialled: list[str] = []

    async def dial(address: str) -> PeerId:
        dialled.append(address)
        raise P2PError("no answer", transient=True)

    async with network.open_host(secret(1)) as one, network.open_host(secret(2)) as two:
        one.dial = dial  # type: ignore[method-assign]
        async with (
            run_node(one, 1, tmp_path, private=False, clock_ms=_now_ms) as provider,
            run_node(two, 2, tmp_path, bootnodes=(provider.address,), clock_ms=_now_ms) as crook,
        ):
            with trio.fail_after(60):
                await until(lambda: bool(provider.adapter.neighbours and crook.adapter.neighbours))
            third = peer_id_of(PrivateKey(secret(3)).public_key.format())
            hosts = [*(f"8.8.8.{host}" for host in range(9)), "127.0.0.1"]
            named = [f"/ip4/{host}/tcp/80/p2p/{third}" for host in hosts]
            for nonce, address in enumerate(named):
                signed = request(nonce)
                asked = replace(signed, request=replace(signed.request, requester_peer=address))
                await crook.adapter.perform(PublishRequest(asked))
                with trio.fail_after(60):
                    await provider.inbox.next(RequestReceived, RequestReceived(asked).__eq__)
            for address in reversed(named):
                with pytest.raises(P2PError):
                    await provider.adapter.perform(Send(address, TokenFrame(job_id=bytes(32), seq=0, sealed=b"x")))
        assert len(dialled) == FAILED_PER_CLIENT.burst
        assert not any("127.0.0.1" in address for address in dialled)


def _now_ms() -> int:
    return int(trio.current_time() * 1_000)
