"""Journal rows of earlier versions, in the form that they have today. Each journal is brought to it once."""

from collections.abc import Callable
from typing import Any

import cbor2

from protocol import timers
from protocol.wire.names import name_of

_RENAMED = {"ProofQuery": "FingerprintQuery", "ProofOpening": "FingerprintOpening"}
"""Messages that had another name."""
_HEX: tuple[Callable[[str], Any], ...] = (bytes.fromhex,)
_ROUND = (bytes.fromhex, int, int)
_SEAT = (bytes.fromhex, int)
_TIMERS: dict[str, tuple[type[Any], tuple[Callable[[str], Any], ...]]] = {
    "call": (timers.CallTimer, _ROUND),
    "last": (timers.LastCallTimer, _ROUND),
    "offers": (timers.OffersTimer, _ROUND),
    "request": (timers.RequestTimer, _HEX),
    "accept": (timers.AcceptTimer, _HEX),
    "result": (timers.ResultTimer, _HEX),
    "dead": (timers.OfflineTimer, _HEX),
    "retry": (timers.RetryTimer, _HEX),
    "lane": (timers.LaneTimer, _HEX),
    "receipt": (timers.ReceiptTimer, _HEX),
    "batch": (timers.BatchTimer, ()),
    "resolve": (timers.ResolveTimer, _HEX),
    "prove": (timers.FraudProofTimer, _HEX),
    "abstain": (timers.AbstainTimer, _SEAT),
    "demand": (timers.DataDemandTimer, _SEAT),
    "audit-try": (timers.ConveneAuditTimer, _HEX),
    "audit-late": (timers.CommitAuditTimer, _HEX),
    "audit-reveal": (timers.RevealAuditTimer, _HEX),
    "audit-close": (timers.CloseAuditTimer, _HEX),
}
"""Timers were texts up to schema 2, such as `abstain:<batch in hex>:<seat>`: the class of each, and its fields."""


def present_form(body: bytes) -> bytes:
    """A row about a timer or a message in the bytes of this version; one that no version wrote, as it is."""
    try:
        name, fields = cbor2.loads(body)
        if name == "DeadlinePassed" and isinstance(fields[0], str):
            return cbor2.dumps([name, [_timer(fields[0])]], canonical=True)
        if name == "MessageReceived" and fields[1][0] in _RENAMED:
            peer_id, (message, content) = fields
            return cbor2.dumps([name, [peer_id, [_RENAMED[message], content]]], canonical=True)
        return body
    except (cbor2.CBORError, ValueError, TypeError, LookupError, RecursionError, OverflowError):
        return body


def _timer(text: str) -> list[Any]:
    kind, *parts = text.split(":")
    if kind in ("slow", "quick"):
        return [name_of(timers.LatencyTimer), [parts[0], kind == "slow"]]
    cls, readers = _TIMERS[kind]
    return [name_of(cls), [read(part) for read, part in zip(readers, parts, strict=True)]]
