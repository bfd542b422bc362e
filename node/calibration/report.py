"""The table of a calibration: how often honest answers and those of substitutes do not pass, with counts. Pure."""

import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from node.calibration.answers import WHOLE, Cut, MeasuredAnswer, honest
from node.calibration.constants import constants
from node.calibration.margins import WITHIN_TOKENS, Weighed, fit, mean_likelihood_ratio, tokens_to_alarm
from node.calibration.plan import CHEAT, HONEST, WEIGHTS
from node.calibration.prompts import Family, place_of
from node.calibration.statistics import interval, same_share
from protocol.judging.margins import HEAD_START, RUNNING_ALARM
from protocol.params import PASS_ABOVE_BPS, REVIEW_ABOVE_BPS
from protocol.stages.verification import Calibration, Distances, MarginScores, Tolerance, points

TERMS = ("act", "chunk", "tok", "worst")
ACROSS_PERCENT = 150
"""Of the worker's own tolerances, where a verifier of another class looks."""
ADAPTIVE = "adaptive "
MARGIN_FIT = 4
"""The margins of one prompt in so many are what scores are made from; those of the others shrink them."""
LOWER_ALARMS = (16_118, 13_816, 11_513)
"""Thousandths of a nat. In 10^5 checked cases they hurt an honest node with a chance of at most 1 in 100, 1 in 10, and
with no bound at all: what an earlier alarm would cost."""
UNLIKE = 0.001
"""Two counts that chance makes less often differ."""


_AnswersOf = tuple[int, int, str, int, str]
"""Worker, checker, variant, temperature and length."""


@dataclass(frozen=True, slots=True)
class FailureRate:
    """How many of `n` answers did not pass, and how many of them failed. `length`: as allowed by the job, or whole."""

    worker: int
    checker: int
    variant: str
    temperature_milli: int
    length: str
    n: int
    not_passed: int
    failed: int
    act_mean: int

    def plain(self) -> dict[str, Any]:
        """As JSON has it, with the share and its exact interval of 95 %, in millionths."""
        low, high = interval(self.not_passed, self.n)
        found = asdict(self)
        act_mean = found.pop("act_mean")
        shares = {
            "share_ppm": round(1e6 * self.not_passed / self.n),
            "interval_ppm": [round(1e6 * low), round(1e6 * high)],
        }
        return {**found, **shares, "act_mean_ppm": act_mean}


def widened(calibration: Calibration) -> Calibration:
    """The tolerances across classes."""
    bands = (getattr(calibration, term) for term in TERMS)
    act, chunk, tok, worst = (
        Tolerance(band.d0 * ACROSS_PERCENT // 100, band.d1 * ACROSS_PERCENT // 100) for band in bands
    )
    return Calibration(act, chunk, tok, worst)


def proposed(answers: Iterable[MeasuredAnswer], class_id: int) -> Calibration:
    """Constants from honest answers to the prompts that are not held out. Raises: ValueError for fewer than two."""
    return founded((each for each in answers if not each.is_held_out), class_id)


def founded(answers: Iterable[MeasuredAnswer], class_id: int) -> Calibration:
    """Constants from all honest answers. Raises: ValueError for fewer than two."""
    told = list(honest(answers, class_id, class_id))
    whole = [each.cuts[WHOLE] for each in told]
    return constants(whole, [cut for each in told for cut in _shortened(each)], class_id)


def rates(answers: Iterable[MeasuredAnswer], calibrations: Mapping[int, Calibration]) -> list[FailureRate]:
    """By worker, checker, variant, temperature and length, in the order of the answers; classes without row left out.

    A cheap model comes twice: with its own fingerprint, and as the adaptive cheat with that of a true pass.
    """
    found: dict[_AnswersOf, list[tuple[int, int]]] = defaultdict(list)
    for each in answers:
        if each.worker not in calibrations:
            continue
        own = calibrations[each.worker]
        by = own if each.worker == each.checker else widened(own)
        for length, cut in each.cuts.items():
            if length == WHOLE and each.variant != HONEST:
                continue
            for name, distances in _seen(each.variant, cut):
                key = (each.worker, each.checker, name, each.temperature_milli, length)
                found[key].append((points(distances, cut.tokens, by), distances.act))
    return [_rate(key, scored) for key, scored in found.items()]


def held_out(answers: Iterable[MeasuredAnswer], class_id: int, calibration: Calibration) -> tuple[int, int]:
    """How many whole honest answers to held-out prompts there are, and how many of them do not pass."""
    scores = [
        points(each.cuts[WHOLE].own, each.cuts[WHOLE].tokens, calibration)
        for each in honest(answers, class_id, class_id)
        if each.is_held_out
    ]
    return len(scores), sum(score <= PASS_ABOVE_BPS for score in scores)


def weigh(answers: Sequence[MeasuredAnswer], class_id: int) -> Weighed:
    """Margin scores of a class. Raises: ValueError where nothing was measured that they could be made from."""
    told = list(honest(answers, class_id, class_id))
    cheat = [_tokens(each) for each in answers if each.variant == CHEAT and _of(each, class_id)]
    first: list[tuple[int, ...]] = []
    groups: dict[str, list[tuple[int, ...]]] = defaultdict(list)
    for each in told:
        # A few answers tell the shares of the bins. That honest nodes are safe takes the many.
        if place_of(each.number) % MARGIN_FIT == 0:
            first.append(_tokens(each))
        else:
            groups[_group(each)].append(_tokens(each))
    return fit(first, cheat, groups)


def _group(each: MeasuredAnswer) -> Family:
    """Answers that end by themselves are too few to be a group of their own."""
    return Family.OTHER if each.family is Family.SHORT else each.family


def ratios(answers: Sequence[MeasuredAnswer], class_id: int, scores: MarginScores) -> dict[str, tuple[float, float]]:
    """Mean likelihood ratio of honest answers by family, with its upper bound, under a table of scores."""
    groups: dict[str, list[tuple[int, ...]]] = defaultdict(list)
    for each in honest(answers, class_id, class_id):
        groups[_group(each)].append(_tokens(each))
    return {name: mean_likelihood_ratio(scores, told) for name, told in groups.items()}


def alarms(answers: Sequence[MeasuredAnswer], class_id: int, scores: MarginScores) -> dict[str, dict[str, Any]]:
    """How soon the running margin finds each adaptive cheat, and whether it ever takes an honest node for one.

    A node that cheats from its first case on has the head start; one that was honest before has not: `later`.
    """
    found: dict[str, dict[str, Any]] = {}
    for name in (HONEST, *WEIGHTS):
        told = [_tokens(each) for each in answers if each.variant == name and _of(each, class_id)]
        if any(told):
            found[name] = {
                "answers": len(told),
                **_soon(scores, told, HEAD_START, RUNNING_ALARM),
                "later": _soon(scores, told, 0, RUNNING_ALARM),
            }
            if name == CHEAT:
                found[name]["by_lower_alarm"] = {str(alarm): _soon(scores, told, 0, alarm) for alarm in LOWER_ALARMS}
    return found


def _soon(scores: MarginScores, told: Sequence[Sequence[int]], begin: int, alarm: int) -> dict[str, int]:
    """In how many of a million trials the alarm comes within 1,024 tokens, and the median of the tokens it takes."""
    tokens = tokens_to_alarm(scores, told, begin, alarm)
    within = sum(each <= WITHIN_TOKENS for each in tokens)
    return {"within_1024_ppm": 10**6 * within // len(tokens), "median_tokens": tokens[len(tokens) // 2]}


def differences(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    """The places where two reports of one plan differ more than by chance, in words; see also `uncompared`.

    Raises: KeyError, TypeError or ValueError if one of them is no report.
    """
    same = ("manifest", "runtime", "runs", "substitutes", "lengths")
    told = [f"{name}: {ours[name]} here, {theirs[name]} there" for name in same if ours[name] != theirs[name]]
    other = {key_of(row): row for row in theirs["rates"]}
    for row in ours["rates"]:
        there = other.get(key_of(row))
        if there is not None and same_share(row["not_passed"], row["n"], there["not_passed"], there["n"]) < UNLIKE:
            told.append(
                f"{_words(row)}: {row['not_passed']} of {row['n']} did not pass here, "
                f"{there['not_passed']} of {there['n']} there"
            )
    return told


def uncompared(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    """The parts that were measured here and not there, in words: a measurement may have been ended early."""
    other = {key_of(row) for row in theirs["rates"]}
    return [_words(row) for row in ours["rates"] if key_of(row) not in other]


def key_of(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """Of which answers a row of a report tells."""
    return tuple(row[name] for name in ("worker", "checker", "variant", "temperature_milli", "length"))


def in_words(row: Mapping[str, Any]) -> tuple[str, ...]:
    """A row of a report as a table shows it: whose answers, how many, the share that did not pass, its interval."""
    low, high = (f"{each / 10_000:.2f}" for each in row["interval_ppm"])
    who = (str(row["worker"]), str(row["checker"]), row["variant"], f"{row['temperature_milli'] / 1000:g}")
    return (*who, row["length"], str(row["n"]), share(row), f"{low} to {high} %")


def share(row: Mapping[str, Any]) -> str:
    """In how many of a hundred answers did not pass."""
    return f"{row['share_ppm'] / 10_000:.2f} %"


def describe(calibration: Calibration) -> dict[str, list[int]]:
    """As a calibration file has it."""
    bands = {term: getattr(calibration, term) for term in TERMS}
    return {term: [band.d0, band.d1] for term, band in bands.items()}


def _seen(variant: str, cut: Cut) -> list[tuple[str, Distances]]:
    seen = [(variant, cut.own)]
    return [*seen, (ADAPTIVE + variant, cut.true)] if variant in WEIGHTS else seen


def _rate(key: _AnswersOf, scored: Sequence[tuple[int, int]]) -> FailureRate:
    scores = [score for score, _ in scored]
    return FailureRate(
        *key,
        n=len(scores),
        not_passed=sum(score <= PASS_ABOVE_BPS for score in scores),
        failed=sum(score <= REVIEW_ABOVE_BPS for score in scores),
        act_mean=round(statistics.fmean(act for _, act in scored)),
    )


def _shortened(each: MeasuredAnswer) -> list[Cut]:
    whole = each.cuts[WHOLE]
    return [cut for length, cut in each.cuts.items() if length != WHOLE and cut.tokens != whole.tokens]


def _of(each: MeasuredAnswer, class_id: int) -> bool:
    return (each.worker, each.checker) == (class_id, class_id)


def _tokens(each: MeasuredAnswer) -> tuple[int, ...]:
    return each.margins[:-1]


def _words(row: Mapping[str, Any]) -> str:
    seen = "" if row["worker"] == row["checker"] else f" seen by class {row['checker']}"
    return f"class {row['worker']}{seen}, {row['variant']} at {row['temperature_milli'] / 1000}, {row['length']} tokens"
