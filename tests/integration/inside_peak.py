"""Runs in the runner image: answers side by side, as an engine that serves writes them, and the memory at the peak.

It reads /input/asked.json: engine, dtype, streams, and the tokens of each prompt and answer. The model lies at
MODEL_PATH. Asked for a `shape` instead, a config.json, it leaves a model with random weights. It leaves
/output/found.json: `process_bytes`, what the process held at its busiest moment; `group_bytes`, what the kernel counted
to the container, which leaves out pages of files that another container had read before.
"""

import json
import os
from pathlib import Path
from typing import Any

INPUT, OUTPUT = Path("/input"), Path("/output")
PEAKS = ("/sys/fs/cgroup/memory.peak", "/sys/fs/cgroup/memory/memory.max_usage_in_bytes")
PIECE = 1_024


def make(plain: dict[str, Any]) -> None:
    """Write a model with random weights to /output."""
    import torch
    from tiny_model import tokenizer
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(1)
    net = AutoModelForCausalLM.from_config(AutoConfig.for_model(**plain), dtype=torch.bfloat16)
    net.save_pretrained(OUTPUT, safe_serialization=True)
    tokenizer().save_pretrained(OUTPUT)
    config = net.config
    facts = {"eos_ids": [0], "hidden": config.hidden_size, "vocab": config.vocab_size}
    (OUTPUT / "manifest.json").write_text(json.dumps({**facts, "context": config.max_position_embeddings}))


def held_bytes() -> int:
    """The most that this process has held."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines["VmHWM"].split()[0]) * 1024


def group_bytes() -> int:
    """The most that the kernel has counted to this container."""
    return int(next(Path(each).read_text() for each in PEAKS if Path(each).is_file()))


def serve(asked: dict[str, Any], folder: Path) -> dict[str, int]:
    """Write the answers: all prompts are read before the first token, which takes most."""
    # As the runner does for an engine that serves.
    from runner import serve, works  # noqa: F401
    from runner.grammar import grammar_tokenizer
    from runner.gumbel import Chooser

    tokens = asked["prompt"] + asked["answer"]
    if asked["engine"] == "torch":
        from runner import model as engine
    else:
        from runner.llama import engine
    model = engine.load(folder, asked["dtype"])
    grammar_tokenizer(model)
    # No answer ends before its time.
    model.eos_ids = ()
    batch = model.batch(asked["streams"] * tokens)
    for number in range(asked["streams"]):
        prompt = [(place * 7 + number) % 200 for place in range(asked["prompt"])]
        batch.join(number, prompt, asked["answer"], Chooser(0, bytes(32)))
    while batch.is_reading:
        batch.read(PIECE)
    while batch.is_writing:
        batch.choose()
        batch.advance()
    return {"process_bytes": held_bytes(), "group_bytes": group_bytes()}


def main() -> None:
    asked = json.loads((INPUT / "asked.json").read_bytes())
    if "shape" in asked:
        make(asked["shape"])
    else:
        (OUTPUT / "found.json").write_text(json.dumps(serve(asked, Path(os.environ["MODEL_PATH"]))))


if __name__ == "__main__":
    main()
