"""The families of models that llama.cpp computes here: how it calls their tensors, and what config.json may say.

What another program assumes where config.json is silent is assumed here, too. A model that wants anything else is left
to torch, which asks no such questions.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..gguf.layout import LAYER, WHOLE
from ..job import BadInput

SILU, GELU = "silu", "gelu_pytorch_tanh"
PLAIN, LINEAR, LLAMA3 = "default", "linear", "llama3"
"""How positions are turned: as they are, all slower, or the slow turns slower still."""
ROPE_FACTORS = "rope_freqs.weight"
Fact = str | int | float


def _weights(names: Mapping[str, str]) -> dict[str, str]:
    return {f"{ours}.weight": f"{theirs}.weight" for ours, theirs in names.items()}


SPLIT = _weights(LAYER)
BIASES = {f"attn_{each}.bias": f"self_attn.{each}_proj.bias" for each in "qkv"}
HEAD_NORMS = _weights({f"attn_{each}_norm": f"self_attn.{each}_norm" for each in "qk"})
FUSED = {ours: theirs for ours, theirs in SPLIT.items() if ours.split(".")[0] not in ("attn_q", "attn_k", "attn_v")}
FUSED = {**FUSED, **_weights({"attn_qkv": "self_attn.qkv_proj", "ffn_up": "mlp.gate_up_proj"})}
del FUSED["ffn_gate.weight"]
FOUR_NORMS = {
    **SPLIT,
    **_weights(
        {
            "post_attention_norm": "post_attention_layernorm",
            "ffn_norm": "pre_feedforward_layernorm",
            "post_ffw_norm": "post_feedforward_layernorm",
        }
    ),
}


@dataclass(frozen=True, slots=True)
class ModelFamily:
    """One architecture of llama.cpp. `layer`: the tensors of a layer, by the names of GGUF.

    required: what config.json must say of a name, one of several values.
    assumed: what holds where it says nothing.
    turns_neighbours: of each head, numbers side by side are turned together, and not those of its two halves.
    norms_from_one: the weights of norms are stored less one.
    full_each: one of so many layers sees all tokens, the last of them; the others see a window. 0: all see all.
    wide_at: with so many layers, scores are scaled by the width of a model, and not by that of a head.
    """

    name: str
    layer: Mapping[str, str]
    required: Mapping[str, Sequence[Any]]
    assumed: Mapping[str, Any] = field(default_factory=dict)
    turns_neighbours: bool = False
    norms_from_one: bool = False
    full_each: int = 0
    wide_at: int = 0


LLAMA = ModelFamily(
    "llama",
    SPLIT,
    {"hidden_act": (SILU,), "attention_bias": (False,), "mlp_bias": (False,), "rope_type": (PLAIN, LINEAR, LLAMA3)},
    turns_neighbours=True,
)
GEMMA_RULES = {"attention_bias": (False,), "use_bidirectional_attention": (False, None), "rope_type": (PLAIN, LINEAR)}
GEMMA_ASSUMED = {"head_dim": 256, "tie_word_embeddings": True}
WINDOWED = {**GEMMA_ASSUMED, "hidden_activation": GELU, "sliding_window": 4096, "query_pre_attn_scalar": 256}
FAMILIES = {
    "llama": LLAMA,
    "mistral": ModelFamily(
        "llama",
        SPLIT,
        {"hidden_act": (SILU,), "rope_type": (PLAIN, LINEAR)},
        {"sliding_window": 4096, "num_key_value_heads": 8},
        turns_neighbours=True,
    ),
    "qwen2": ModelFamily(
        "qwen2",
        {**SPLIT, **BIASES},
        {"hidden_act": (SILU,), "use_sliding_window": (False,), "rope_type": (PLAIN, LINEAR)},
        {"num_key_value_heads": 32},
    ),
    "qwen3": ModelFamily(
        "qwen3",
        {**SPLIT, **HEAD_NORMS},
        {
            "hidden_act": (SILU,),
            "attention_bias": (False,),
            "use_sliding_window": (False,),
            "rope_type": (PLAIN, LINEAR),
        },
        {"num_key_value_heads": 32, "head_dim": 128},
    ),
    "phi3": ModelFamily("phi3", FUSED, {"hidden_act": (SILU,), "rope_type": (PLAIN, LINEAR)}),
    "gemma": ModelFamily(
        "gemma",
        SPLIT,
        # An early spelling of the same function.
        {**GEMMA_RULES, "hidden_activation": (GELU, None), "hidden_act": (GELU, "gelu")},
        {**GEMMA_ASSUMED, "num_key_value_heads": 16},
        norms_from_one=True,
    ),
    "gemma2": ModelFamily(
        "gemma2",
        FOUR_NORMS,
        {**GEMMA_RULES, "hidden_activation": (GELU,), "rope_type": (PLAIN,)},
        {**WINDOWED, "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0, "num_key_value_heads": 4},
        norms_from_one=True,
        full_each=2,
        wide_at=46,
    ),
    "gemma3_text": ModelFamily(
        "gemma3",
        {**FOUR_NORMS, **HEAD_NORMS},
        {**GEMMA_RULES, "hidden_activation": (GELU,), "attn_logit_softcapping": (None,)},
        {**WINDOWED, "num_key_value_heads": 4},
        norms_from_one=True,
        full_each=6,
        wide_at=62,
    ),
}
"""By the `model_type` of config.json."""
WRITES = "ForCausalLM"
"""How the names of architectures end that write text."""


@dataclass(frozen=True, slots=True)
class Heads:
    """Heads of queries, heads of keys, and the size of one."""

    queries: int
    keys: int
    size: int


@dataclass(frozen=True, slots=True)
class Described:
    """What config.json says of a model, and what holds where it says nothing."""

    family: ModelFamily
    config: Mapping[str, Any]
    heads: Heads
    rope: Mapping[str, Any]
    window_rope: Mapping[str, Any]
    """How positions are turned in layers that see a window."""

    @property
    def layers(self) -> int:
        return int(self.config["num_hidden_layers"])

    @property
    def cap(self) -> float | None:
        """What logits are bent to stay below."""
        cap = self.config.get("final_logit_softcapping")
        return None if cap is None else float(cap)

    def names(self, *, tied: bool) -> Iterator[tuple[str, str]]:
        """The tensors of the model: names of GGUF and of transformers.

        Args: tied, whether the embedding is the last matrix.
        """
        for ours, theirs in WHOLE.items():
            if not (tied and ours == "output"):
                yield f"{ours}.weight", f"{theirs}.weight"
        for layer in range(self.layers):
            for ours, theirs in self.family.layer.items():
                yield f"blk.{layer}.{ours}", f"model.layers.{layer}.{theirs}"

    def facts(self) -> Iterator[tuple[str, Fact]]:
        """What a GGUF file says of the model, but for its number of tokens."""
        config, heads, name = self.config, self.heads, self.family.name
        yield "general.architecture", name
        yield "tokenizer.ggml.model", "none"
        yield f"{name}.vocab_size", int(config["vocab_size"])
        yield f"{name}.context_length", int(config["max_position_embeddings"])
        yield f"{name}.embedding_length", int(config["hidden_size"])
        yield f"{name}.block_count", self.layers
        yield f"{name}.feed_forward_length", int(config["intermediate_size"])
        yield f"{name}.attention.head_count", heads.queries
        yield f"{name}.attention.head_count_kv", heads.keys
        yield f"{name}.attention.key_length", heads.size
        yield f"{name}.attention.value_length", heads.size
        yield f"{name}.attention.layer_norm_rms_epsilon", float(config.get("rms_norm_eps", 1e-6))
        turned = float(self.rope.get("partial_rotary_factor") or config.get("partial_rotary_factor") or 1.0)
        yield f"{name}.rope.dimension_count", int(heads.size * turned)
        yield f"{name}.rope.freq_base", float(self.rope.get("rope_theta", 10_000.0))
        if _type_of(self.rope) == LINEAR:
            yield f"{name}.rope.scaling.type", LINEAR
            yield f"{name}.rope.scaling.factor", float(self.rope["factor"])
        if self.family.full_each:
            yield f"{name}.attention.sliding_window", int(config["sliding_window"])
            yield f"{name}.rope.freq_base_swa", float(self.window_rope.get("rope_theta", 10_000.0))
        for ours, theirs in (("attn", "attn_logit_softcapping"), ("final", "final_logit_softcapping")):
            if config.get(theirs) is not None:
                yield f"{name}.{ours}_logit_softcapping", float(config[theirs])

    def rope_factors(self) -> tuple[float, ...]:
        """How much slower each pair of numbers is turned; empty where it is the same for all."""
        if _type_of(self.rope) != LLAMA3:
            return ()
        factor, low, high, old = (
            float(self.rope[name])
            for name in ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings")
        )
        base, size = float(self.rope.get("rope_theta", 10_000.0)), self.heads.size
        # How often a turn of each pair fits the context that the model was first made for.
        turns = (old * base ** (-place / size) / (2 * math.pi) for place in range(0, size, 2))
        shares = (min(1.0, max(0.0, (turn - low) / (high - low))) for turn in turns)
        return tuple(1 / ((1 - share) / factor + share) for share in shares)


def described(config: Mapping[str, Any]) -> Described:
    """Raises BadInput if llama.cpp would not compute this model, or another one than this."""
    family = FAMILIES.get(str(config.get("model_type")))
    if family is None:
        raise BadInput("bad_model", f"llama.cpp runs here no models of type {config.get('model_type')}")
    names = config.get("architectures") or [WRITES]
    if not all(str(name).endswith(WRITES) for name in names):
        raise BadInput("bad_model", f"llama.cpp runs here no {names[0]}")
    config = {**family.assumed, **config}
    rope, window_rope = _ropes(config)
    told = {**config, "rope_type": _type_of(rope)}
    for name, values in family.required.items():
        if name in told and told[name] not in values:
            wanted = " or ".join(map(str, values))
            raise BadInput("bad_model", f"llama.cpp runs here models with {name} {wanted}, and not {told[name]}")
    try:
        queries = int(config["num_attention_heads"])
        size = int(config.get("head_dim") or int(config["hidden_size"]) // queries)
        heads = Heads(queries, int(config.get("num_key_value_heads") or queries), size)
        found = Described(family, config, heads, rope, window_rope)
        _require_windows(found)
        found.rope_factors()
        for name, value in found.facts():
            if isinstance(value, int) and not 0 <= value < 1 << 32:
                raise ValueError(name)
    except (KeyError, TypeError, ValueError, ArithmeticError) as error:
        raise BadInput("bad_model", f"config.json lacks or misstates {error}") from error
    return found


def _ropes(config: Mapping[str, Any]) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """How positions are turned, in layers that see all tokens and in others. Three spellings are in use."""
    told = config.get("rope_parameters")
    if isinstance(told, Mapping) and "full_attention" in told:
        return told["full_attention"], told.get("sliding_attention") or {}
    scaling = config.get("rope_scaling")
    plain = {"rope_theta": config.get("rope_theta", 10_000.0), **(scaling if isinstance(scaling, Mapping) else {})}
    if isinstance(told, Mapping):
        plain = {**plain, **told}
    local = config.get("rope_local_base_freq")
    return plain, {"rope_theta": plain["rope_theta"] if local is None else local}


def _type_of(rope: Mapping[str, Any]) -> str:
    return str(rope.get("rope_type") or rope.get("type") or PLAIN)


def _require_windows(found: Described) -> None:
    """Which layers see a window, and how scores are scaled, is a matter of the architecture in llama.cpp."""
    family, config, heads = found.family, found.config, found.heads
    if not family.full_each:
        window, context = config.get("sliding_window"), int(config["max_position_embeddings"])
        is_seen = window is not None and config.get("use_sliding_window") is not False
        if is_seen and int(str(window)) < context:
            kind = config["model_type"]
            raise BadInput("bad_model", f"llama.cpp runs here no {kind} models that see a window of {window}")
        return
    kinds = [
        "full_attention" if layer % family.full_each == family.full_each - 1 else "sliding_attention"
        for layer in range(found.layers)
    ]
    if config.get("layer_types", kinds) != kinds or _type_of(found.window_rope) != PLAIN:
        raise BadInput("bad_model", f"llama.cpp gives {family.name} models another order of windows")
    wanted = int(config["hidden_size"]) // heads.queries if found.layers == family.wide_at else heads.size
    if config["query_pre_attn_scalar"] != wanted:
        raise BadInput("bad_model", f"llama.cpp scales the scores of this {family.name} model by {wanted}")


def is_known(config: Mapping[str, Any]) -> bool:
    """Whether llama.cpp computes the model of a config.json."""
    try:
        described(config)
    except BadInput:
        return False
    return True
