"""The part of llama.cpp's C interface that the runner uses, by ctypes.

Structures pass by value, and their layout belongs to one release of llama.cpp: `VERSION`. So another one is refused,
and so is a library whose default parameters do not read as that release has them.
Source: llama.h and ggml-backend.h of that release.
"""

from collections import deque
from ctypes import (
    CDLL,
    CFUNCTYPE,
    RTLD_GLOBAL,
    Structure,
    c_bool,
    c_char_p,
    c_float,
    c_int,
    c_int32,
    c_size_t,
    c_uint32,
    c_void_p,
)
from functools import cache
from pathlib import Path
from typing import Any

VERSION = b"0.5.0-dev"
FOLDER = Path("/opt/vcoin/llama")
FLOAT16, NO_POOLING, FLASH = 1, 0, 1
"""Of ggml_type, llama_pooling_type and llama_flash_attn_type."""
ERROR = 4
"""Of ggml_log_level."""
LogCallback = CFUNCTYPE(None, c_int, c_char_p, c_void_p)


class LlamaUnusable(RuntimeError):
    """llama.cpp is not in this image, is of another release, or refuses what it was told."""


class ModelParams(Structure):
    """llama_model_params."""

    _fields_ = (
        ("devices", c_void_p),
        ("tensor_buft_overrides", c_void_p),
        ("n_gpu_layers", c_int32),
        ("split_mode", c_int),
        ("load_mode", c_int),
        ("lazy_mode", c_int),
        ("main_gpu", c_int32),
        ("tensor_split", c_void_p),
        ("progress_callback", c_void_p),
        ("progress_callback_user_data", c_void_p),
        ("kv_overrides", c_void_p),
        ("vocab_only", c_bool),
        ("check_tensors", c_bool),
        ("use_extra_bufts", c_bool),
        ("no_host", c_bool),
        ("no_alloc", c_bool),
        ("load_mtp", c_bool),
    )


class ContextParams(Structure):
    """llama_context_params."""

    _fields_ = (
        *((name, c_uint32) for name in ("n_ctx", "n_batch", "n_ubatch", "n_seq_max", "n_rs_seq")),
        ("n_outputs_max", c_uint32),
        ("n_outputs_max_per_seq", c_uint32),
        ("n_threads", c_int32),
        ("n_threads_batch", c_int32),
        *((name, c_int) for name in ("ctx_type", "rope_scaling_type", "pooling_type", "attention_type")),
        ("flash_attn_type", c_int),
        *((name, c_float) for name in ("rope_freq_base", "rope_freq_scale", "yarn_ext_factor", "yarn_attn_factor")),
        ("yarn_beta_fast", c_float),
        ("yarn_beta_slow", c_float),
        ("yarn_orig_ctx", c_uint32),
        ("defrag_thold", c_float),
        ("cb_eval", c_void_p),
        ("cb_eval_user_data", c_void_p),
        ("type_k", c_int),
        ("type_v", c_int),
        ("abort_callback", c_void_p),
        ("abort_callback_data", c_void_p),
        *((name, c_bool) for name in ("embeddings", "offload_kqv", "no_perf", "op_offload", "swa_full", "kv_unified")),
        ("samplers", c_void_p),
        ("n_samplers", c_size_t),
        ("ctx_other", c_void_p),
    )


class TokenBatch(Structure):
    """llama_batch: tokens of any sequences, and which of them give logits."""

    _fields_ = (
        ("n_tokens", c_int32),
        *((name, c_void_p) for name in ("token", "embd", "pos", "n_seq_id", "seq_id", "logits")),
    )


DEFAULTS = {"n_ctx": 512, "n_ubatch": 512, "yarn_ext_factor": -1.0, "type_v": 1, "swa_full": True, "ctx_other": None}
"""Some of the context's, from one end of the structure to the other."""
SIGNATURES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "llama_version": (c_char_p, ()),
    "llama_log_set": (None, (LogCallback, c_void_p)),
    "llama_backend_init": (None, ()),
    "ggml_backend_load_all_from_path": (None, (c_char_p,)),
    "ggml_backend_reg_count": (c_size_t, ()),
    "llama_model_default_params": (ModelParams, ()),
    "llama_context_default_params": (ContextParams, ()),
    "llama_model_load_from_file_ptr": (c_void_p, (c_void_p, ModelParams)),
    "llama_init_from_model": (c_void_p, (c_void_p, ContextParams)),
    "llama_decode": (c_int32, (c_void_p, TokenBatch)),
    "llama_get_logits": (c_void_p, (c_void_p,)),
    "llama_get_memory": (c_void_p, (c_void_p,)),
    "llama_memory_seq_rm": (c_bool, (c_void_p, c_int32, c_int32, c_int32)),
}


@cache
def library(folder: Path = FOLDER) -> Any:
    """llama.cpp, loaded with the kernels that suit this processor best. Raises LlamaUnusable."""
    try:
        # In the order in which they need each other, so that no search path is asked.
        parts = [CDLL(str(folder / f"lib{name}.so"), RTLD_GLOBAL) for name in ("ggml-base", "ggml", "llama")]
        found = Functions(parts)
    except (OSError, AttributeError) as error:
        raise LlamaUnusable(f"llama.cpp cannot be loaded from {folder}: {error}") from error
    if found.llama_version() != VERSION:
        raise LlamaUnusable(f"llama.cpp {VERSION.decode()} is wanted, and {folder} has {found.llama_version()!r}")
    if _read(found.llama_context_default_params()) != DEFAULTS:
        raise LlamaUnusable(f"the parameters of llama.cpp in {folder} are laid out in another way")
    found.llama_log_set(_LISTENER, None)
    found.ggml_backend_load_all_from_path(str(folder).encode())
    found.llama_backend_init()
    if not found.ggml_backend_reg_count():
        raise LlamaUnusable(f"{folder} has no kernels for this processor")
    return found


class Functions:
    """The functions of `SIGNATURES`, each an attribute."""

    def __init__(self, parts: list[CDLL]) -> None:
        """Raises AttributeError if a function is in none of the parts."""
        for name, (result, arguments) in SIGNATURES.items():
            function = getattr(next((part for part in parts if hasattr(part, name)), parts[-1]), name)
            function.restype, function.argtypes = result, arguments
            setattr(self, name, function)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)


def last_words() -> str:
    """What llama.cpp last complained of."""
    return " ".join(_complaints)


def _read(params: ContextParams) -> dict[str, Any]:
    return {name: getattr(params, name) for name in DEFAULTS}


_complaints: deque[str] = deque(maxlen=4)


def _listen(level: int, text: bytes, _data: int) -> None:
    """Whatever else llama.cpp has to say goes nowhere: a container's log is its client's."""
    if level == ERROR:
        _complaints.append(text.decode(errors="replace").strip())


_LISTENER = LogCallback(_listen)
