"""Journal rows of earlier versions, in the form that they have today. Called for a row that cannot be read as it is."""

from collections.abc import Callable
from typing import Any

import cbor2

from protocol.errors import Malformed
from protocol.timers import (
    AbstainTimer,
    AcceptTimer,
    BatchTimer,
    CallTimer,
    CloseAuditTimer,
    CommitAuditTimer,
    ConveneAuditTimer,
    DataDemandTimer,
    FraudProofTimer,
    LaneTimer,
    LastCallTimer,
    LatencyTimer,
    OffersTimer,
    OfflineTimer,
    ReceiptTimer,
    RequestTimer,
    ResolveTimer,
    ResultTimer,
    RetryTimer,
    RevealAuditTimer,
)
from protocol.wire.names import name_of

_HEX: tuple[Callable[[str], Any], ...] = (bytes.fromhex,)
_ROUND = (bytes.fromhex, int, int)
_SEAT = (bytes.fromhex, int)
_TIMERS: dict[str, tuple[type[Any], tuple[Callable[[str], Any], ...]]] = {
    "call": (CallTimer, _ROUND),
    "last": (LastCallTimer, _ROUND),
    "offers": (OffersTimer, _ROUND),
    "request": (RequestTimer, _HEX),
    "accept": (AcceptTimer, _HEX),
    "result": (ResultTimer, _HEX),
    "dead": (OfflineTimer, _HEX),
    "retry": (RetryTimer, _HEX),
    "lane": (LaneTimer, _HEX),
    "receipt": (ReceiptTimer, _HEX),
    "batch": (BatchTimer, ()),
    "resolve": (ResolveTimer, _HEX),
    "prove": (FraudProofTimer, _HEX),
    "abstain": (AbstainTimer, _SEAT),
    "demand": (DataDemandTimer, _SEAT),
    "audit-try": (ConveneAuditTimer, _HEX),
    "audit-late": (CommitAuditTimer, _HEX),
    "audit-reveal": (RevealAuditTimer, _HEX),
    "audit-close": (CloseAuditTimer, _HEX),
}
"""Timers were texts up to schema 2, such as `abstain:<batch in hex>:<seat>`: the class of each, and its fields."""


def present_form(body: bytes) -> bytes:
    """An event as an earlier version wrote it, in the bytes of this version.

    Raises: Malformed if no version wrote it.
    """
    try:
        name, fields = cbor2.loads(body)
        if name == "DeadlinePassed" and isinstance(fields[0], str):
            fields = [_timer(fields[0])]
        return cbor2.dumps([name, fields], canonical=True)
    except (cbor2.CBORError, ValueError, TypeError, LookupError, RecursionError, OverflowError) as error:
        raise Malformed("no earlier version wrote this row") from error


def _timer(text: str) -> list[Any]:
    kind, *parts = text.split(":")
    if kind in ("slow", "quick"):
        return [name_of(LatencyTimer), [parts[0], kind == "slow"]]
    cls, readers = _TIMERS[kind]
    return [name_of(cls), [read(part) for read, part in zip(readers, parts, strict=True)]]
