"""Which key signs a message, and what is not signed while this machine's clock is wrong."""

import pytest

from chain.rpc.clock import ChainClock
from chain.tx.signer import Signer
from chain.tx.wallet import Wallet
from protocol.effects import SignMessage
from protocol.errors import ChainError
from protocol.events import MessageSigned
from protocol.messages import Signable
from protocol.stages.assignment import Accept
from protocol.stages.commitment import Receipt
from protocol.wire.envelope import Domain, require_signer
from protocol.wire.ids import Address, checksum
from tests.support.jobs import Orders, key, named

DOMAIN = Domain(31337, checksum("0x" + "11" * 20))
NODE, CLIENT = key("node"), key("client")
WALLET = Wallet(NODE, DOMAIN, CLIENT)
ACCEPT = Accept(named("job"), 1)
LANE, _ = Orders(CLIENT, NODE, DOMAIN).lane_open(1, 1)
RECEIPT = Receipt(named("job"), named("result"), 1, 1)


def an_hour_off() -> ChainClock:
    clock = ChainClock()
    clock.skew_s = 3_600
    return clock


@pytest.mark.parametrize(("message", "signer"), [(ACCEPT, NODE.address), (LANE, CLIENT.address)])
async def test_a_message_is_signed_by_the_key_of_its_kind(message: Signable, signer: Address) -> None:
    signed = await Signer(WALLET, ChainClock()).perform(SignMessage(message))
    assert isinstance(signed, MessageSigned)
    assert signed.message is message
    require_signer(signed.message, signed.signature, DOMAIN, signer)


async def test_a_machine_without_a_client_key_signs_no_order() -> None:
    with pytest.raises(ChainError, match="no client key"):
        await Signer(Wallet(NODE, DOMAIN), ChainClock()).perform(SignMessage(LANE))


async def test_nothing_with_a_deadline_is_signed_while_the_clock_is_wrong() -> None:
    with pytest.raises(ChainError, match="ahead of the chain"):
        await Signer(WALLET, an_hour_off()).perform(SignMessage(LANE))


@pytest.mark.parametrize("message", [ACCEPT, RECEIPT])
async def test_what_has_no_deadline_is_signed_by_any_clock(message: Signable) -> None:
    assert (await Signer(WALLET, an_hour_off()).perform(SignMessage(message))).message is message
