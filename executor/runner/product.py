"""Products with a matrix in half precision, on processors that multiply float32 faster.

Only those with a matrix unit are quicker in bfloat16; the instructions of others for it are slower than those for
float32. There, the matrix is widened piece by piece, in the core's cache, and what comes out is rounded once, as it is
everywhere. For a few rows it stays as it is: to read it takes longer than to multiply it.
"""

from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import linear

from .device import CPU

CPUINFO = Path("/proc/cpuinfo")
UNIT = "amx_bf16"
"""What a processor says of itself that has a matrix unit for bfloat16."""
FEW = 64
"""From so many rows on float32 is faster than avx512_bf16: measured on one core, for matrices of 576 to 2,048."""
PIECE = 1 << 20
"""Numbers of a matrix that are wide at once: four MiB."""


def product(rows: torch.Tensor, matrix: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """`rows` [..., n] times `matrix` [m, n], in the format of both: [..., m], added up in float32."""
    if rows.device.type != CPU or rows.dtype != torch.bfloat16 or rows.shape[:-1].numel() < FEW or UNIT in flags():
        return linear(rows, matrix, bias)
    wide, found = rows.float(), rows.new_empty((*rows.shape[:-1], matrix.shape[0]))
    step = max(1, PIECE // matrix.shape[1])
    for start in range(0, matrix.shape[0], step):
        piece = slice(start, start + step)
        found[..., piece] = linear(wide, matrix[piece].float(), None if bias is None else bias[piece].float())
    return found


def multiply_widely(net: Any) -> None:
    """Let a loaded model of transformers multiply so, in all its layers."""
    for module in net.modules():
        if type(module) is torch.nn.Linear:
            module.forward = _forward(module)


def _forward(module: Any) -> Any:
    # Looked up anew each time: whoever quantises a model puts other weights in its place.
    return lambda rows: product(rows, module.weight, module.bias)


@cache
def flags() -> frozenset[str]:
    """What this processor can do, in the words of the kernel."""
    lines = (line.partition(":") for line in CPUINFO.read_text().splitlines())
    return frozenset(next((words.split() for name, _, words in lines if name.strip() == "flags"), ()))
