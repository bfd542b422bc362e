"""On which device the runner computes."""

from __future__ import annotations

from executor.runner.device import CPU, CUDA, device_of
from protocol.stages.execution import CLASS_DTYPES


def test_the_classes_of_processors_are_computed_there_and_others_on_a_card() -> None:
    assert {device_of(device_class) for device_class in CLASS_DTYPES} == {CPU}
    assert device_of(4) == CUDA
