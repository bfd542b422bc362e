"""Stop orders: a client wants no more tokens of a job, and its node says so under the signature that pays.

The signature stands in result.json of the short answer: by it a seat can tell that answer from one that its node cut.
"""

import json
from typing import Any

from protocol.stages.assignment import Assignment
from protocol.wire.codec import Bytes32, Signature
from protocol.wire.envelope import Domain, digest, is_signed_by, typed
from protocol.wire.names import wire_class

STOP_ORDER = "stop_order"
"""The `finish` of an answer that a stop order has ended, and the field of result.json with the signature in hex."""


@typed("StopOrder(bytes32 jobId)")
@wire_class("StopOrder")
class StopOrder:
    """The client wants no more tokens of this job, and pays for those that its result has; signed by the signer."""

    job_id: Bytes32


@wire_class("SignedStopOrder")
class SignedStopOrder:
    """A StopOrder as it is sent."""

    order: StopOrder
    signature: Signature


def with_stop_order(raw: bytes, signature: bytes) -> bytes:
    """result.json of an answer that a stop order has ended, with the signature in it; any other as it is.

    Args: raw, what the runner has left; bytes that are no result stay as they are, for validation to refuse.
    """
    plain = _read(raw)
    if plain.get("finish") != STOP_ORDER:
        return raw
    return json.dumps(plain | {STOP_ORDER: signature.hex()}, sort_keys=True, separators=(",", ":")).encode()


def stop_order_in(raw: bytes, assignment: Assignment, domain: Domain) -> bytes | None:
    """The signature in result.json, if the signer of the job's assignment has ordered this job to be stopped."""
    said = _read(raw).get(STOP_ORDER)
    if not isinstance(said, str) or len(said) != 130:
        return None
    try:
        signature = bytes.fromhex(said)
    except ValueError:
        return None
    # By the assignment: a job id in the papers of a leaf is the word of its node.
    order = StopOrder(digest(assignment, domain))
    return signature if is_signed_by(order, signature, domain, assignment.signer) else None


def _read(raw: bytes) -> dict[str, Any]:
    """result.json as far as it is JSON; it may be a stranger's."""
    try:
        plain = json.loads(raw)
    except (ValueError, RecursionError):
        return {}
    return plain if isinstance(plain, dict) else {}
