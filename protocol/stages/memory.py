"""The memory that one job needs: of its model in the number format of its class, and of its own prompt and answer.

A manifest states the need of the widest class and the longest context. Weights and their format follow from its files,
so the rest of that number is keys and values, which grow with the tokens and with the width of a number.
"""

from protocol.stages.blob import RUNTIME_BYTES, ModelManifest
from protocol.stages.execution import CLASS_DTYPES
from protocol.stages.request import GENERATE

BYTES_OF = {"fp32": 4, "bf16": 2, "fp16": 2}
BLOCK_OF = {"q8_0": (34, 32)}
"""Bytes and numbers of a block of a GGUF type. The reference widens such weights to the widest format."""
WIDEST = 4
WEIGHTS_SUFFIX, GGUF_SUFFIX = ".safetensors", ".gguf"
STATE_BYTES = 128
"""What the runner allows for each number of each token's state while a prompt is read; measured: 57."""
PASS_TOKENS = 4_096
"""Tokens of all texts that the runner reads in one pass, unless a single one is longer."""


def tokens_of(kind: int, input_bytes: int, max_new_tokens: int, context: int) -> int:
    """Tokens that a model holds at once for a job, at most. A token is a byte of the sealed input, or more of them."""
    if kind == GENERATE:
        return min(context, input_bytes + max_new_tokens)
    return max(min(context, input_bytes), PASS_TOKENS)


def needed_bytes(manifest: ModelManifest, class_id: int, tokens: int) -> int:
    """Memory of a job: no more than the manifest states, but at least that of the runtime and of the weights.

    Two nodes find the same: integers only.

    Args: class_id, of the device; a class without a known format counts as the widest. tokens, as `tokens_of`.
    """
    stored, numbers = BLOCK_OF.get(manifest.dtype, (BYTES_OF.get(manifest.dtype, 0), 1))
    width = BYTES_OF.get(CLASS_DTYPES.get(class_id, ""), WIDEST)
    suffix = GGUF_SUFFIX if manifest.dtype in BLOCK_OF else WEIGHTS_SUFFIX
    weights_bytes = sum(file.size for file in manifest.files if file.path.endswith(suffix))
    parameters = weights_bytes * numbers // stored if stored else 0
    least = RUNTIME_BYTES + width * parameters
    if not stored or manifest.context == 0:
        return max(least, manifest.needs_bytes)
    all_kept = max(manifest.needs_bytes - RUNTIME_BYTES - WIDEST * parameters, 0)
    # Twice, because keys and values are copied whenever they grow.
    kept = -(-2 * all_kept * width * tokens // (WIDEST * manifest.context))
    # Weights of the class's own format are used from the file; others are held beside it while they are converted.
    loaded = width * parameters + (weights_bytes if (width, 1) != (stored, numbers) else 0)
    reading = tokens * manifest.hidden * STATE_BYTES
    return max(least, min(manifest.needs_bytes, RUNTIME_BYTES + loaded + kept + reading))


def allowed_bytes(manifest: ModelManifest, classes: int, tokens: int, default: int) -> int:
    """The `max_memory` that a request signs. Args: classes, the mask of accepted classes; default, in bytes.

    The whole need of the model up to `default`, which nodes of every version understand; above it, the most that any
    accepted class needs for this job. The second also where the manifest states less.
    """
    stated = manifest.needs_bytes if manifest.needs_bytes <= default else 0
    accepted = (class_id for class_id in range(32) if classes >> class_id & 1)
    return max((stated, *(needed_bytes(manifest, class_id, tokens) for class_id in accepted)))
