"""How many containers a node's runs take, and how long their steps are."""

import pytest

from protocol.stages.execution import RunSpec, containers, side_by_side_ms
from protocol.stages.request import CLASSIFY, EMBED, GENERATE


def run(model: int = 1, class_id: int = 2, kind: int = GENERATE) -> RunSpec:
    return RunSpec(bytes(32), bytes([model]) * 32, class_id, 16, 0, bytes(32), 1, 1, kind)


@pytest.mark.parametrize(
    ("runs", "at_once", "needed"),
    [
        ([], 8, 0),
        ([run()] * 8, 8, 1),
        ([run()] * 9, 8, 2),
        ([run()] * 3, 1, 3),
        ([run(1), run(2), run(1)], 8, 2),
        ([run(class_id=1), run(class_id=2)], 8, 2),
        ([run(kind=EMBED)] * 2 + [run(kind=CLASSIFY)], 8, 3),
        ([run(), run(kind=EMBED), run()], 8, 2),
    ],
)
def test_runs_of_one_model_and_class_share(runs: list[RunSpec], at_once: int, needed: int) -> None:
    assert containers(runs, at_once) == needed


def test_a_step_for_many_is_longer_and_far_shorter_than_so_many_steps() -> None:
    assert [side_by_side_ms(100, answers) for answers in (1, 2, 11)] == [100, 110, 200]
