"""The running margin: what a node's tokens say of it over many cases, each of which is too small to show anything.

Who takes its tokens from a cheap model, and one true pass over them for a fingerprint, passes most single checks; its
tokens come out a little worse by the true model, and that adds up. Each token's margin has a score, the logarithm of a
likelihood ratio in thousandths of a nat, made so that over an honest node's answers exp(llr) has a mean of at most
one (`MarginScores`). The ratios of a node's cases on one class is summed up; the sum never falls below zero.

Why an honest node may be judged by that for life: from each case on, the product of exp(llr) is a supermartingale
that begins with one, so it ever reaches 1/p with a probability of at most p (Ville). A sum with a floor of zero is the
largest of those that begin at any case so far, so over 10^5 cases the union of their bounds holds: with the alarm at
ln(10^5 x 2 x 10^4) an honest node is ever hurt within 10^5 cases with a probability of at most 10^-4 / 2. The other
half is spent on the first of them alone: a sum begins at ln(10^5), from where it reaches the alarm with a probability
of at most 10^-4 / 2 before it has once been zero. So half as much is needed against a node that cheats from its first
case on, and an honest one is at zero after a few cases. To add less than a case says leaves all that true; so
a positive ratio may be cut, or wait for a larger bench. To leave out what is negative would break it: the sum would
then grow by chance alone. The head start is that of Lucas and Crosier's charts (1982), its size what the union costs.

Twin of Margins.sol; tests/conformance holds the two together.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from protocol.stages.verification import MarginScores

RUNNING_ALARM = 21_417
"""ln(10^5 cases x 2 x 10^4): of ten thousand honest nodes one is ever hurt within 10^5 cases, at most."""
HEAD_START = 11_512
"""ln(10^5): where the sums of a node begin, and begin anew after they were fraud."""
MOST_A_CASE = 5_355
"""A quarter of it: a bench that was bribed once, or erred once, is not enough."""
SUSPECT = 4_605
"""ln(100): from here on two more look at what one seat let pass. An honest node gets there, too, and loses nothing."""
MOST_A_LEAF = 8_000
"""A ratio in favour of a node is not cut: to add more than an answer says would break the bound."""
MAX_LLR_MILLINATS = 2**31 - 1


def margin_llr(margins: Sequence[int], scores: MarginScores) -> int:
    """The log-likelihood ratio of one answer's tokens, in thousandths of a nat; below zero it speaks for the node.

    Args: margins, of each token in ppm, without that of the stop.
    """
    total = sum(scores.scores[bisect_right(scores.edges, margin)] for margin in margins)
    return min(MOST_A_LEAF, total)


def case_llr(leaves: Iterable[int]) -> int:
    """The ratio of all drawn leaves of a case."""
    return max(-MAX_LLR_MILLINATS, min(MAX_LLR_MILLINATS, sum(leaves)))


def median_llr(told: Sequence[int]) -> int:
    """The middle of what seats say, of an even number the lower of two: for the node."""
    return sorted(told)[(len(told) - 1) // 2] if told else 0


@dataclass(frozen=True, slots=True)
class SequentialTest:
    """The sums of one node on one class: by what all seats `told`, and by what full benches `confirmed`."""

    told: int = HEAD_START
    confirmed: int = HEAD_START

    @property
    def is_alarm(self) -> bool:
        """Whether its tokens are not those of the model that it sold."""
        return self.confirmed >= RUNNING_ALARM

    def is_suspect(self, llr_millinats: int) -> bool:
        """Whether fewer than three seats are too few for a case that says so much."""
        return llr_millinats > 0 and self.told + llr_millinats >= SUSPECT

    def after(self, llr_millinats: int, *, bench: bool) -> "SequentialTest":
        """The sums after one more case that passed: what speaks against the node counts only if a bench says so."""
        counted = min(llr_millinats, MOST_A_CASE)
        confirmed = _moved(self.confirmed, counted) if bench or counted < 0 else self.confirmed
        return SequentialTest(_moved(self.told, counted), confirmed)


def _moved(total: int, by: int) -> int:
    return max(0, min(RUNNING_ALARM, total + by))
