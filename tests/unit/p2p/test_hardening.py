"""Repairs of the library that need no network to be attacked."""

import pytest
from libp2p.abc import IMultiselectCommunicator
from libp2p.protocol_muxer.exceptions import MultiselectCommunicatorError
from libp2p.protocol_muxer.multiselect_communicator import MultiselectCommunicator

from p2p import hardening


class Peer:
    """Sends `data`, then endless zeros, and counts what was asked for."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.read_bytes = 0

    async def read(self, n: int | None = None) -> bytes:
        assert n is not None
        self.read_bytes += n
        data, self._data = self._data[:n], self._data[n:]
        return data.ljust(n, b"\0")


def communicator(peer: Peer) -> IMultiselectCommunicator:
    return MultiselectCommunicator(peer)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["/multistream/1.0.0", "/vcoin/gossip/1", "x" * 1_000])
async def test_a_protocol_name_is_read(name: str) -> None:
    line = name.encode() + b"\n"
    length = bytes([len(line)]) if len(line) < 128 else bytes([len(line) & 127 | 128, len(line) >> 7])
    assert await communicator(Peer(length + line)).read() == name


@pytest.mark.parametrize("length", [b"\xff\xff\xff\x7f", b"\xff" * 50, b"\x81\x08", b"\x00"])
async def test_a_line_that_is_too_long_or_empty_is_refused_before_it_is_read(length: bytes) -> None:
    peer = Peer(length)
    with pytest.raises(MultiselectCommunicatorError):
        await communicator(peer).read()
    assert peer.read_bytes <= 3


@pytest.mark.parametrize("line", [b"\x04\xff\xfe\xfd\n", b"\x03abc"])
async def test_a_line_that_is_no_text_or_has_no_end_is_refused(line: bytes) -> None:
    with pytest.raises(MultiselectCommunicatorError):
        await communicator(Peer(line)).read()


def test_an_address_gets_its_budget_back_when_the_window_has_passed() -> None:
    budget = hardening.AcceptBudget()
    assert [budget.admit("192.0.2.1", 100.0) for _ in range(21)] == [True] * 20 + [False]
    assert budget.admit("192.0.2.2", 100.0)
    assert not budget.admit("192.0.2.1", 109.9)
    assert budget.admit("192.0.2.1", 110.0)


def test_the_budget_forgets_old_addresses() -> None:
    budget = hardening.AcceptBudget()
    for index in range(2 * hardening.MAX_TRACKED_IPS):
        budget.admit(f"10.{index >> 16}.{index >> 8 & 255}.{index & 255}", 0.0)
    assert len(budget._accepted) == hardening.MAX_TRACKED_IPS
