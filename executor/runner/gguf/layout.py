"""A Llama model in a GGUF file: which facts and tensors it must have, by which names, and which types can be run."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .header import BLOCKS, F32, Q8_0, BadGguf, Header, Tensor, read_header

MODEL_FILE = "model.gguf"
TYPES = {Q8_0: "q8_0"}
"""The types that a model's matrices may have, all of them the same one, by the name of its number format."""
INSTEAD = "add the model as a Hugging Face folder of safetensors instead"
MAX_WIDTH, MAX_LAYERS, MAX_VOCAB, MAX_CONTEXT = 1 << 16, 1 << 10, 1 << 20, 1 << 24
WHOLE = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
}
LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
"""Names of GGUF, and those of transformers."""
KNOWN = {
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.layer_norm_rms_epsilon",
    "attention.value_length",
    "block_count",
    "context_length",
    "embedding_length",
    "feed_forward_length",
    "rope.dimension_count",
    "rope.freq_base",
    "vocab_size",
}
"""Facts of the architecture. Another one would change what the model computes."""


def is_gguf(folder: Path) -> bool:
    """Whether the weights of a model's folder are a GGUF file."""
    return (folder / MODEL_FILE).is_file()


def names_of(layers: int, *, tied: bool) -> Iterator[tuple[str, str]]:
    """The tensors of a model: names of GGUF and of transformers.

    Args: tied, whether the embedding is the last matrix.
    """
    for ours, theirs in WHOLE.items():
        if not (tied and ours == "output"):
            yield f"{ours}.weight", f"{theirs}.weight"
    for layer in range(layers):
        for ours, theirs in LAYER.items():
            yield f"blk.{layer}.{ours}.weight", f"model.layers.{layer}.{theirs}.weight"


def shape_of(config: Mapping[str, Any], name: str) -> tuple[int, ...]:
    """The shape of a tensor, by its GGUF name, of a model with this config.json. Raises KeyError, TypeError."""
    hidden, inner = int(config["hidden_size"]), int(config["intermediate_size"])
    size = int(config["head_dim"])
    queries, keys = int(config["num_attention_heads"]) * size, int(config["num_key_value_heads"]) * size
    shapes = {
        "attn_q": (queries, hidden),
        "attn_k": (keys, hidden),
        "attn_v": (keys, hidden),
        "attn_output": (hidden, queries),
        "ffn_gate": (inner, hidden),
        "ffn_up": (inner, hidden),
        "ffn_down": (hidden, inner),
        "token_embd": (int(config["vocab_size"]), hidden),
        "output": (int(config["vocab_size"]), hidden),
    }
    return shapes.get(name.removesuffix(".weight").split(".")[-1], (hidden,))


def require_tensors(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    """The number format of a model's matrices. Raises BadGguf unless all tensors of the model are there, and no other.

    Args: config, what config.json says. Raises KeyError, TypeError if that lacks something.
    """
    tied = bool(config["tie_word_embeddings"])
    names = [ours for ours, _ in names_of(int(config["num_hidden_layers"]), tied=tied)]
    matrices = {each.type_id: each.type_name for each in tensors.values() if len(each.shape) > 1}
    if len(matrices) != 1 or not matrices.keys() <= TYPES.keys():
        known = ", ".join(sorted(TYPES.values())).upper()
        found = ", ".join(sorted(set(matrices.values()))) or "none"
        raise BadGguf(f"its matrices are of type {found}, and all must be {known}: take such a file, or {INSTEAD}")
    if unknown := tensors.keys() - set(names):
        raise BadGguf(f"it has the tensor {min(unknown)!a}, which no Llama model has that can be run here: {INSTEAD}")
    for name in names:
        tensor, shape = tensors.get(name), shape_of(config, name)
        if tensor is None or tensor.shape != shape:
            raise BadGguf(f"tensor {name} is missing or is not of shape {list(shape)}: the file is damaged")
        if len(shape) == 1 and tensor.type_id != F32:
            raise BadGguf(f"tensor {name} is of type {tensor.type_name}, and F32 is expected: {INSTEAD}")
    return TYPES[min(matrices)]


def parameters_of(type_name: str, size_bytes: int) -> int:
    """Weights that so many bytes hold at most."""
    numbers, block_bytes = BLOCKS[next(key for key, name in TYPES.items() if name == type_name)]
    return size_bytes * numbers // block_bytes


def config_of(header: Header) -> dict[str, Any]:
    """What config.json says of the model of a file. Raises BadGguf."""
    _require_plain(header)
    layers = header.number("llama.block_count", 1, MAX_LAYERS)
    hidden = header.number("llama.embedding_length", 1, MAX_WIDTH)
    heads = header.number("llama.attention.head_count", 1, MAX_WIDTH)
    size = header.number("llama.attention.key_length", 2, MAX_WIDTH, hidden // heads)
    for name in ("attention.value_length", "rope.dimension_count"):
        header.number(f"llama.{name}", size, size, size)
    shared = header.number("llama.attention.head_count_kv", 1, heads, heads)
    if heads % shared or size % 2:
        raise BadGguf(f"{heads} heads of {size} numbers cannot share {shared} heads of keys: the file is damaged")
    vocab = len(header.texts("tokenizer.ggml.tokens"))
    header.number("llama.vocab_size", vocab, vocab, vocab)
    turn = header.real("llama.rope.freq_base", 1.0, 1e12, 10_000.0)
    config = {
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": False,
        "eos_token_id": header.number("tokenizer.ggml.eos_token_id", 0, vocab - 1),
        "head_dim": size,
        "hidden_act": "silu",
        "hidden_size": hidden,
        "intermediate_size": header.number("llama.feed_forward_length", 1, 4 * MAX_WIDTH),
        "max_position_embeddings": header.number("llama.context_length", 1, MAX_CONTEXT),
        "mlp_bias": False,
        "model_type": "llama",
        "num_attention_heads": heads,
        "num_hidden_layers": layers,
        "num_key_value_heads": shared,
        "rms_norm_eps": header.real("llama.attention.layer_norm_rms_epsilon", 1e-12, 1.0),
        "rope_parameters": {"rope_theta": turn, "rope_type": "default"},
        "tie_word_embeddings": "output.weight" not in header.tensors,
        "vocab_size": vocab,
    }
    if "tokenizer.ggml.bos_token_id" in header.facts:
        config["bos_token_id"] = header.number("tokenizer.ggml.bos_token_id", 0, vocab - 1)
    require_tensors(config, header.tensors)
    return config


def _require_plain(header: Header) -> None:
    """Raises BadGguf if the file is a part of a model, or of a model that is computed in another way."""
    if header.facts.get("split.count", 1) != 1:
        raise BadGguf("it is one shard of several: join them first with llama-gguf-split --merge")
    if (found := header.text("general.architecture")) != "llama":
        raise BadGguf(f"it is of architecture {found!a:.40}, and llama is the one that can be run: {INSTEAD}")
    if header.facts.get("llama.rope.scaling.type", "none") != "none" or "rope_freqs.weight" in header.tensors:
        raise BadGguf(f"its positions are scaled, which cannot be run: {INSTEAD}")
    told = {key.removeprefix("llama.") for key in header.facts if key.startswith("llama.")}
    if unknown := told - KNOWN - {"rope.scaling.type"}:
        raise BadGguf(f"it states llama.{min(unknown)!a:.40}, which no model does that can be run here: {INSTEAD}")


def type_of(path: Path) -> str:
    """The number format of a file with a model. Raises BadGguf, OSError."""
    header = read_header(path)
    return require_tensors(config_of(header), header.tensors)
