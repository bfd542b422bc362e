"""A GGUF model in torch: its weights as the float32 numbers that they stand for, for checks of what llama.cpp answers.

llama.cpp rounds what goes into a matrix of such weights to 8 bits, in blocks; torch does not. To round it here as well
brings the two no nearer: after a few layers each engine rounds other numbers (docs/decisions/gguf.md).
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from .gguf.tensors import GgufTensors
from .job import BadInput


def load(path: Path, dtype: str) -> Any:
    """The net of transformers. Raises BadInput, OSError, ValueError.

    Args: dtype, the type that the file must have.
    """
    stored = GgufTensors(path)
    if stored.dtype != dtype:
        raise BadInput("bad_model", f"the model is stored in {stored.dtype}, and not in {dtype}")
    config = LlamaConfig.from_pretrained(path, local_files_only=True)
    weights = {name: torch.from_numpy(np.require(rows, requirements="W")) for name, rows in stored.by_name()}
    return LlamaForCausalLM.from_pretrained(None, config=config, state_dict=weights, dtype=torch.float32)
