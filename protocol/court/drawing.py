"""Which leaves of a batch are checked, as far as a node can foresee what its court will say."""

from protocol.court.docket import DocketBatch
from protocol.params import BPS
from protocol.stages.sampling import batch_seed, draw_samples


def drawn_leaves(batch: DocketBatch, seed: bytes | None) -> tuple[int, ...] | None:
    """The drawn leaves of a batch: those of its case once it is convened.

    Args: seed, of the epoch of the batch, 32 bytes; None while it is not known.
    Returns: None while that rests on a seed that is not known.
    """
    if batch.case is not None:
        return batch.case.drawn
    if batch.rate_bps == BPS:
        # Everything is drawn, whatever the seed: the court may meet as soon as it is on the chain.
        return tuple(range(batch.submitted.leaf_count))
    if seed is None:
        return None
    return draw_samples(batch_seed(seed, batch.batch_id), batch.submitted.leaf_count, batch.submitted.rate_bps)
