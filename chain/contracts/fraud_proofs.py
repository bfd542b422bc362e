"""The FraudProofs contract: fraud that needs no court. Its rules are in protocol.judging.fraud_proofs."""

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Any

from eth_abi.abi import encode

from chain.contracts.contract import CallTo, Contract, DecodedLog
from chain.contracts.facts import ClientTouched, Fact
from chain.rpc.ethereum import Call
from protocol.events import BatchChallenged
from protocol.judging.fraud_proofs import FraudKind, OpenedLeaf, Papers
from protocol.stages.commitment import BatchContents
from protocol.wire.ids import Address, BatchId, Wei

DETAILS = (
    "(bytes32,bytes32,uint96,uint96,uint96,bytes32,bytes32,bytes32,uint32,bytes32,uint32,uint32,uint32,uint40,uint8,"
    "uint96,uint32)"
)
RECEIPT = "(bytes32,bytes32,uint96,uint32)"
RESULT = "(bytes32,bytes32,bytes32,bytes32)"
ORDER = "(address,address,address,uint24,uint96,bytes32)"
"""The papers as the contract decodes them."""


@dataclass(frozen=True, slots=True)
class FraudProven:
    """A node was condemned by one of its own batches."""

    node: Address
    slot: int
    batch_id: BatchId
    fraud_kind: FraudKind
    position: int
    prover: Address


class FraudProofs(Contract):
    """The FraudProofs contract: anyone shows that a batch contradicts itself, its papers, or its node's signature."""

    NAME = "FraudProofs"

    def prove_fraud(
        self,
        node: Address,
        slot: int,
        contents: BatchContents,
        fraud_kind: FraudKind,
        leaves: Sequence[OpenedLeaf],
        papers: Papers,
    ) -> Call:
        """Condemn the node of a batch that is not final; anyone. Several leaves only for MISCOUNTED."""
        shown = encoded_papers(fraud_kind, papers)
        return self.call("proveFraud", (node, slot, fraud_kind, contents, tuple(leaves), shown))

    challenge_leaf = CallTo[Address, int, BatchContents, int]("challengeLeaf")
    """(node, slot, contents, position) Have a small batch checked in full, for a bond; the client or signer of the leaf
    at this place."""

    end_challenge = CallTo[Address, int, int]("endChallenge")
    """(node, slot, commit_block) Give the bond of the batch of this block back, or to the pool, once it is void or
    final; anyone."""

    async def challenge_of(self, batch_id: bytes) -> tuple[Address, Wei]:
        """The account that challenged a batch, and its bond; zeros if there is none or it is over."""
        client, bond = await self.read("challengeOf", batch_id)
        return client, Wei(bond)

    def fact(self, entry: DecodedLog) -> Fact | None:
        """The fact in a log of this contract: a bond has moved. The other contracts log the effects of a proof."""
        match entry.event, entry.values:
            case "LeafChallenged", (batch_id, node, client, _, position, _):
                return BatchChallenged(batch_id, node, client, position)
            case "ChallengeEnded", (_, client, *_):
                return ClientTouched(client)
        return None

    def proven(self, entry: DecodedLog) -> FraudProven | None:
        """The fact in a log of this contract."""
        if entry.event != "FraudProven":
            return None
        node, slot, batch_id, fraud_kind, position, prover = entry.values
        return FraudProven(node, slot, BatchId(batch_id), FraudKind(fraud_kind), position, prover)


def encoded_papers(fraud_kind: FraudKind, papers: Papers) -> bytes:
    """The papers that a lie asks for, in the contract's encoding.

    Raises: ValueError if one is missing.
    """
    kinds: list[str] = []
    values: list[Any] = []
    if FraudKind.OVERPRICED <= fraud_kind < FraudKind.RECEIPT_DIFFERS:
        kinds, values = [DETAILS], [papers.details]
    elif fraud_kind is FraudKind.RECEIPT_DIFFERS:
        kinds, values = [RECEIPT], [papers.receipt]
    elif fraud_kind is FraudKind.RECEIPT_OF_ANOTHER:
        kinds, values = [RECEIPT, ORDER], [papers.receipt, papers.order]
    elif fraud_kind is FraudKind.RESULT_DIFFERS:
        signed = papers.result
        kinds = [RESULT, "bytes", ORDER]
        values = [signed and signed.result, signed and signed.signature, papers.order]
    if any(value is None for value in values):
        raise ValueError(f"{fraud_kind.name} needs papers that are not there")
    return encode(kinds, [value if isinstance(value, bytes) else astuple(value) for value in values])
