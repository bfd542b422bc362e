"""Where a model is computed: on the processor, or on a card."""

CPU, CUDA = "cpu", "cuda"
PROCESSOR_CLASSES = (1, 2, 3)


def device_of(device_class: int) -> str:
    """The device of a class: its noise was measured there. A card that the container has beside it stays unused."""
    return CPU if device_class in PROCESSOR_CLASSES else CUDA
