"""What an adapter tells of its peers beside the answers to its effects. Time is trio's own."""

from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from p2p.calls import NoAnswer
from protocol.effects import Send
from protocol.events import MessageUnanswered
from protocol.stages.commitment import TokenFrame
from tests.fakes.network import MemoryNetwork
from tests.fakes.nodes import run_node, secret


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
