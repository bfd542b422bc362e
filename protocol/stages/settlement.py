"""Settlement: how the money of a batch is split. Twin of SplitLib; tests/vectors/split.json."""

from dataclasses import dataclass

from protocol.params import BPS, BURN_BPS, CONVENE_DIVISOR, COURT_FEE, SCORE_MAX
from protocol.wire.ids import Wei


@dataclass(frozen=True, slots=True)
class Split:
    """The split of a passed batch's charges, fees and bonuses, in wei."""

    burned: Wei
    reward: Wei
    bonus: Wei
    pooled: Wei


def split(price_sum: int, fee_sum: int, bonus_sum: int, score: int) -> Split:
    """Split a batch: a tenth of its charges is burned (rounded up), the node gets 0.9 x m (down), the pool the rest.

    Args: score, the node's reputation in hundredths of a point when it committed; m = 0.5 + 0.5 x score/100 is never
    above 1, so that a client, node and verifier in one hand lose at least the burn.
    """
    burned = -(-price_sum * BURN_BPS // BPS)
    reward = (price_sum - burned) * (SCORE_MAX + min(score, SCORE_MAX)) // (2 * SCORE_MAX)
    return Split(Wei(burned), Wei(reward), Wei(bonus_sum), Wei(price_sum - burned - reward + fee_sum))


def seat_pay(fee: int, drawn: int, leaf_count: int, rate_bps: int) -> int:
    """The pay of a case's seats and of the convening account: the fees of its drawn leaves over the rate of the draw.

    Rounded down. Over all draws of a batch that is its fee in the mean, so that no party gains by trade with itself.
    """
    return fee * drawn * BPS // (leaf_count * rate_bps)


def convene_pay(fee: int) -> int:
    """The convening account's part of a case's pay: a fifth of the batch's fee, but nothing of the first COURT_FEE.

    Rounded down. Less than the pay, which is at least half of the fee.
    """
    return min(fee // CONVENE_DIVISOR, max(0, fee - COURT_FEE))
