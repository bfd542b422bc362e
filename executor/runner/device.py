"""Where a model is computed: on the processor, or on the card that this container is given."""

import os
from collections.abc import Mapping

CPU, CUDA = "cpu", "cuda"
NO_CARD = ("", "void")


def device_of(environment: Mapping[str, str] = os.environ) -> str:
    """The device of this container: the node names its cards in the environment."""
    return CPU if environment.get("NVIDIA_VISIBLE_DEVICES", "") in NO_CARD else CUDA
