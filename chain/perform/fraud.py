"""Contradictions that code can decide, and the bonds of clients that have a batch checked."""

from chain.abi.enums import BatchState
from chain.contracts.network import Network
from chain.perform.batches import ENDED, in_state
from chain.perform.transactor import ContractCall, Payer, Performer, performer
from protocol.effects import ChallengeLeaf, EndChallenge, ProveFraud


def prove(network: Network, effect: ProveFraud) -> ContractCall:
    """Prove a contradiction. A batch that is void or final takes no proof any more."""
    call = network.fraud_proofs.prove_fraud(
        effect.node, effect.slot, effect.contents, effect.fraud_kind, effect.leaves, effect.papers
    )
    return ContractCall(call, in_state(network, effect, ENDED | {BatchState.VOID}))


def challenge(network: Network, effect: ChallengeLeaf) -> ContractCall:
    """Put up a client's bond, so that a batch is drawn in full."""

    async def is_bonded() -> bool:
        return await _bond(network, effect.batch_id) != 0

    call = network.fraud_proofs.challenge_leaf(effect.node, effect.slot, effect.contents, effect.position)
    return ContractCall(call, is_bonded, Payer.CLIENT)


def end_challenge(network: Network, effect: EndChallenge) -> ContractCall:
    """Settle a client's bond."""

    async def is_over() -> bool:
        return await _bond(network, effect.batch_id) == 0

    return ContractCall(
        network.fraud_proofs.end_challenge(effect.node, effect.slot, effect.block), is_over, Payer.ANYONE
    )


async def _bond(network: Network, batch_id: bytes) -> int:
    _, bond = await network.fraud_proofs.challenge_of(batch_id)
    return bond


PERFORMERS: dict[type, Performer] = {
    ProveFraud: performer(prove),
    ChallengeLeaf: performer(challenge),
    EndChallenge: performer(end_challenge),
}
