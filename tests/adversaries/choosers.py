"""Runs in the runner image: nodes that do not choose tokens as their order says, and the seat that judges them.

Without /input/texts.json it is the nodes: each answers the question of /input/order.json in its own way, with an honest
fingerprint of what it then says; texts.json and NAME.proof are left. With it, it is the seat, and leaves NAME.check.
"""

import json
import os
from pathlib import Path
from typing import Any

from runner.fingerprint import Floats, encode_check, encode_proof, projection, whiten
from runner.forgeries import Endless, Forced
from runner.generate import read_act_w
from runner.gumbel import Chooser
from runner.model import Model, load

TEXTS, OUTPUT = Path("/input/texts.json"), Path("/output")
WANTED = 1_000


def nodes(temperature: int, seed: bytes, length: int, model: Model) -> dict[str, Chooser]:
    """How each chooses, by its name."""
    return {
        "honest": Chooser(temperature, seed),
        "other seed": Chooser(temperature, seed[::-1]),
        "colder": Chooser(300, seed),
        "greedy": Chooser(0, seed),
        "stops early": Forced(temperature, seed, length // 8, model.eos_ids[0]),
        "one token": Forced(temperature, seed, length // 2, WANTED),
        "last token": Forced(temperature, seed, length - 1, WANTED),
        "endless": Endless(temperature, seed, model.eos_ids),
    }


def work(model: Model, order: dict[str, Any], r: Floats) -> None:
    texts = {}
    seed, temperature = bytes.fromhex(order["seed"]), order["temperature_milli"]
    for name, chooser in nodes(temperature, seed, order["length"], model).items():
        # To go on after the end there has to be one.
        question, length = order["short" if name == "endless" else "long"], order["length"]
        prompt = model.prompts.prompt_ids([{"role": "user", "content": question}], length)
        (answer,) = model.answers([prompt], length, [chooser])
        texts[name] = {"prompt": prompt, "ids": answer.ids, "stopped": answer.stopped}
        (OUTPUT / f"{name}.proof").write_bytes(encode_proof(whiten(answer.states, read_act_w(model.hidden)), r))
    (OUTPUT / TEXTS.name).write_text(json.dumps(texts))


def judge(model: Model, order: dict[str, Any], r: Floats) -> None:
    chooser = Chooser(order["temperature_milli"], bytes.fromhex(order["seed"]))
    for name, text in json.loads(TEXTS.read_bytes()).items():
        states, margins = model.replay(text["prompt"], text["ids"], text["stopped"], chooser)
        (OUTPUT / f"{name}.check").write_bytes(encode_check(whiten(states, read_act_w(model.hidden)), r, margins))


def main() -> None:
    order = json.loads(Path("/input/order.json").read_bytes())
    model = load(Path(os.environ["MODEL_PATH"]), order["dtype"])
    act = judge if TEXTS.exists() else work
    act(model, order, projection(bytes.fromhex(order["job_id"]), model.hidden))


if __name__ == "__main__":
    main()
