"""One calibration from plan to report: measures what is missing, and puts together what it says."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from executor import images
from executor.runs.engines import LLAMA, writers_beside_torch
from node.calibration import report
from node.calibration.answers import WHOLE, MeasuredAnswer, honest, read
from node.calibration.margins import Weighed
from node.calibration.measuring import ACT_W, DISTANCES, MeasuringBench
from node.calibration.plan import HONEST, Extent, Part, confirmation, founding, plan
from node.calibration.statistics import interval
from protocol.errors import ExecutorError
from protocol.stages.execution import is_gguf_class
from protocol.stages.verification import Calibration, points

PROMISED_REJECT = 0.002
"""So many honest answers of one may not pass at once: more seats look at those."""
CONFIRM_RUNS = 96
"""So many honest answers of a runner that has changed must all pass by constants that stay."""


@dataclass(frozen=True)
class Campaign:
    """A measurement: `answers` of all parts, and the whitening weights behind them."""

    manifest: bytes
    classes: tuple[int, ...]
    extent: Extent
    act_w: bytes
    answers: tuple[MeasuredAnswer, ...]

    def report(self, deployed: Mapping[int, Calibration]) -> dict[str, Any]:
        """Everything, as JSON has it; `deployed` are the constants that a release carries for this model."""
        proposed = {class_id: report.proposed(self.answers, class_id) for class_id in self.classes}
        # Answers that constants were made from pass by them, and say nothing.
        judged = [
            each for each in self.answers if each.variant != HONEST or each.is_held_out or each.worker != each.checker
        ]
        return {
            "v": 1,
            "manifest": self.manifest.hex(),
            "runtime": images.runtime(),
            "runs": self.extent.runs,
            "substitutes": self.extent.substitutes,
            "lengths": list(self.extent.lengths),
            "act_w": self.act_w.hex(),
            "classes": {
                str(class_id): self._class(class_id, proposed[class_id], deployed) for class_id in self.classes
            },
            "rates": [rate.plain() for rate in report.rates(judged, proposed)],
            "deployed_rates": [rate.plain() for rate in report.rates(self.answers, deployed)],
        }

    def _class(self, class_id: int, proposed: Calibration, deployed: Mapping[int, Calibration]) -> dict[str, Any]:
        weighed = _weighed(self.answers, class_id)
        n = sum(not each.is_held_out for each in honest(self.answers, class_id, class_id))
        kept, not_passed = report.held_out(self.answers, class_id, proposed)
        found: dict[str, Any] = {
            "proposed": _entry(proposed, n, weighed),
            "held_out": {"n": kept, "not_passed": not_passed},
        }
        if class_id in deployed:
            found["deployed"] = report.describe(deployed[class_id])
        scores = deployed[class_id].margins if class_id in deployed else None
        if scores is not None:
            # They were made from other answers, and so these judge them.
            found["honest_ratios"] = report.ratios(self.answers, class_id, scores)
        elif weighed is not None:
            scores = weighed.scores
            found["honest_ratios"] = {name: list(mean) for name, mean in weighed.honest.items()}
        if scores is not None:
            found["alarms"] = report.alarms(self.answers, class_id, scores)
        return found


def released(
    bench: MeasuringBench, class_id: int, extent: Extent, act_w: bytes | None, tell: Callable[[str], None]
) -> tuple[dict[str, Any], bytes]:
    """A class's entry in the calibration file of a release, and the whitening weights behind it.

    Args: bench, with the seed of answers that nothing else is measured by; act_w as for `measure`.
    Raises: ExecutorError if a container fails or leaves what cannot be read.
    """
    answers, act_w = _answers(bench, founding(class_id, extent), act_w, tell)
    n = sum(1 for _ in honest(answers, class_id, class_id))
    return _entry(report.founded(answers, class_id), n, _weighed(answers, class_id)), act_w


def measure(
    bench: MeasuringBench,
    classes: Sequence[int],
    extent: Extent,
    tell: Callable[[str], None],
    act_w: bytes | None = None,
) -> Campaign:
    """Measure what is missing in the work folder of `bench`, and read all of it.

    Args: act_w, whitening weights; None: made from the first part. tell: hears what is being done.
    Raises: ExecutorError if a container fails or leaves what cannot be read.
    """
    answers, act_w = _answers(bench, plan(classes, extent), act_w, tell)
    return Campaign(bench.manifest, tuple(sorted(classes)), extent, act_w, tuple(answers))


def confirm(
    bench: MeasuringBench, class_id: int, calibration: Calibration, act_w: bytes, tell: Callable[[str], None]
) -> tuple[int, int]:
    """How many honest answers of the runner as it is now were judged by constants that are there, and the least score.

    Raises: ExecutorError if a container fails.
    """
    parts = confirmation(class_id, CONFIRM_RUNS, ("", *writers_beside_torch(class_id)))
    answers = [each for part in parts for each in read_part(part, bench.measure(part, act_w, tell))]
    cuts = [each.cuts[WHOLE] for each in answers]
    return len(cuts), min(points(cut.own, cut.tokens, calibration) for cut in cuts)


def read_part(part: Part, folder: Path) -> list[MeasuredAnswer]:
    """Raises: ExecutorError if the container has left something else."""
    try:
        return read(part, (folder / DISTANCES).read_text())
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ExecutorError(f"{part.name}: {DISTANCES} cannot be read: {error!r:.200}") from error


def is_confirmed(found: Mapping[str, Any]) -> bool:
    """Whether no class of a report has more held-out honest answers that do not pass than the promise can explain."""
    held_out = (each["held_out"] for each in found["classes"].values())
    return all(interval(each["not_passed"], each["n"])[0] <= PROMISED_REJECT for each in held_out)


def _answers(
    bench: MeasuringBench, parts: Sequence[Part], act_w: bytes | None, tell: Callable[[str], None]
) -> tuple[list[MeasuredAnswer], bytes]:
    """Measures what is missing, and reads all of it; with the whitening weights, if need be those of the first part."""
    answers: list[MeasuredAnswer] = []
    parts = [_by_its_engine(part) for part in parts]
    for done, part in enumerate(parts, 1):
        tell(f"part {done} of {len(parts)}: {part.answers} answers")
        folder = bench.measure(part, act_w, tell)
        act_w = act_w or (folder / ACT_W).read_bytes()
        answers += read_part(part, folder)
    assert act_w is not None
    return answers, act_w


def _by_its_engine(part: Part) -> Part:
    """The engine that answers gives the honest answers to GGUF files: the two differ by more than passes of one do."""
    return replace(part, writer=LLAMA) if is_gguf_class(part.worker) else part


def _entry(calibration: Calibration, n: int, weighed: Weighed | None) -> dict[str, Any]:
    entry = {**report.describe(calibration), "n": n, "runtime": images.runtime()}
    if weighed is None:
        return entry
    return {**entry, "margins": {"edges": list(weighed.scores.edges), "scores": list(weighed.scores.scores)}}


def _weighed(answers: Sequence[MeasuredAnswer], class_id: int) -> Weighed | None:
    """Margin scores; None where the cheat chooses as an honest node does."""
    try:
        return report.weigh(answers, class_id)
    except ValueError:
        return None
