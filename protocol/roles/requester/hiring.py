"""Hiring: which of the nodes that made an offer a requester may take, which is best, and why there is none."""

from datetime import UTC, datetime

from protocol.params import VCN
from protocol.roles.member import Member
from protocol.roles.requester.cooldown import ProviderCooldown
from protocol.roles.requester.requested import RequestedJob
from protocol.stages.offer import Candidate, is_able, rank
from protocol.wire.ids import Cid, TimestampMs

LAST_S = 253_402_300_799
"""The last second that has a date of four digits."""


def best(
    job: RequestedJob, member: Member, cooldown: ProviderCooldown, now_ms: TimestampMs, *, last_call: bool
) -> Candidate | None:
    """The best able node that was not tried yet, by this node's own view of the chain and its own experience.

    Args: last_call, whether no other will be asked: then the able node that is barred for the shortest time will do.
    """
    able = [candidate for candidate in _candidates(job, member) if _able(job, candidate, member, now_ms)]
    unbarred = [candidate for candidate in able if not cooldown.bars(candidate.record.node_id, now_ms)]
    if unbarred:
        return rank(unbarred)[0]
    # Someone who failed once may do it now; if no other would, the alternative is no answer at all.
    return min(rank(able), key=lambda each: cooldown.until_ms(each.record.node_id)) if able and last_call else None


def why_stopped(member: Member) -> str:
    """Why the network takes no job now, and from when on it does."""
    until = datetime.fromtimestamp(min(member.intake_until_s, LAST_S), UTC)
    return f"the network takes nothing new before {until:%Y-%m-%d %H:%M:%S} UTC: its keeper has paused it"


def why_nobody(job: RequestedJob, member: Member, now_ms: TimestampMs) -> str:
    """The reason why no known node can do the job, in one line."""
    assert job.signed is not None
    request = job.signed.request
    if member.is_intake_stopped(now_ms):
        return why_stopped(member)
    if not job.offers and not job.tried:
        known = len(member.peers)
        return f"no able node: none of {known} known nodes made an offer for this model, class, price and time limit"
    if job.tried:
        return f"no able node: {len(job.tried)} tried, none left; the last one: {job.reason}"
    cheapest = min(signed.offer.price for signed, _ in job.offers.values())
    if cheapest > request.max_price:
        return f"price over the cap: the cheapest offer is {vcn(cheapest)} VCN, the cap {vcn(request.max_price)}"
    if not job.ask.uncalibrated:
        return "no able node: the model has no calibration for the classes offered (--uncalibrated accepts that)"
    return f"no able node: {len(job.offers)} offers, none with the stake or reputation asked for"


def vcn(wei: int) -> str:
    """An amount for people."""
    return f"{wei / VCN:.4f}".rstrip("0").rstrip(".")


def _candidates(job: RequestedJob, member: Member) -> list[Candidate]:
    slow = member.latency.is_slow
    known = ((signed, peer_id, member.nodes.get(node_id)) for node_id, (signed, peer_id) in job.offers.items())
    return [Candidate(signed, record, peer_id, is_slow=slow(peer_id)) for signed, peer_id, record in known if record]


def _able(job: RequestedJob, candidate: Candidate, member: Member, now_ms: TimestampMs) -> bool:
    assert job.signed is not None
    request, record = job.signed.request, candidate.record
    # A node of the client's own hand could pay itself with reputation.
    own = frozenset({request.client, request.signer})
    if record.node_id in job.tried or record.operator in own or record.node_id == member.identity.node_id:
        return False
    calibrated = member.calibrated(Cid(request.manifest), candidate.signed.offer.class_id, request.kind)
    return (calibrated or job.ask.uncalibrated) and is_able(request, candidate, own, now_ms)
