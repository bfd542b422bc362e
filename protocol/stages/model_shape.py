"""The shape of a model, read from its config.json: how many weights it has, and what it keeps of each token.

Counted as transformers makes the modules of each architecture; tests/integration/test_model_shapes.py loads each one on
torch's meta device, where a tensor has a shape and no bytes. Numbers that a stranger has written are bounded.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from protocol.errors import Malformed
from protocol.stages.blob import RUNTIME_BYTES, ModelManifest
from protocol.stages.memory import BLOCK_OF, BYTES_OF, GGUF_SUFFIX, WEIGHTS_SUFFIX, WIDEST

MAX_WIDTH, MAX_LAYERS, MAX_VOCAB, MAX_CONTEXT = 1 << 20, 1 << 12, 1 << 24, 1 << 30
DTYPES = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32", "q8_0": "q8_0"}
"""Number formats in the words of config.json, and in ours."""
ELSEWHERE = "give the folder with its model.safetensors.index.json or its weights"


@dataclass(frozen=True, slots=True)
class Architecture:
    """What the models of one architecture have in common.

    norms: vectors of the width of a state in each layer. has_qk_norms: one more for queries and one for keys, each of
    the size of a head. is_gated: the inner layer has a third matrix. has_query_bias, has_output_bias: of attention.
    is_biased: every other matrix and norm has a bias, too. window_every: of so many layers all but the last one see a
    window only, 1: every layer does, 0: none does unless config.json lists it. is_tied: the default.
    """

    norms: int = 2
    has_qk_norms: bool = False
    is_gated: bool = True
    has_query_bias: bool = False
    has_output_bias: bool = False
    is_biased: bool = False
    window_every: int = 0
    is_tied: bool = False


ARCHITECTURES = {
    "llama": Architecture(),
    "mistral": Architecture(window_every=1),
    "qwen2": Architecture(has_query_bias=True),
    "qwen3": Architecture(has_qk_norms=True),
    "gemma": Architecture(is_tied=True),
    "gemma2": Architecture(norms=4, window_every=2, is_tied=True),
    "gemma3_text": Architecture(norms=4, has_qk_norms=True, window_every=6, is_tied=True),
    "phi": Architecture(norms=1, is_gated=False, has_query_bias=True, has_output_bias=True, is_biased=True),
    "phi3": Architecture(window_every=1),
}
"""By `model_type` of config.json."""


@dataclass(frozen=True, slots=True)
class ModelShape:
    """What the need of memory follows from. `kept_numbers`: keys and values of one token in one layer.

    windows: for each layer the tokens that it sees, 0 for all of them. stored_bytes: of the weights in their files.
    pair_numbers: of queries, keys and values of one token in one layer, where each head has keys of its own.
    is_llama: whether llama.cpp runs it here, as far as is known; who knows the engines says so.
    """

    dtype: str
    parameters: int
    stored_bytes: int
    hidden: int
    inner: int
    vocab: int
    context: int
    kept_numbers: int
    pair_numbers: int
    windows: tuple[int, ...]
    is_llama: bool

    def kept(self, tokens: int, *, is_cut: bool) -> int:
        """Numbers that are kept of a text of so many tokens. Args: is_cut, whether the engine drops what lies behind
        the window of a layer."""
        return self.kept_numbers * sum(min(tokens, window) if window and is_cut else tokens for window in self.windows)


def shape_of_config(config: Mapping[str, Any], stored_bytes: int = 0, dtype: str = "") -> ModelShape:
    """Read config.json. Raises: Malformed with the field that is missing or out of range.

    Args: stored_bytes, of the weights in their files, 0 if not known; a model of another architecture than those of
    `ARCHITECTURES` is counted by them alone. dtype, of the weights in their files; nothing: as config.json says.
    """
    architecture = ARCHITECTURES.get(str(config.get("model_type")))
    if architecture is None and not stored_bytes:
        known = ", ".join(sorted(ARCHITECTURES))
        named = str(config.get("model_type"))[:40]
        raise Malformed(f"config.json names the architecture {named!a}, and {known} can be counted: {ELSEWHERE}")
    dtype = dtype or _dtype(config)
    hidden, layers = _number(config, "hidden_size", MAX_WIDTH), _number(config, "num_hidden_layers", MAX_LAYERS)
    heads = _number(config, "num_attention_heads", MAX_WIDTH)
    shared = _number(config, "num_key_value_heads", heads, heads)
    size = _number(config, "head_dim", MAX_WIDTH, hidden // heads)
    parameters = _stored(stored_bytes, dtype) if architecture is None else _parameters(config, architecture)
    numbers, block_bytes = _block(dtype)
    return ModelShape(
        dtype=dtype,
        parameters=parameters,
        stored_bytes=stored_bytes or parameters * block_bytes // numbers,
        hidden=hidden,
        inner=_number(config, "intermediate_size", 4 * MAX_WIDTH, 4 * hidden),
        vocab=_number(config, "vocab_size", MAX_VOCAB),
        context=_number(config, "max_position_embeddings", MAX_CONTEXT),
        kept_numbers=2 * shared * size,
        pair_numbers=2 * (heads + shared) * size,
        windows=_windows(config, architecture or Architecture(), layers),
        is_llama=False,
    )


def shape_of_manifest(manifest: ModelManifest) -> ModelShape:
    """What a manifest tells of the shape of a model that only peers hold. Raises: Malformed.

    Keys and values are what its need leaves beside runtime and weights. A window is not told: all layers count as
    ones that see every token. The inner layer counts as four times the state.
    """
    if manifest.dtype not in (*BYTES_OF, *BLOCK_OF) or not manifest.layers or not manifest.context:
        raise Malformed(f"the manifest of {manifest.name[:64]!a} states no number format, layers or context")
    suffix = GGUF_SUFFIX if manifest.dtype in BLOCK_OF else WEIGHTS_SUFFIX
    stored_bytes = sum(file.size for file in manifest.files if file.path.endswith(suffix))
    parameters = _stored(stored_bytes, manifest.dtype)
    all_kept = max(0, manifest.needs_bytes - RUNTIME_BYTES - WIDEST * parameters) // WIDEST
    kept_numbers = -(-all_kept // (manifest.context * manifest.layers))
    return ModelShape(
        dtype=manifest.dtype,
        parameters=parameters,
        stored_bytes=stored_bytes,
        hidden=manifest.hidden,
        inner=4 * manifest.hidden,
        vocab=manifest.vocab,
        context=manifest.context,
        kept_numbers=kept_numbers,
        pair_numbers=2 * manifest.hidden + kept_numbers,
        windows=(0,) * min(manifest.layers, MAX_LAYERS),
        is_llama=True,
    )


def _parameters(config: Mapping[str, Any], architecture: Architecture) -> int:
    hidden, inner = _number(config, "hidden_size", MAX_WIDTH), _number(config, "intermediate_size", 4 * MAX_WIDTH)
    layers, vocab = _number(config, "num_hidden_layers", MAX_LAYERS), _number(config, "vocab_size", MAX_VOCAB)
    heads = _number(config, "num_attention_heads", MAX_WIDTH)
    shared = _number(config, "num_key_value_heads", heads, heads)
    size = _number(config, "head_dim", MAX_WIDTH, hidden // heads)
    queries, keys = heads * size, shared * size
    is_biased_here = bool(config.get("attention_bias")) and not architecture.has_query_bias
    attention = 2 * hidden * queries + 2 * hidden * keys
    attention += (queries + 2 * keys) if architecture.has_query_bias or is_biased_here else 0
    attention += hidden if architecture.has_output_bias or is_biased_here else 0
    matrices = (3 if architecture.is_gated else 2) * hidden * inner
    if architecture.is_biased or config.get("mlp_bias"):
        matrices += (2 if architecture.is_gated else 1) * inner + hidden
    norm = 2 * hidden if architecture.is_biased else hidden
    layer = attention + matrices + architecture.norms * norm + (2 * size if architecture.has_qk_norms else 0)
    head = 0 if config.get("tie_word_embeddings", architecture.is_tied) else vocab * hidden
    return vocab * hidden + layers * layer + norm + head + (vocab if architecture.is_biased else 0)


def _windows(config: Mapping[str, Any], architecture: Architecture, layers: int) -> tuple[int, ...]:
    """For each layer the tokens that it sees, 0 for all of them."""
    if not config.get("sliding_window") or config.get("use_sliding_window") is False:
        return (0,) * layers
    window, told = _number(config, "sliding_window", MAX_CONTEXT), config.get("layer_types")
    if isinstance(told, list) and len(told) == layers:
        return tuple(window if each == "sliding_attention" else 0 for each in told)
    if config.get("use_sliding_window"):
        # Qwen: the first layers see everything.
        first = _number(config, "max_window_layers", MAX_LAYERS, layers, low=0)
        return tuple(window if layer >= first else 0 for layer in range(layers))
    every = _number(config, "sliding_window_pattern", MAX_LAYERS, architecture.window_every, low=0)
    return tuple(window if every == 1 or (every and (layer + 1) % every) else 0 for layer in range(layers))


def _dtype(config: Mapping[str, Any]) -> str:
    told = config.get("dtype") or config.get("torch_dtype") or "bfloat16"
    if not isinstance(told, str) or told not in DTYPES:
        raise Malformed(f"config.json states the number format {str(told)[:40]!a}, and {', '.join(DTYPES)} are known")
    return DTYPES[told]


def _block(dtype: str) -> tuple[int, int]:
    """Numbers of a block of a format, and its bytes."""
    block_bytes, numbers = BLOCK_OF.get(dtype, (BYTES_OF.get(dtype, WIDEST), 1))
    return numbers, block_bytes


def _stored(stored_bytes: int, dtype: str) -> int:
    numbers, block_bytes = _block(dtype)
    return stored_bytes * numbers // block_bytes


def _number(config: Mapping[str, Any], name: str, most: int, default: int | None = None, *, low: int = 1) -> int:
    value = config.get(name)
    value = default if value is None else value
    if type(value) is not int or not low <= value <= most:
        raise Malformed(f"config.json must state {name} as a whole number from {low} to {most}")
    return value
