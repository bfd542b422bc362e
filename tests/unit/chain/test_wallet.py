"""Which key signs what, and whether others can check it."""

import pytest
from coincurve import PublicKey

from chain.tx.wallet import Key, Wallet, read_transaction, sign_consent
from protocol.errors import BadSignature, ChainError
from protocol.messages import Signable
from protocol.network.frames import Content, Topic, require_signed, sign_content
from protocol.stages.assignment import Accept, LaneOpen, OperatorConsent, Refuse
from protocol.stages.commitment import Receipt, Result
from protocol.wire.envelope import Domain, require_signer
from protocol.wire.ids import address_bytes, address_of, checksum, peer_id_of
from tests.support.jobs import Orders, key, named

DOMAIN = Domain(31337, checksum("0x" + "11" * 20))
NODE, CLIENT, STRANGER = key("node"), key("client"), key("stranger")
WALLET = Wallet(NODE, DOMAIN, CLIENT)
ORDERS = Orders(CLIENT, NODE, DOMAIN)
PAPERS = ORDERS.finish().job
assert PAPERS is not None

NODES_MESSAGES: list[Signable] = [
    Accept(named("job"), 1),
    Refuse(named("job"), 1, 0),
    Result(named("job"), named("result"), named("output"), named("blob")),
]
CLIENTS_MESSAGES: list[Signable] = [
    PAPERS.assignment,
    Receipt(named("job"), named("result"), 1, 1),
    ORDERS.lane_open(1, 1)[0],
]


@pytest.mark.parametrize("message", NODES_MESSAGES, ids=lambda message: type(message).__name__)
def test_the_operator_signs_what_the_node_promises(message: Signable) -> None:
    require_signer(message, WALLET.sign(message), DOMAIN, NODE.address)


@pytest.mark.parametrize("message", CLIENTS_MESSAGES, ids=lambda message: type(message).__name__)
def test_the_client_signs_what_it_pays_for(message: Signable) -> None:
    require_signer(message, WALLET.sign(message), DOMAIN, CLIENT.address)


@pytest.mark.parametrize("message", CLIENTS_MESSAGES, ids=lambda message: type(message).__name__)
def test_a_provider_alone_signs_nothing_of_a_client(message: Signable) -> None:
    with pytest.raises(ChainError, match="no client key"):
        Wallet(NODE, DOMAIN).sign(message)


def test_an_order_of_another_signer_is_not_signed() -> None:
    with pytest.raises(ChainError, match="client key"):
        Wallet(NODE, DOMAIN, STRANGER).sign(CLIENTS_MESSAGES[0])


def test_a_client_may_open_its_own_lane_for_its_signer() -> None:
    order = LaneOpen(CLIENT.address, STRANGER.address, NODE.address, 1, 0, 1)
    require_signer(order, WALLET.sign(order), DOMAIN, CLIENT.address)


def test_the_consent_counts_at_the_stake_manager_alone() -> None:
    stakes = checksum("0x" + "22" * 20)
    signature = sign_consent(NODE, CLIENT.address, 99, DOMAIN.chain_id, stakes)
    message = OperatorConsent(CLIENT.address, NODE.address, 99)
    require_signer(message, signature, Domain(DOMAIN.chain_id, stakes), NODE.address)
    with pytest.raises(BadSignature):
        require_signer(message, signature, DOMAIN, NODE.address)


def test_neighbours_accept_a_frame_that_the_wallet_signed() -> None:
    content = Content(31337, address_bytes(DOMAIN.contract), Topic.HEARTBEAT, NODE.public, 1, 2, b"beat")
    signed = sign_content(content, WALLET.sign_frame)
    require_signed(signed, NODE.public)
    with pytest.raises(BadSignature):
        require_signed(signed, CLIENT.public)


def test_both_names_of_a_node_come_from_its_key() -> None:
    assert NODE.address == address_of(NODE.public)
    assert NODE.peer_id == peer_id_of(NODE.public)
    assert PublicKey.from_secret(NODE.secret).format() == NODE.public


@pytest.mark.parametrize("secret", [b"", bytes(32), b"\xff" * 32, b"\1" * 31], ids=["none", "zero", "high", "short"])
def test_what_is_no_key_is_refused(secret: bytes) -> None:
    with pytest.raises(ValueError, match=r".*"):
        Key(secret)


@pytest.mark.parametrize("to", [None, CLIENT.address])
def test_a_recorded_transaction_says_whose_it_is(to: str | None) -> None:
    fields = {
        "type": 2,
        "chainId": 31337,
        "nonce": 7,
        "value": 0,
        "data": b"\1\2",
        "gas": 100_000,
        "maxFeePerGas": 2,
        "maxPriorityFeePerGas": 1,
    }
    signed = NODE.sign_transaction({**fields, "to": to} if to else fields)
    assert read_transaction(signed.raw) == (NODE.address, 7, signed.raw)
