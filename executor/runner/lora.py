"""A LoRA adapter beside the weights of its base, as PEFT writes it: what it may say, and which tensors it changes.

Read by the node when an adapter is added, and by the runner when a model is loaded; so it needs no library. A model
with an adapter is a model of its own, whose weights are those of its base with the products of the adapter added.
"""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

CONFIG, WEIGHTS = "adapter.json", "adapter.safetensors"
"""The files of an adapter in a model's folder. Under PEFT's own names transformers would load them itself."""
PEFT_CONFIG, PEFT_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PREFIX = "base_model.model."
DOWN, UP = ".lora_A.weight", ".lora_B.weight"
MAX_RANK = 1_024
OFF = (
    "alora_invocation_tokens",
    "alpha_pattern",
    "fan_in_fan_out",
    "layer_replication",
    "lora_bias",
    "modules_to_save",
    "rank_pattern",
    "target_parameters",
    "trainable_token_indices",
    "use_dora",
    "use_qalora",
)
"""What an adapter may do otherwise, all of which changes its arithmetic: none of it is known here."""
ENDS = ("embed_tokens.weight", "lm_head.weight")


class BadAdapter(Exception):
    """An adapter that cannot be added, in one sentence."""


@dataclass(frozen=True, slots=True)
class Pair:
    """The names of the two matrices whose product is added to one of the base."""

    down: str
    up: str


def scale_of(data: bytes) -> float:
    """By what the products are multiplied, from the configuration that PEFT writes. Raises BadAdapter."""
    try:
        config = json.loads(data)
        if not isinstance(config, dict) or config.get("peft_type") != "LORA":
            raise BadAdapter("the adapter is no LoRA adapter of PEFT (peft_type LORA)")
        if config.get("bias", "none") != "none":
            raise BadAdapter("the adapter trains biases: train it with bias none")
        if found := next((name for name in OFF if config.get(name)), None):
            raise BadAdapter(f"the adapter has {found}, which is not known here: train it without")
        rank, alpha = config["r"], float(config["lora_alpha"])
        if not isinstance(rank, int) or not 1 <= rank <= MAX_RANK or not math.isfinite(alpha):
            raise BadAdapter(f"the rank of an adapter is 1 to {MAX_RANK}, and its alpha a number")
        return alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)
    except (ValueError, KeyError, TypeError) as error:
        raise BadAdapter(f"the configuration of the adapter lacks or misstates {error}") from error


def pairs_of(names: Iterable[str]) -> dict[str, Pair]:
    """The tensors of the base that an adapter changes, by the names of the adapter's own. Raises BadAdapter."""
    there, found = set(names), {}
    for name in sorted(there):
        module = name.removeprefix(PREFIX).removesuffix(DOWN).removesuffix(UP)
        pair, target = Pair(f"{PREFIX}{module}{DOWN}", f"{PREFIX}{module}{UP}"), f"{module}.weight"
        if name not in (pair.down, pair.up) or not {pair.down, pair.up} <= there:
            raise BadAdapter(f"the adapter has the tensor {name[:200]!a}, which is no half of a pair lora_A and lora_B")
        if target.endswith(ENDS):
            raise BadAdapter(f"the adapter changes {target}: only the matrices of layers may be changed")
        found[target] = pair
    if not found:
        raise BadAdapter("the adapter changes nothing")
    return found


def require_fit(pairs: Mapping[str, Pair], adapter: Mapping[str, Any], base: Mapping[str, Any]) -> None:
    """Raises BadAdapter unless each pair fits its matrix. Args: adapter, base, the shapes of their tensors by name."""
    for target, pair in pairs.items():
        down, up, wanted = tuple(adapter[pair.down]), tuple(adapter[pair.up]), tuple(base.get(target, ()))
        if len(down) != 2 or len(up) != 2 or down[0] != up[1] or (up[0], down[1]) != wanted:
            shape = f"is of shape {list(wanted)}" if wanted else "is not there"
            raise BadAdapter(
                f"the adapter is made for another base: it changes {target} by {list(up)} x {list(down)}, which {shape}"
            )
