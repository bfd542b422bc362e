"""Openings that wait for a content key to be sealed to their reader: what the opening and the audit responder share."""

from typing import TypeVar

from protocol.effects import Effect, SealKey
from protocol.wire.bounded import keep_newest
from protocol.wire.ids import Cid

Pending = TypeVar("Pending")

KEYS_KEPT = 256


def seal_for(
    waiting: dict[tuple[Cid, bytes], list[Pending]], opening: Pending, input_cid: bytes, hpke_key: bytes
) -> tuple[Effect, ...]:
    """Ask for a key to be sealed, once more where that has failed; while it is under way nothing is done twice."""
    key = (Cid(input_cid), hpke_key)
    openings = waiting.get(key, [])
    if opening not in openings:
        keep_newest(waiting, key, [*openings, opening], KEYS_KEPT)
    return (SealKey(input_cid, hpke_key),)
