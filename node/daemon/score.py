"""A node's score explained: its terms from the chain's state, and every change of its record from the chain's logs."""

from collections.abc import Mapping, Sequence

from chain.perform.adapter import ChainAdapter
from chain.read.reputation import Change, read_record
from node.api import views as api
from protocol.stages.reputation import ReputationRecord, score_terms
from protocol.stages.verification import Verdict
from protocol.wire.ids import Address

MAX_HARMLESS = 200
"""Changes that cost nothing, of which a node has one or more a day, that are told one by one."""
SECONDS_A_DAY = 86_400


async def explain(
    chain: ChainAdapter, node_id: Address, recommended_stake: int, jobs: Mapping[str, Sequence[str]]
) -> api.ScoreView | None:
    """The parts of a node's score now; None if it is not registered.

    Args: jobs that this node knows, by the hex id of their batch.
    Raises: ChainError.
    """
    block = await chain.network.ethereum.block()
    # At one block, so that the record is the sum of its changes.
    (node,) = await chain.network.stakes.nodes_of([node_id], block.number)
    if node is None:
        return None
    changes = await read_record(chain.network, node_id, chain.deployment.block, block.number)
    active_days = max(0, block.timestamp // SECONDS_A_DAY - node.activated_day)
    penalty = node.penalty_tenths * 10
    record = ReputationRecord(node.successes, node.total, node.response_ms, node.check_in_days, active_days, penalty)
    terms = score_terms(record, node.active_stake, recommended_stake)
    kept = worth_telling(changes)
    return api.view_of(
        api.ScoreView,
        terms,
        node,
        node_id=node_id,
        score=node.score_hundredths,
        days_active=active_days,
        stake_wei=node.active_stake,
        recommended_stake_wei=recommended_stake,
        penalised=10 * sum(max(change.penalty_tenths, 0) for change in changes),
        healed=10 * sum(max(-change.penalty_tenths, 0) for change in changes),
        changes=tuple(_change(change, jobs) for change in kept),
        left_out=len(changes) - len(kept),
    )


def worth_telling(changes: Sequence[Change]) -> list[Change]:
    """All that hurt and the newest of the others, in order."""
    harmless = [number for number, change in enumerate(changes) if not _hurts(change)]
    left_out = set(harmless[:-MAX_HARMLESS])
    return [change for number, change in enumerate(changes) if number not in left_out]


def _hurts(change: Change) -> bool:
    return change.penalty_tenths > 0 or change.lost > 0 or change.lost_wei > 0


def _change(change: Change, jobs: Mapping[str, Sequence[str]]) -> api.ChangeView:
    batch_id = change.batch_id.hex() if change.batch_id else ""
    return api.view_of(
        api.ChangeView,
        change,
        transaction=f"0x{change.transaction.hex()}",
        cause=change.cause.value,
        batch_id=batch_id,
        jobs=tuple(jobs.get(batch_id, ())) if batch_id else (),
        verdict="" if change.verdict is Verdict.NONE else change.verdict.name.lower(),
        penalty=change.penalty_tenths * 10,
    )
