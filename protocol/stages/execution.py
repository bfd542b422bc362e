"""Execution: what a container is asked to run, how it can end, and the check of its result before it is offered."""

import hashlib
import json
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from protocol.stages.assignment import JobDetails, kind_of
from protocol.stages.blob import ModelManifest
from protocol.stages.request import GENERATE
from protocol.stages.stop_order import STOP_ORDER
from protocol.stages.token_rules import NO_RULES, TokenRules, is_alone
from protocol.wire.codec import U8, U16, U32, U64, Bytes32, Text
from protocol.wire.ids import JobId

CHUNK_TOKENS = 32
PROOF_CHUNK_BYTES = 2 + CHUNK_TOKENS * 8
DEAD_END = "dead_end"
"""How an answer ended that its schema let go on with no token, though it was no instance yet."""


class Outcome(StrEnum):
    """How a container ended, by who pays for it."""

    OK = "ok"
    CLIENT = "client"
    """Bad input: charge 0, not retried, counts neither way."""
    JOB = "job"
    """Timeout, out of memory, quota: charge 0, retried elsewhere, counts as a failure."""
    PROVIDER = "provider"
    """This machine: charge 0, retried elsewhere."""
    RESUMABLE = "resumable"
    HOSTILE = "hostile"
    """The container attacked its limits: fails, the evidence is kept."""
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class RunSpec:
    """One run of the runner image. The input lies in the workspace of `job_id`; memory in bytes, timeout in ms.

    temperature: as it is signed; see `token_rules`. max_new_tokens: of a kind that only reads, the units that were
    paid for.
    """

    job_id: Bytes32
    manifest: Bytes32
    class_id: U16
    max_new_tokens: U32
    temperature: U32
    seed: Bytes32
    memory_bytes: U64
    timeout_ms: U32
    kind: U8 = GENERATE

    @property
    def is_alone(self) -> bool:
        """Whether its client has signed that no other job may be in the container of its answer."""
        return is_alone(self.temperature)

    @classmethod
    def of(cls, job_id: JobId, details: JobDetails, class_id: int, memory_bytes: int, timeout_ms: int) -> "RunSpec":
        """The run that a client has signed the terms of, within a machine's own limits of memory and time."""
        return cls(
            job_id=job_id,
            manifest=details.manifest,
            class_id=class_id,
            max_new_tokens=details.max_new_tokens,
            temperature=details.temperature,
            seed=sampling_seed(job_id, details.seed_nonce),
            memory_bytes=memory_bytes,
            timeout_ms=timeout_ms,
            kind=kind_of(details),
        )


def sampling_seed(job_id: bytes, seed_nonce: bytes) -> bytes:
    """The seed of a job's token choices, 32 bytes, unless its input has one; node and seats run with the same one."""
    return hashlib.sha256(b"gm-seed" + job_id + seed_nonce).digest()


@dataclass(frozen=True, slots=True)
class RunResult:
    """The outcome of a run. `detail` is for people: the runner's error or what broke.

    new_tokens: what was delivered of the tokens, or units, that were paid for.
    """

    outcome: Outcome
    detail: Text
    result_hash: Bytes32
    fingerprint_hash: Bytes32
    new_tokens: U32
    finish: Text
    duration_ms: U32


@dataclass(frozen=True, slots=True)
class ResultFacts:
    """A result.json that passed local validation; the stop token is not among the output ids."""

    output_ids: tuple[int, ...]
    finish: str
    result_hash: bytes

    @property
    def delivered(self) -> int:
        """The tokens that are charged for, of those that were paid for."""
        return len(self.output_ids)

    @property
    def rows(self) -> int:
        """Hidden states in its fingerprint and in a check of it."""
        return len(self.output_ids)


class InvalidResult(ValueError):
    """A result that its own node would not offer; the text is the reason."""


def validate_result(
    raw: bytes,
    job_id: JobId,
    manifest: ModelManifest,
    max_new_tokens: int,
    salt: str | None = None,
    rules: TokenRules = NO_RULES,
    *,
    stop_ordered: bool = False,
) -> ResultFacts:
    """Local validation: schema, bounds and the stop rule; every seat applies the same one.

    Args: raw, the bytes of result.json; salt, what the input carried, where the caller knows it; rules, of the input,
    which may end an answer. Its runner alone can tell whether one did. stop_ordered, whether its client has ordered a
    stop, which may have ended it anywhere; see `stop_order`.
    Raises: InvalidResult.
    """
    plain = read_result(raw, job_id, manifest, salt)
    ids = plain.get("output_token_ids")
    if not isinstance(ids, list):
        raise InvalidResult("output_token_ids")
    _require(len(ids) <= max_new_tokens, "output_token_ids: count")
    _require(all(type(token) is int and 0 <= token < manifest.vocab for token in ids), "output_token_ids: range")
    ends = {"stop": bool(rules.stop), DEAD_END: bool(rules.schema), STOP_ORDER: stop_ordered}
    _require_stop(ids, plain.get("finish"), manifest, max_new_tokens, ends)
    return ResultFacts(tuple(ids), plain["finish"], hashlib.sha256(raw).digest())


def read_result(raw: bytes, job_id: JobId, manifest: ModelManifest, salt: str | None) -> dict[str, Any]:
    """The common part of results of all kinds: canonical form, and whose answer to what they are.

    Raises: InvalidResult.
    """
    try:
        plain = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise InvalidResult("result.json is not JSON") from error
    if not isinstance(plain, dict) or json.dumps(plain, sort_keys=True, separators=(",", ":")).encode() != raw:
        raise InvalidResult("result.json is not in canonical form")
    _require(plain.get("v") == 1, "version")
    _require(plain.get("job_id") == job_id.hex(), "job_id")
    _require(plain.get("manifest_sha256") == manifest.cid.hex(), "manifest_sha256")
    _require(salt is None or plain.get("salt") == salt, "salt")
    _require(_is_hash(plain.get("prompt_token_ids_sha256")), "prompt_token_ids_sha256")
    return plain


def fingerprint_size(token_count: int) -> int:
    """The bytes of a fingerprint of so many tokens."""
    return 2 * -(-token_count // CHUNK_TOKENS) + 8 * token_count


def validate_fingerprint(raw: bytes, token_count: int) -> None:
    """The fingerprint has 2 bytes a chunk of 32 tokens and 8 a token, with finite scales.

    Raises: InvalidResult.
    """
    _require(len(raw) == fingerprint_size(token_count), "proof.bin: length")
    for chunk in range(-(-token_count // CHUNK_TOKENS)):
        scale = int.from_bytes(raw[chunk * PROOF_CHUNK_BYTES : chunk * PROOF_CHUNK_BYTES + 2], "little")
        # fp16: sign bit set, or exponent all ones.
        _require(scale < 0x7C00, "proof.bin: scale")


def _require_stop(
    ids: list[int], finish: Any, manifest: ModelManifest, max_new_tokens: int, ends: dict[str, bool]
) -> None:
    """The answer ends before the first stop token, or is exactly as long as was paid for; or as `ends` allow."""
    _require(not any(token in manifest.eos_ids for token in ids), "a stop token inside of the answer")
    if finish == "eos":
        _require(len(ids) < max_new_tokens, "finish is eos at full length")
    elif finish == "length":
        _require(len(ids) == max_new_tokens, "cut short")
    elif finish == "stop" and ends["stop"]:
        _require(len(ids) > 0, "a stop string in an empty answer")
    elif finish == DEAD_END and ends[DEAD_END]:
        _require(0 < len(ids) < max_new_tokens, "a dead end of the schema in an empty answer, or a full one")
    elif finish == STOP_ORDER and ends[STOP_ORDER]:
        _require(len(ids) < max_new_tokens, "stopped at full length")
    else:
        raise InvalidResult("finish")


def _require(condition: bool, what: str) -> None:
    if not condition:
        raise InvalidResult(what)


def _is_hash(value: Any) -> bool:
    if not isinstance(value, str) or len(value) != 64:
        return False
    return all(character in "0123456789abcdef" for character in value)


def failed(outcome: Outcome, detail: str, duration_ms: int = 0) -> RunResult:
    """The result of a run that gave none."""
    return RunResult(outcome, detail[:500], bytes(32), bytes(32), 0, "", duration_ms)


SLOWER_PERCENT = 10
"""By how much each further answer of a container makes a step of all of them longer; measured on one core: 8."""


def sharing_key(run: RunSpec) -> tuple[bytes, int] | None:
    """The common fields of one container's runs; None for a field of one run.

    Answers of one model and class grow side by side, unless their clients have them alone; readings come many in a job
    already.
    """
    return (run.manifest, run.class_id) if run.kind == GENERATE and not run.is_alone else None


def containers(runs: Collection[RunSpec], at_once: int) -> int:
    """How many containers these runs take, where `at_once` of those that are alike share one."""
    alike = Counter(map(sharing_key, runs))
    return alike.pop(None, 0) + sum(-(-count // at_once) for count in alike.values())


def side_by_side_ms(ms_per_token: int, answers: int) -> int:
    """Milliseconds of one step that goes on so many answers, one token each."""
    return ms_per_token * (100 + SLOWER_PERCENT * (answers - 1)) // 100


CLASS_DTYPES: dict[int, str] = {1: "fp32", 2: "bf16", 3: "q8_0"}
"""Number format of the CPU device classes: of their arithmetic, or of the GGUF weights that they run as they are."""
GGUF_DTYPES = frozenset({"q8_0"})
"""Formats of manifests whose weights are a GGUF file. Each has a class of its own, which runs no other model."""


def is_gguf_class(class_id: int) -> bool:
    """Whether a class runs GGUF files of one type as they are."""
    return CLASS_DTYPES.get(class_id) in GGUF_DTYPES


def runs_dtype(class_id: int, dtype: str) -> bool:
    """Whether a class runs models whose weights are stored in this format; a class that is not known may."""
    found = CLASS_DTYPES.get(class_id, "")
    return found == dtype if {found, dtype} & GGUF_DTYPES else True
