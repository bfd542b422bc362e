"""Runs in the runner image: the shortest and the longest that a node can be asked, answered and checked.

It reads /input/order.json and leaves NAME.proof and NAME.check for each edge, and found.json with the answers.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from runner.fingerprint import encode_check, encode_proof, projection, whiten
from runner.generate import read_act_w
from runner.gumbel import Chooser
from runner.job import BadInput
from runner.model import Model, load

OUTPUT = Path("/output")
# 2 GiB do where the processor has AVX-512; with AVX2 alone the loaded model takes 30 MiB more.
ENOUGH = 2_112 * 2**20
LITTLE = 512 << 20


def longest(model: Model) -> str:
    """A message that leaves room for an answer of one token, and not for one more."""
    words = model.prompts.context
    while True:
        text = "so " * words
        try:
            left = model.prompts.context - 1 - len(model.prompts.prompt_ids([{"role": "user", "content": text}], 1))
        except BadInput as error:
            words -= error.facts["tokens"] - error.facts["limit"]
            continue
        if left == 0:
            return text
        words += left


def work(model: Model, job_id: bytes, text: str, length: int) -> tuple[dict[str, Any], bytes, bytes]:
    """One answer and its check, as a node and its seat make them."""
    chooser, r, act_w = Chooser(0, b""), projection(job_id, model.hidden), read_act_w(model.hidden)
    prompt = model.prompts.prompt_ids([{"role": "user", "content": text}], length)
    (answer,) = model.answers([prompt], length, [chooser])
    again, margins = model.replay(prompt, answer.ids, answer.stopped, chooser)
    found = {"prompt_tokens": len(prompt), "ids": answer.ids, "stopped": answer.stopped, "job_id": job_id.hex()}
    return found, encode_proof(whiten(answer.states, act_w), r), encode_check(whiten(again, act_w), r, margins)


def refused(ask: Callable[[], object]) -> dict[str, object]:
    try:
        ask()
    except BadInput as error:
        return {"code": error.code, "text": str(error), **error.facts}
    return {}


def main() -> None:
    order = json.loads(Path("/input/order.json").read_bytes())
    model = load(Path(os.environ["MODEL_PATH"]), order["dtype"])
    full = longest(model)
    # The whole context takes a minute to read here; this much is read in more than one piece as well.
    long = "Count the words: " + full[: len(full) // 6]
    edges = {"nothing asked": ("", 16), "one token": ("Say yes.", 1), "other token": ("Say no.", 1), "long": (long, 4)}
    found: dict[str, Any] = {"context": model.prompts.context}
    for number, (name, (text, length)) in enumerate(edges.items()):
        found[name], proof, check = work(model, bytes([number]) * 32, text, length)
        (OUTPUT / f"{name}.proof").write_bytes(proof)
        (OUTPUT / f"{name}.check").write_bytes(check)
    found["full"] = len(model.prompts.prompt_ids([{"role": "user", "content": full}], 1))
    found["over"] = refused(lambda: model.prompts.prompt_ids([{"role": "user", "content": full}], 2))
    found["memory"] = [
        refused(lambda given=given: model.require_memory(model.prompts.context, given)) for given in (ENOUGH, LITTLE)
    ]
    (OUTPUT / "found.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
