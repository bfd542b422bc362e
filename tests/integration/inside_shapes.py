"""Runs in the runner image: counts the weights of models that torch makes without any memory for them.

It reads /input/configs.json, a config.json by name, and leaves /output/found.json.
"""

import json
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM


def counted(plain: dict[str, Any]) -> dict[str, int]:
    """Weights of one model, and layers that it says see a window only."""
    config = AutoConfig.for_model(**plain)
    with torch.device("meta"):
        net = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    assert all(each.is_meta for each in net.parameters())
    windows = sum(each == "sliding_attention" for each in getattr(config, "layer_types", None) or ())
    # A tied matrix is one tensor under two names, which `parameters` tells once.
    numbers = sum(each.numel() for each in net.parameters())
    return {"parameters": numbers, "bytes": sum(each.nbytes for each in net.parameters()), "windows": windows}


def main() -> None:
    configs = json.loads(Path("/input/configs.json").read_bytes())
    found = {name: counted(plain) for name, plain in configs.items()}
    Path("/output/found.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
