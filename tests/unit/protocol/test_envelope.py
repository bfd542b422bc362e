"""EIP-712: our digests are those of any wallet, and a signature counts in one place only."""

import dataclasses

import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protocol.errors import BadSignature
from protocol.stages.assignment import Accept
from protocol.wire.envelope import (
    TYPES,
    Domain,
    compact,
    digest,
    recover,
    require_signer,
    sign_digest,
    struct_hash,
)
from protocol.wire.ids import address_of, checksum
from tests.support.strategies import instances

DOMAIN = Domain(31337, checksum("0x" + "11" * 20))
SECRET = b"\x01" * 32
SIGNER = checksum(Account.from_key(SECRET).address)
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


def typed_data(message):
    name, members = TYPES[type(message)][:-1].split("(")
    fields = [member.split(" ") for member in members.split(",")]
    values = [getattr(message, field.name) for field in dataclasses.fields(message)]
    return {
        "types": {
            "EIP712Domain": [
                {"name": "name", "type": "string"},
                {"name": "version", "type": "string"},
                {"name": "chainId", "type": "uint256"},
                {"name": "verifyingContract", "type": "address"},
            ],
            name: [{"name": field, "type": kind} for kind, field in fields],
        },
        "primaryType": name,
        "domain": {"name": "VCoin", "version": "1", "chainId": DOMAIN.chain_id, "verifyingContract": DOMAIN.contract},
        "message": {field: value for (_, field), value in zip(fields, values, strict=True)},
    }


@pytest.mark.parametrize("cls", list(TYPES), ids=lambda cls: cls.__name__)
@settings(max_examples=5, suppress_health_check=list(HealthCheck), deadline=None)
@given(data=st.data())
def test_a_wallet_signs_what_we_sign(cls, data):
    message = data.draw(instances(cls))
    signable = encode_typed_data(full_message=typed_data(message))
    ours = sign_digest(digest(message, DOMAIN), SECRET)
    assert Account.recover_message(signable, signature=ours) == SIGNER
    assert recover(message, bytes(Account.sign_message(signable, SECRET).signature), DOMAIN) == SIGNER


def signed():
    message = Accept(b"j" * 32, 5)
    return message, sign_digest(digest(message, DOMAIN), SECRET)


@pytest.mark.parametrize("other", [Domain(1, DOMAIN.contract), Domain(31337, checksum("0x" + "12" * 20))])
def test_a_signature_is_worth_nothing_on_another_chain_or_contract(other):
    message, signature = signed()
    require_signer(message, signature, DOMAIN, SIGNER)
    with pytest.raises(BadSignature):
        require_signer(message, signature, other, SIGNER)


def test_the_malleable_twin_is_refused():
    message, signature = signed()
    high = ORDER - int.from_bytes(signature[32:64], "big")
    twin = signature[:32] + high.to_bytes(32, "big") + bytes([55 - signature[64]])
    with pytest.raises(BadSignature, match="malleable"):
        recover(message, twin, DOMAIN)


@pytest.mark.parametrize("v", [0, 1, 26, 29, 255])
def test_only_two_endings_count(v):
    message, signature = signed()
    with pytest.raises(BadSignature):
        recover(message, signature[:64] + bytes([v]), DOMAIN)


@pytest.mark.parametrize("signature", [b"", b"x" * 64, b"\0" * 64 + b"\x1b", b"\xff" * 32 + b"\x01" * 32 + b"\x1b"])
def test_bytes_that_are_no_signature_are_refused(signature):
    with pytest.raises(BadSignature):
        recover(signed()[0], signature, DOMAIN)


def test_the_compact_form_holds_the_same_signature():
    _, signature = signed()
    r, vs = compact(signature)
    number = int.from_bytes(vs, "big")
    assert r == signature[:32]
    assert number & (1 << 255) - 1 == int.from_bytes(signature[32:64], "big")
    assert number >> 255 == signature[64] - 27


def test_every_field_is_signed():
    message = Accept(b"j" * 32, 5)
    assert struct_hash(message) != struct_hash(dataclasses.replace(message, ack_ms=6))


def test_an_address_follows_from_its_key():
    from coincurve import PrivateKey

    key = PrivateKey(SECRET).public_key
    assert address_of(key.format()) == SIGNER == address_of(key.format(compressed=False))
