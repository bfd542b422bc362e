"""Our HPKE against RFC 9180: a second implementation, written from its text, opens the RFC's vector and our bytes."""

import hashlib
import hmac
import secrets

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from node.wallet.sealing import open_key, public_key_of, seal_key
from protocol.errors import Malformed
from protocol.wire.ids import Cid
from protocol.wire.x25519 import can_be_sealed_to

# RFC 9180, A.2.1: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20-Poly1305, base mode, first encryption.
INFO = bytes.fromhex("4f6465206f6e2061204772656369616e2055726e")
EPHEMERAL = bytes.fromhex("f4ec9b33b792c372c1d2c2063507b684ef925b8c75a42dbcbf57d63ccd381600")
RECIPIENT = bytes.fromhex("8057991eef8f1f1af18f4a9491d16a1ce333f695d4db8e38da75975c4478e0fb")
ENC = bytes.fromhex("1afa08d3dec047a643885163f1180476fa7ddb54c6a8029ea33f95796bf2ac4a")
PLAINTEXT = bytes.fromhex("4265617574792069732074727574682c20747275746820626561757479")
AAD = bytes.fromhex("436f756e742d30")
CIPHERTEXT = bytes.fromhex("1c5250d8034ec2b784ba2cfd69dbdb8af406cfe3ff938e131f0def8c8b60b4db21993c62ce81883d2dd1b51a28")

KEM_SUITE = b"KEM" + (0x20).to_bytes(2, "big")
HPKE_SUITE = b"HPKE" + b"".join(number.to_bytes(2, "big") for number in (0x20, 1, 3))
INPUT = Cid(b"\5" * 32)


def extract(salt: bytes, suite: bytes, label: bytes, material: bytes) -> bytes:
    return hmac.digest(salt or bytes(32), b"HPKE-v1" + suite + label + material, "sha256")


def expand(key: bytes, suite: bytes, label: bytes, info: bytes, length: int) -> bytes:
    info = length.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info
    block, out, count = b"", b"", 1
    while len(out) < length:
        block = hmac.new(key, block + info + bytes([count]), hashlib.sha256).digest()
        out, count = out + block, count + 1
    return out[:length]


def schedule(shared: bytes, info: bytes) -> tuple[bytes, bytes]:
    """Key and nonce of the first message of a context."""
    context = b"\0" + extract(b"", HPKE_SUITE, b"psk_id_hash", b"") + extract(b"", HPKE_SUITE, b"info_hash", info)
    secret = extract(shared, HPKE_SUITE, b"secret", b"")
    return expand(secret, HPKE_SUITE, b"key", context, 32), expand(secret, HPKE_SUITE, b"base_nonce", context, 12)


def shared_secret(own: bytes, other: bytes, enc: bytes, recipient: bytes) -> bytes:
    dh = X25519PrivateKey.from_private_bytes(own).exchange(X25519PublicKey.from_public_bytes(other))
    return expand(extract(b"", KEM_SUITE, b"eae_prk", dh), KEM_SUITE, b"shared_secret", enc + recipient, 32)


def rfc_seal(plaintext: bytes, recipient: bytes, info: bytes, ephemeral: bytes, aad: bytes = b"") -> bytes:
    enc = public_key_of(ephemeral)
    key, nonce = schedule(shared_secret(ephemeral, recipient, enc, recipient), info)
    return enc + ChaCha20Poly1305(key).encrypt(nonce, plaintext, aad)


def rfc_open(sealed: bytes, secret: bytes, info: bytes, aad: bytes = b"") -> bytes:
    enc, ciphertext = sealed[:32], sealed[32:]
    key, nonce = schedule(shared_secret(secret, enc, enc, public_key_of(secret)), info)
    return ChaCha20Poly1305(key).decrypt(nonce, ciphertext, aad)


def test_second_implementation_is_that_of_the_rfc() -> None:
    assert public_key_of(EPHEMERAL) == ENC
    assert rfc_seal(PLAINTEXT, public_key_of(RECIPIENT), INFO, EPHEMERAL, AAD) == ENC + CIPHERTEXT
    assert rfc_open(ENC + CIPHERTEXT, RECIPIENT, INFO, AAD) == PLAINTEXT
    with pytest.raises(InvalidTag):
        rfc_open(ENC + CIPHERTEXT, RECIPIENT, INFO, b"Count-1")


def test_keys_that_we_seal_open_by_the_rfc() -> None:
    secret, key = secrets.token_bytes(32), secrets.token_bytes(32)
    sealed = seal_key(key, INPUT, public_key_of(secret))
    assert rfc_open(sealed, secret, b"vcoin/content-key/1" + INPUT) == key
    assert len(sealed) == 80


def test_keys_sealed_by_the_rfc_open_here() -> None:
    secret, key = secrets.token_bytes(32), secrets.token_bytes(32)
    info = b"vcoin/content-key/1" + INPUT
    sealed = rfc_seal(key, public_key_of(secret), info, secrets.token_bytes(32))
    assert open_key(sealed, INPUT, secret) == key
    # A key of another length is none, however well it is sealed.
    short = rfc_seal(key[:31], public_key_of(secret), info, secrets.token_bytes(32))
    assert open_key(short, INPUT, secret) is None


def test_sealed_key_opens_nothing_else() -> None:
    secret, key = secrets.token_bytes(32), secrets.token_bytes(32)
    sealed = seal_key(key, INPUT, public_key_of(secret))
    assert open_key(sealed, INPUT, secret) == key
    assert open_key(sealed, Cid(b"\6" * 32), secret) is None
    assert open_key(sealed, INPUT, secrets.token_bytes(32)) is None
    for place in (0, 31, 32, 79):
        changed = sealed[:place] + bytes([sealed[place] ^ 1]) + sealed[place + 1 :]
        assert open_key(changed, INPUT, secret) is None
    for length in (0, 31, 32, 47, 79):
        assert open_key(sealed[:length], INPUT, secret) is None


@pytest.mark.parametrize("point", [bytes(32), (1).to_bytes(32, "little"), b"\1" * 31])
def test_key_that_anybody_could_open_is_not_sealed_to(point: bytes) -> None:
    with pytest.raises(Malformed):
        seal_key(b"\7" * 32, INPUT, point)


PRIME = 2**255 - 19
LOW_ORDER = [0, 1, PRIME - 1, PRIME, PRIME + 1, 2**255, 2**255 + 1]
LOW_ORDER += [
    int.from_bytes(bytes.fromhex(point), "little")
    for point in (
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    )
]


@pytest.mark.parametrize("number", [*LOW_ORDER, 2, 9, PRIME - 2, PRIME + 2, 2**255 - 1, 2**256 - 1, *range(100, 120)])
def test_keys_that_content_can_be_sealed_to_are_those_that_the_library_takes(number: int) -> None:
    key = number.to_bytes(32, "little")
    assert can_be_sealed_to(key) == (number not in LOW_ORDER)
    try:
        seal_key(bytes(32), INPUT, key)
    except Malformed:
        assert number in LOW_ORDER
    else:
        assert number not in LOW_ORDER
