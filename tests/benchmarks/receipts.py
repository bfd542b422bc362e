"""How many messages of peers one core can check: EIP-712 ones and gossip frames, each beside its bare signature check.

Measured in processor time, so that others who share the machine do not count.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence

from coincurve import PrivateKey, PublicKey

from p2p.streams import MAX_CALL_BYTES
from protocol.network.frames import SIGNING_PREFIX, Content, Frames, Signed, Topic, encode_batch, sign_content
from protocol.network.gossip import Admission, Gossip
from protocol.params import HEARTBEAT_INTERVAL_MS
from protocol.stages.commitment import Receipt, SignedReceipt
from protocol.wire import codec
from protocol.wire.envelope import Domain, digest, require_signer, sign_digest
from protocol.wire.ids import Address, address_of, peer_id_of
from protocol.wire.names import by_name
from tests.benchmarks.line import Line
from tests.benchmarks.machine import anchor
from tests.fakes.nodes import SETTLEMENT, heartbeat

NEEDS = ("venv",)
KEYS = ("receipts.per_s", "receipts.bare_per_s", "receipts.frames_per_s", "receipts.bare_frames_per_s")
CHAIN_ID = 31337
DOMAIN = Domain(CHAIN_ID, SETTLEMENT)
KINDS = by_name([SignedReceipt])
MESSAGES = 2_000
BATCH = 200
REPEATS = 5
NOW_MS = 1_700_000_000_000
"""Any moment: the frames are as old as the machine that checks them."""


def run() -> list[Line]:
    """The best of a few rounds each: a disturbance only makes a round longer."""
    machine = anchor()
    keys = [PrivateKey(hashlib.sha256(b"author %d" % number).digest()) for number in range(MESSAGES)]
    checked, bare = _per_s(*_receipts(keys))
    gossiped, bare_frames = _per_s(*_frames(keys))
    share, frame_share = (f"{100 * part:.0f}% of the bare check" for part in (checked / bare, gossiped / bare_frames))
    return [
        Line("receipts.per_s", checked, "1/s", ">= 1000", f"{share}; {machine}", MESSAGES),
        Line("receipts.bare_per_s", bare, "1/s", "", "a key recovered from 32 bytes", MESSAGES),
        Line("receipts.frames_per_s", gossiped, "1/s", ">= 20000", frame_share, MESSAGES),
        Line("receipts.bare_frames_per_s", bare_frames, "1/s", "", "a signature verified, its key at hand", MESSAGES),
    ]


def _per_s(*checks: Callable[[], None]) -> list[float]:
    """How many a second each does; they take turns, so that a slow moment of the machine hits all."""
    best = [float("inf")] * len(checks)
    for _ in range(REPEATS):
        for number, check in enumerate(checks):
            before = time.process_time()
            check()
            best[number] = min(best[number], time.process_time() - before)
    return [MESSAGES / spent for spent in best]


def _receipts(keys: Sequence[PrivateKey]) -> tuple[Callable[[], None], Callable[[], None]]:
    """From the bytes of a peer to a receipt known to be its signer's; and the recovery of a key alone."""
    sent: list[tuple[bytes, Address]] = []
    bare: list[tuple[bytes, bytes]] = []
    for number, key in enumerate(keys):
        receipt = Receipt(hashlib.sha256(b"%d" % number).digest(), bytes(32), 10**18 + number, 1_500)
        value = digest(receipt, DOMAIN)
        signature = sign_digest(value, key.secret)
        sent.append((codec.encode_named(SignedReceipt(receipt, signature)), address_of(key.public_key.format())))
        bare.append((signature[:64] + bytes([signature[64] - 27]), value))

    def check() -> None:
        for data, signer in sent:
            message = codec.decode_named(KINDS, data, MAX_CALL_BYTES)
            require_signer(message.receipt, message.signature, DOMAIN, signer)

    def check_bare() -> None:
        for signature, value in bare:
            PublicKey.from_signature_and_message(signature, value, hasher=None)

    return check, check_bare


def _frames(keys: Sequence[PrivateKey]) -> tuple[Callable[[], None], Callable[[], None]]:
    """From a neighbour's bytes to beats that are delivered and queued for others; and the signature alone."""
    settlement = bytes.fromhex(SETTLEMENT[2:])
    body = codec.encode(heartbeat(1, ("/ip4/203.0.113.7/tcp/4701",)))
    frames: list[Signed] = []
    bare: list[tuple[PublicKey, bytes, bytes]] = []
    for key in keys:
        author = key.public_key.format()
        signed = sign_content(Content(CHAIN_ID, settlement, Topic.HEARTBEAT, author, 1, NOW_MS, body), key.sign)
        frames.append(signed)
        bare.append((key.public_key, signed.signature, SIGNING_PREFIX + signed.content))
    batches = [encode_batch(Frames(tuple(frames[at : at + BATCH]))) for at in range(0, MESSAGES, BATCH)]
    source, other = (peer_id_of(key.public_key.format()) for key in keys[:2])

    def check() -> None:
        gossip = Gossip(
            chain_id=CHAIN_ID,
            settlement=settlement,
            author=keys[0].public_key.format(),
            admit=lambda content, now_ms: Admission.ADMIT,
            charge=lambda content, now_ms: None,
            heartbeat_ms=HEARTBEAT_INTERVAL_MS,
        )
        for peer_id in (source, other):
            gossip.join(peer_id, NOW_MS)
        delivered = sum(len(gossip.receive(source, batch, NOW_MS).delivered) for batch in batches)
        assert delivered == MESSAGES, f"{delivered} delivered"

    def check_bare() -> None:
        for key, signature, data in bare:
            key.verify(signature, data)

    return check, check_bare
