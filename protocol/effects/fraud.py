"""Transactions about proofs of fraud and challenges of leaves."""

from protocol.effects.subjects import InSlot, WithContents
from protocol.judging.fraud_proofs import FraudKind, OpenedLeaf, Papers
from protocol.wire.codec import U24, U64
from protocol.wire.names import wire_class


@wire_class("ProveFraud")
class ProveFraud(WithContents):
    """> chain/fraud_proofs > TransactionMined, CaseResolved and BatchVoided: code alone condemns what a batch shows.

    Several leaves only for MISCOUNTED, by their places.
    """

    fraud_kind: FraudKind
    leaves: tuple[OpenedLeaf, ...]
    papers: Papers


@wire_class("ChallengeLeaf")
class ChallengeLeaf(WithContents):
    """> chain/fraud_proofs > TransactionMined, and BatchChallenged: a batch is checked, for a bond of its client."""

    position: U24


@wire_class("EndChallenge")
class EndChallenge(InSlot):
    """> chain/fraud_proofs > TransactionMined: the bond goes back, or to the pool where the batch had passed."""

    block: U64


FraudEffect = ProveFraud | ChallengeLeaf | EndChallenge
