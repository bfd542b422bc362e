"""Which engine serves a model on a device, with how much context and how many streams: the peak of memory it takes.

A peak is what a process holds at its busiest moment, files of weights that it has mapped included: the kernel can take
those back, so they need not fit. The figures of processors are measured (tests/integration/test_model_fit.py); those of
cards follow from the same tensors and are not.
"""

from collections.abc import Callable
from dataclasses import dataclass

from protocol.stages.memory import BLOCK_OF, BYTES_OF
from protocol.stages.model_shape import ModelShape

MIB = 1 << 20
BPS = 10_000
MAX_STREAMS = 1 << 12
PROCESSOR, CARD = "processor", "card"
TORCH, LLAMA, VLLM = "torch", "llama.cpp", "vLLM"
WIDENED, MASKED, PAGED = "widened", "masked", "paged"
"""What attention holds beside keys and values: those of one text in float32 and the mask of a piece; a mask of a pass
over all streams; nothing that grows with them."""


@dataclass(frozen=True, slots=True)
class EngineNeed:
    """What an engine takes on a kind of device, in one number format.

    stored: formats of weights that it loads; nothing: every one. runtime_bytes: of its programs. vocab_bytes: for each
    token of the vocabulary, what tokenizer and grammars take. kept_dtype: of keys and values. kept_bps: their share at
    the peak for several streams; one stream has them once. is_cut: whether it drops what lies behind a window.
    weights_bps: the share of what is stored that its own weights take. is_copied: whether it maps the files of weights
    all the time, beside its own weights; others do so while they load. attention: see WIDENED. piece: tokens of one
    pass. outputs: tokens whose logits are made at once, 0: one of each stream. most_streams, most_tokens: of all
    streams, the engine's own limits; 0: none. is_measured: against a real engine.
    """

    device: str
    engine: str
    dtype: str
    stored: tuple[str, ...]
    runtime_bytes: int
    kept_dtype: str
    attention: str
    piece: int
    outputs: int = 0
    vocab_bytes: int = 0
    kept_bps: int = BPS
    weights_bps: int = BPS
    is_cut: bool = False
    is_copied: bool = False
    most_streams: int = 0
    most_tokens: int = 0
    is_measured: bool = False


HALVES = ("bf16", "fp16")
WIDE = (*HALVES, "fp32")
TOKEN_BYTES = 1 << 10
"""Of a token of the vocabulary, in tokenizer and grammars; measured: 1,000."""
WRITERS, CELLS, PASS_TOKENS, OUTPUT_TOKENS = 16, 16_384, 256, 64
"""Of llama.cpp as the runner opens it: executor/runner/llama."""


def _torch(device: str, dtype: str, runtime_mib: int, stored: tuple[str, ...]) -> EngineNeed:
    """Several texts are put side by side while the keys and values of each are still there; measured: 2.3 times."""
    is_measured = device == PROCESSOR
    return EngineNeed(
        *(device, TORCH, dtype, stored, runtime_mib * MIB, dtype, WIDENED, 1_024),
        vocab_bytes=TOKEN_BYTES if is_measured else 0,
        kept_bps=23_000,
        is_measured=is_measured,
    )


def _llama(device: str, dtype: str, runtime_mib: int, weights_bps: int = BPS) -> EngineNeed:
    is_measured = device == PROCESSOR
    return EngineNeed(
        *(device, LLAMA, dtype, (dtype,), runtime_mib * MIB, "fp16", MASKED, PASS_TOKENS, OUTPUT_TOKENS),
        vocab_bytes=TOKEN_BYTES if is_measured else 0,
        weights_bps=weights_bps,
        is_copied=is_measured,
        most_streams=WRITERS,
        most_tokens=CELLS,
        is_measured=is_measured,
    )


ENGINES = (
    _torch(PROCESSOR, "fp32", 390, (*WIDE, *BLOCK_OF)),
    _torch(PROCESSOR, "bf16", 390, WIDE),
    _llama(PROCESSOR, "bf16", 100),
    # On processors with AMX it lays the blocks out anew, an eighth wider; on others this is so much too many.
    _llama(PROCESSOR, "q8_0", 115, 11_200),
    _torch(CARD, "fp32", 640, WIDE),
    _torch(CARD, "bf16", 640, WIDE),
    _llama(CARD, "bf16", 512),
    _llama(CARD, "q8_0", 512),
    EngineNeed(CARD, VLLM, "bf16", HALVES, 1_536 * MIB, "bf16", PAGED, 2_048, 256, is_cut=True),
)
"""The engines, the widest format of a device first."""


@dataclass(frozen=True, slots=True)
class PeakMemory:
    """In bytes. `mapped`: files of weights beside the engine's own copy, which the kernel can take back."""

    runtime_bytes: int
    weights_bytes: int
    mapped_bytes: int
    kept_bytes: int
    work_bytes: int
    is_mapped_always: bool

    @property
    def held_bytes(self) -> int:
        """What must fit."""
        return self.runtime_bytes + self.weights_bytes + self.kept_bytes + self.work_bytes

    @property
    def peak_bytes(self) -> int:
        """What is seen at the busiest moment, where there is room for all of it."""
        if self.is_mapped_always:
            return self.held_bytes + self.mapped_bytes
        return max(self.held_bytes, self.runtime_bytes + self.weights_bytes + self.mapped_bytes)


@dataclass(frozen=True, slots=True)
class ModelFit:
    """How an engine serves a model in so much memory: `context` tokens in each of `streams`; 0 streams: not at all."""

    engine: EngineNeed
    context: int
    streams: int
    peak: PeakMemory


def peak_of(shape: ModelShape, engine: EngineNeed, context: int, streams: int) -> PeakMemory:
    """The peak with so many streams, each of so many tokens, prompt and answer together."""
    width, kept_width = BYTES_OF.get(engine.dtype, 0), BYTES_OF[engine.kept_dtype]
    # Weights of the engine's own format are used as they are stored.
    is_same = shape.dtype == engine.dtype
    weights_bytes = shape.stored_bytes * engine.weights_bps // BPS if is_same else width * shape.parameters
    kept = shape.kept(context, is_cut=engine.is_cut) * streams * kept_width
    share = engine.kept_bps if streams > 1 else BPS
    piece = min(engine.piece, context)
    attention = {
        WIDENED: context * (4 * shape.pair_numbers + 5 * piece),
        MASKED: 2 * streams * context * piece,
        PAGED: 0,
    }[engine.attention]
    states = piece * (8 * shape.hidden + 12 * shape.inner)
    logits = 4 * shape.vocab * (engine.outputs or streams)
    return PeakMemory(
        runtime_bytes=engine.runtime_bytes + engine.vocab_bytes * shape.vocab,
        weights_bytes=weights_bytes,
        mapped_bytes=shape.stored_bytes if engine.device == PROCESSOR and (engine.is_copied or not is_same) else 0,
        kept_bytes=kept * share // BPS,
        work_bytes=attention + states + logits,
        is_mapped_always=engine.is_copied,
    )


def can_load(shape: ModelShape, engine: EngineNeed) -> bool:
    """Whether an engine computes a model that is stored so."""
    return shape.dtype in engine.stored and (engine.engine != LLAMA or shape.is_llama)


def fit(shape: ModelShape, engine: EngineNeed, memory_bytes: int, context: int = 0, streams: int = 0) -> ModelFit:
    """The most that an engine does with a model in so much memory.

    Args: context, wanted of each stream; 0: the longest that fits. streams, wanted; 0: as many as fit, of the longest
    context that one of them can have.
    """
    asked_context = min(context or shape.context, shape.context)

    def fits(tokens: int, count: int) -> bool:
        most_tokens = max(engine.most_tokens, shape.context) if engine.most_tokens else 0
        if (most_tokens and tokens * count > most_tokens) or (engine.most_streams and count > engine.most_streams):
            return False
        return peak_of(shape, engine, tokens, count).held_bytes <= memory_bytes

    found_context = asked_context if context else _most(asked_context, lambda tokens: fits(tokens, max(streams, 1)))
    found_streams = _most(streams or MAX_STREAMS, lambda count: fits(found_context, count)) if found_context else 0
    if streams and found_streams < streams:
        found_streams = 0
    told = max(found_context, 1), max(found_streams, streams, 1)
    return ModelFit(engine, found_context, found_streams, peak_of(shape, engine, *told))


def _most(high: int, holds: Callable[[int], bool]) -> int:
    """The largest number from 1 to `high` for which it holds, 0 if there is none; all smaller ones hold, too."""
    low = 0
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if holds(middle) else (low, middle - 1)
    return low
