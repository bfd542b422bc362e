"""Transactions about proofs of fraud and challenges of leaves."""

from dataclasses import dataclass

from protocol.judging.fraud_proofs import FraudKind, OpenedLeaf, Papers
from protocol.stages.commitment import BatchContents
from protocol.wire.codec import U8, U24, U64, Bytes32
from protocol.wire.ids import Address
from protocol.wire.names import wire_class


@dataclass(frozen=True, slots=True)
class _ForBatch:
    """About a batch, which stands in a slot of its node."""

    batch_id: Bytes32
    node: Address
    slot: U8


@wire_class("ProveFraud")
class ProveFraud(_ForBatch):
    """> chain/fraud_proofs > TransactionMined, CaseResolved and BatchVoided: code alone condemns what a batch shows.

    Several leaves only for MISCOUNTED, by their places.
    """

    contents: BatchContents
    fraud_kind: FraudKind
    leaves: tuple[OpenedLeaf, ...]
    papers: Papers


@wire_class("ChallengeLeaf")
class ChallengeLeaf(_ForBatch):
    """> chain/fraud_proofs > TransactionMined, and BatchChallenged: a batch is checked, for a bond of its client."""

    contents: BatchContents
    position: U24


@wire_class("EndChallenge")
class EndChallenge(_ForBatch):
    """> chain/fraud_proofs > TransactionMined: the bond goes back, or to the pool where the batch had passed."""

    block: U64


FraudEffect = ProveFraud | ChallengeLeaf | EndChallenge
