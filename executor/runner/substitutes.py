"""Models that are not what they say: cheaper weights, or a cheaper memory, in place of those that were paid for.

What a model's constants must tell from it. Each changes a loaded model in place; numbers are rounded as a cheap file
or a cheap kernel would round them, and computed on in the number format of the class.
"""

from collections.abc import Callable
from typing import Any

import torch
from transformers import DynamicCache

from .job import BadInput
from .model import Model

BLOCK = 32
NOISE = 0.01
ADAPTER_RANK, ADAPTER_SHARE = 8, 0.05
SEED = 5


def rounded(weight: Any, bits: int, block: int) -> Any:
    """The weight as symmetric levels of so many bits give it back, each block scaled by the largest of its numbers."""
    top = 2 ** (bits - 1) - 1
    blocks = weight.float().reshape(-1, block)
    scale = blocks.abs().amax(dim=1, keepdim=True) / top
    scale[scale == 0] = 1
    return ((blocks / scale).round().clamp(-top, top) * scale).reshape(weight.shape).to(weight.dtype)


def int8_channel(model: Model) -> None:
    """8 bits, one scale for every output: the usual quantiser of GPU kernels."""
    for _, layer in model.layers():
        layer.weight.data = rounded(layer.weight.data, 8, layer.weight.shape[1])


def int8_block(model: Model) -> None:
    """8 bits in blocks of 32, as Q8_0 files have them: the most faithful of all substitutes."""
    for _, layer in model.layers():
        layer.weight.data = rounded(layer.weight.data, 8, BLOCK)


def int4_block(model: Model) -> None:
    """4 bits in blocks of 32."""
    for _, layer in model.layers():
        layer.weight.data = rounded(layer.weight.data, 4, BLOCK)


def noise(model: Model) -> None:
    """Another checkpoint, hardly: every weight off by a hundredth of what weights of its matrix vary by."""
    chance = torch.Generator().manual_seed(SEED)
    for _, layer in model.layers():
        weight = layer.weight.data.float()
        off = torch.randn(weight.shape, generator=chance) * weight.std() * NOISE
        layer.weight.data = (weight + off.to(weight.device)).to(layer.weight.dtype)


def merged_adapter(model: Model) -> None:
    """A fine-tuned one: a change of rank 8 to queries and values, a twentieth of their norm."""
    chance = torch.Generator().manual_seed(SEED)
    for name, layer in model.layers():
        if name.endswith(("q_proj", "v_proj")):
            weight = layer.weight.data.float()
            outputs, inputs = weight.shape
            left = torch.randn(outputs, ADAPTER_RANK, generator=chance)
            change = left @ torch.randn(ADAPTER_RANK, inputs, generator=chance)
            change *= ADAPTER_SHARE * weight.norm() / change.norm()
            layer.weight.data = (weight + change.to(weight.device)).to(layer.weight.dtype)


def dropped_layer(model: Model) -> None:
    """Without the layer in the middle: nothing comes out of its two halves, so the next one goes on with what was."""
    ends = [layer for name, layer in model.layers() if name.endswith(("o_proj", "down_proj"))]
    if not ends:
        raise BadInput("bad_model", "the layers of this model have other names than o_proj and down_proj")
    middle = len(ends) // 4 * 2
    for layer in ends[middle : middle + 2]:
        layer.weight.data = torch.zeros_like(layer.weight.data)


class RoundedCache(DynamicCache):  # type: ignore[misc]
    """Keys and values in 8 bits, with a scale for each head and token."""

    def update(self, key_states: Any, value_states: Any, *more: Any, **named: Any) -> tuple[Any, Any]:
        width = key_states.shape[-1]
        kept = (rounded(each.contiguous(), 8, width) for each in (key_states, value_states))
        key_states, value_states = kept
        found: tuple[Any, Any] = super().update(key_states, value_states, *more, **named)
        return found


WEIGHTS: dict[str, Callable[[Model], None]] = {
    "int8_channel": int8_channel,
    "int8_block": int8_block,
    "int4_block": int4_block,
    "noise": noise,
    "merged_adapter": merged_adapter,
    "dropped_layer": dropped_layer,
}
