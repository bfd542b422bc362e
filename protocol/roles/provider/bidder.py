"""The bidder: decides which requests this node would run, and at what price and time.

Nothing is kept for an offer beyond the request that it answers: the assignment brings both back.
"""

from dataclasses import dataclass, field

from protocol.effects import Effect, Send, SignMessage
from protocol.params import FIRST_RANKS, OFFER_VALID_S, PRICE_PER_STAKE
from protocol.roles.member import Member
from protocol.roles.provider.run_queue import TIME_FACTOR, least_timeout_ms
from protocol.stages.blob import ModelManifest
from protocol.stages.execution import is_gguf_class, runs_dtype
from protocol.stages.memory import needed_bytes, tokens_of
from protocol.stages.offer import FETCH_MS, START_MS, NodeRecord, Offer, SignedOffer, price_of
from protocol.stages.request import Request, SignedRequest, accepts_class, request_id, require_fresh
from protocol.wire.envelope import require_signer
from protocol.wire.ids import Cid, RequestId, TimestampMs, Wei

OFFERS_KEPT = 1_024
OFFERS_PER_REQUEST = 12
"""Three attempts of four rounds."""


@dataclass(slots=True)
class Bidder:
    """Offers of this node."""

    member: Member
    _offered: dict[RequestId, SignedRequest] = field(default_factory=dict)
    _offers: dict[RequestId, int] = field(default_factory=dict)

    def consider(self, signed: SignedRequest, load: int, now_ms: TimestampMs) -> tuple[Effect, ...]:
        """Offer for a request that this node would run, if it ranks itself among the first.

        Args: load, jobs that it has taken and not ended.
        Raises: Stale or BadSignature.
        """
        request, record = signed.request, self.member.record
        key = request_id(request, self.member.identity.domain)
        before = self._offers.get(key, 0)
        # Its requester may gossip a request again: each round is answered, up to a bound.
        if record is None or before >= OFFERS_PER_REQUEST or (before and not signed.wide):
            return ()
        require_fresh(request, now_ms)
        require_signer(request, signed.signature, self.member.identity.domain, request.signer)
        price = price_of(self.member.settings.price, request.max_new_tokens)
        class_id = self._class_for(request, record)
        if class_id is None or not self._would(request, record, price, load, wide=signed.wide):
            return ()
        if self.member.is_intake_stopped(now_ms):
            # Until then no batch takes the job, and its client may take the lane back meanwhile.
            return ()
        cached = Cid(request.manifest) in self.member.models
        ms_per_token = self.member.device.ms_of(class_id)
        eta_ms = START_MS + ms_per_token * request.max_new_tokens + (0 if cached else FETCH_MS)
        if request.timeout_ms < least_timeout_ms(request, ms_per_token):
            return ()
        if request.deadline * 1000 < now_ms + TIME_FACTOR * eta_ms:
            # An order for it would be refused.
            return ()
        while len(self._offered) >= OFFERS_KEPT:
            forgotten = next(iter(self._offered))
            self._offered.pop(forgotten)
            self._offers.pop(forgotten, None)
        self._offered[key] = signed
        self._offers[key] = before + 1
        offer = Offer(
            request_id=key,
            node_id=record.node_id,
            price=price,
            eta_ms=min(eta_ms, 2**32 - 1),
            class_id=class_id,
            cached=cached,
            hpke_key=self.member.hpke_key,
            valid_until=now_ms // 1000 + OFFER_VALID_S,
        )
        return (SignMessage(offer),)

    def _class_for(self, request: Request, record: NodeRecord) -> int | None:
        """The fastest class of this machine that can run the request, of those that it and the chain's record allow."""
        allowed = (
            class_id
            for class_id in self.member.device.class_ids
            if accepts_class(record.class_mask, class_id) and accepts_class(request.classes, class_id)
        )
        return next((class_id for class_id in allowed if self._can(request, class_id)), None)

    def _can(self, request: Request, class_id: int) -> bool:
        cid = Cid(request.manifest)
        manifest, settings = self.member.models.get(cid), self.member.settings
        if is_gguf_class(class_id) and not self.member.calibrated(cid, class_id, request.kind):
            # A type is sold only by its own constants, even to a client who asks for none.
            return False
        if manifest is None:
            return self.member.may_fetch(cid, class_id, request.kind) and cid not in self.member.no_room
        if not runs_dtype(class_id, manifest.dtype):
            return False
        return self._needs(manifest, request, class_id) <= min(settings.memory_bytes, request.max_memory)

    def _would(self, request: Request, record: NodeRecord, price: Wei, load: int, *, wide: bool) -> bool:
        return (
            record.active
            and self.member.holds.is_offering
            and not self.member.paused
            and load < self.member.settings.places
            and price <= request.max_price
            and price * PRICE_PER_STAKE <= record.stake
            and request.client not in (record.owner, record.operator)
            and self._is_client(request)
            and (wide or self.member.ahead < FIRST_RANKS)
        )

    def _needs(self, manifest: ModelManifest, request: Request, class_id: int) -> int:
        tokens = tokens_of(request.kind, request.input_bytes, request.max_new_tokens, manifest.context)
        return needed_bytes(manifest, class_id, tokens)

    def _is_client(self, request: Request) -> bool:
        # A signer that is not the client shows its grant by the lane that it could open.
        lane = (request.client, request.signer, self.member.identity.node_id)
        known = request.signer == request.client or lane in self.member.money.lanes
        return known and self.member.money.is_client(request.client)

    def send(self, offer: Offer, signature: bytes) -> tuple[Effect, ...]:
        """Send a signed offer to where its request says."""
        if self.member.paused:
            # A card has become hot since the offer was made.
            return ()
        signed = self._offered.get(RequestId(offer.request_id))
        return (Send(signed.request.requester_peer, SignedOffer(offer, signature)),) if signed else ()
