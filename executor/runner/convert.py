"""Kind `convert`: a GGUF file in, a directory of plain bfloat16 safetensors with tokenizer and configuration out.

The same GGUF file gives the same bytes in the same image. Quantised levels are kept as the numbers they stand for.
"""

import time
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from .events import emit
from .job import INPUT, OUTPUT, BadInput, Job

GGUF = "model.gguf"
KEPT = {
    "chat_template.jinja",
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
}


def run(_job: Job) -> dict[str, object]:
    """Writes /output/model/. Raises BadInput if the file is no model that transformers can read."""
    started = time.monotonic()
    target = OUTPUT / "model"
    try:
        tokenizer = AutoTokenizer.from_pretrained(INPUT, gguf_file=GGUF, local_files_only=True)
        emit("progress", step=1, total=3)
        net = AutoModelForCausalLM.from_pretrained(INPUT, gguf_file=GGUF, dtype=torch.float32, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise BadInput("bad_model", f"the GGUF file cannot be read: {error}") from error
    emit("progress", step=2, total=3)
    _forget_quantisation(net)
    net.to(torch.bfloat16).save_pretrained(target, safe_serialization=True, max_shard_size="1TB")
    tokenizer.save_pretrained(target)
    for file in target.iterdir():
        # Saving the tokenizer of a GGUF file copies the whole file along under another name.
        if file.name not in KEPT:
            file.unlink()
        else:
            # The weights are created readable by their owner alone, and the worker who loads them is somebody else.
            file.chmod(0o644)
    target.chmod(0o755)
    emit("progress", step=3, total=3)
    return {"run_ms": round((time.monotonic() - started) * 1000)}


def _forget_quantisation(net: Any) -> None:
    """Transformers refuses to save what it read from GGUF, though the weights are plain floats by now."""
    if hasattr(net.config, "quantization_config"):
        del net.config.quantization_config
    net.hf_quantizer = None
    net.is_quantized = False
