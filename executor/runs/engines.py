"""Which engine of the runner answers a job, and which one checks an answer.

An answer is checked by another code base than the one that wrote it, where there are two: a fault or a back door of an
engine must not be its own witness. What an engine cannot run, torch does.
"""

import json

from protocol.stages.execution import CLASS_DTYPES, GGUF_DTYPES, RunSpec
from protocol.stages.request import GENERATE

TORCH, LLAMA = "torch", "llama.cpp"
"""The runner's words."""
LLAMA_DTYPES = frozenset({"bf16"}) | GGUF_DTYPES


def engine_of_answer(spec: RunSpec) -> str:
    """The engine of a job."""
    return LLAMA if _has_both(spec) else TORCH


def engine_of_check(spec: RunSpec, result: bytes) -> str:
    """The engine that checks a result, by the one that it names. One that names none was made by torch."""
    return LLAMA if _has_both(spec) and not _named(result).startswith(LLAMA) else TORCH


def writers_beside_torch(class_id: int) -> tuple[str, ...]:
    """The other engines whose answers a node of this class may bring."""
    return (LLAMA,) if CLASS_DTYPES.get(class_id) in LLAMA_DTYPES else ()


def _has_both(spec: RunSpec) -> bool:
    return spec.kind == GENERATE and LLAMA in writers_beside_torch(spec.class_id)


def _named(result: bytes) -> str:
    """The engine that a result names. The result is a stranger's."""
    try:
        found = json.loads(result)
    except (ValueError, RecursionError):
        return ""
    return str(found.get("engine", ""))[:80] if isinstance(found, dict) else ""
