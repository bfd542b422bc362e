"""Fraud proofs as plain Python: bonds of clients who have a batch checked in full, and lies that need no court.

Left out: signers with a grant, since no scene has one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

from chain.abi.enums import BatchState
from protocol.events import BatchChallenged
from protocol.judging.fraud_proofs import (
    FraudKind,
    OpenedLeaf,
    Papers,
    are_miscounted,
    fraud_kinds_in,
    is_in_batch,
)
from protocol.params import BPS
from protocol.stages.commitment import BatchContents, batch_id
from protocol.stages.verification import Verdict
from protocol.wire.ids import Address, BatchId
from tests.fakes.court import Court

PROVABLE = (BatchState.PENDING, BatchState.IN_COURT, BatchState.PASSED, BatchState.AUDITED)


@dataclass(frozen=True)
class Challenge:
    """Whose bond is held for a batch."""

    client: Address
    bond: int


@dataclass
class FraudProofs(Court):
    """Contracts with a court, and what calls or overrules it."""

    challenges: dict[BatchId, Challenge] = field(default_factory=dict)

    def fork(self) -> Self:
        other = super().fork()
        other.challenges = dict(self.challenges)
        return other

    @property
    def bonds(self) -> int:
        return super().bonds + sum(held.bond for held in self.challenges.values())

    # ---- challenges

    def challenge_leaf(self, sender: Address, node: Address, slot: int, contents: BatchContents, position: int) -> None:
        batch = self.batch(node, slot)
        self.require(batch.state is BatchState.PENDING, "WrongState")
        self.require(contents == batch.contents, "WrongContents")
        self.require(position < batch.leaf_count, "PositionOutOfRange")
        self.require(self.timestamp < batch.timestamp + self.profile.challenge_seconds, "WindowOver")
        # One whole stratum has a drawn leaf for certain.
        self.require(batch.leaf_count * batch.rate_bps < BPS, "DrawnAnyway")
        client = self._client_of(sender, contents, position)
        bond = max(self.profile.min_deposit, batch.fee * BPS // batch.rate_bps)
        self.require(sender == client, "SignerExpired")
        self.require(bond <= self.free.get(client, 0), "NotEnoughFree")
        self.challenges[batch.batch_id] = Challenge(client, bond)
        batch.rate_bps = BPS
        self.emit(BatchChallenged(batch.batch_id, node, client, position))
        self.add_free(client, -bond)

    def end_challenge(self, node: Address, slot: int, block: int) -> None:
        name = batch_id(node, slot, block)
        self.require(name in self.challenges, "NoChallenge")
        kept = self._has_passed(node, slot, name)
        ended = self.challenges.pop(name)
        if kept:
            self.pool += ended.bond
        else:
            self.add_free(ended.client, ended.bond)

    def _client_of(self, sender: Address, contents: BatchContents, position: int) -> Address:
        """Whose leaf it is; the sender must be that lane's client or signer."""
        end = 0
        for debit in contents.debits:
            end += debit.leaves
            if position < end:
                self.require(sender in (debit.client, debit.signer), "NotOwnLeaf")
                return debit.client
        raise AssertionError(f"no lane has leaf {position}")

    def _has_passed(self, node: Address, slot: int, name: BatchId) -> bool:
        """A slot may hold another batch by now; then the case says how this one has ended."""
        batch = self.batches[node, slot]
        if batch.batch_id != name:
            return name in self.cases and self.cases[name].verdict is Verdict.PASS
        self.require(batch.state in (BatchState.FINAL, BatchState.VOID, BatchState.REFUNDED), "StillOpen")
        return batch.state is BatchState.FINAL

    # ---- proofs

    def prove_fraud(
        self,
        node: Address,
        slot: int,
        contents: BatchContents,
        fraud_kind: FraudKind,
        leaves: Sequence[OpenedLeaf],
        papers: Papers,
    ) -> None:
        batch = self.batch(node, slot)
        self.require(batch.state in PROVABLE, "WrongState")
        self.require(contents == batch.contents, "WrongContents")
        self.require(all(is_in_batch(opened, batch.told) for opened in leaves), "WrongRoot")
        if fraud_kind is FraudKind.MISCOUNTED:
            places = [opened.position for opened in leaves]
            self.require(places == sorted(set(places)), "PositionsNotAscending")
            self.require(are_miscounted([opened.leaf for opened in leaves], batch.told), "NoFraud")
        else:
            self.require(len(leaves) == 1, "WrongLeafCount")
            self.require(
                fraud_kind in fraud_kinds_in(leaves[0], batch.told, papers, node, node, self.domain), "NoFraud"
            )
        self.condemn(batch)
