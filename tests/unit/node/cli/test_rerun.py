"""A proof that is computed again, on a bench that a test plays."""

from __future__ import annotations

import json
import struct
from dataclasses import replace

from node.cli.ui.rerun import rerun
from node.wallet.sealing import seal
from protocol.proof.check import CheckOutcome
from protocol.proof.file import Proof, read_proof
from protocol.proof.verify import verify
from protocol.stages.execution import RunSpec, sampling_seed
from protocol.stages.request import EMBED
from tests.fakes import reader
from tests.support.proofs import IDS, MODEL, ROWS, TOKENS, Answered, Bench, proof_of

MEMORY = 2**30
WORDS = {number: f"word{number}" for number in range(400)}


class Played:
    """Gives these rows and margins, and a fresh answer of other tokens where that is wanted."""

    def __init__(self, *, off: int = 0, margin: int = 0, problem: str = "", fresh: bytes = b"") -> None:
        self._rows = [row + off for row in ROWS]
        self._margin = margin
        self._problem = problem
        self._fresh = fresh
        self.specs: list[RunSpec] = []

    def check(self, spec: RunSpec, asked: bytes, answer: bytes, stop_order: bytes | None) -> tuple[bytes, str]:
        self.specs.append(spec)
        if self._problem:
            return b"", self._problem
        square = sum(row * row for row in self._rows) / len(self._rows)
        margins = struct.pack(f"<{len(IDS) + 1}i", *[self._margin] * (len(IDS) + 1))
        return struct.pack(f"<f{len(self._rows)}hd", 1.0, *self._rows, square) + margins, ""

    def answer(self, spec: RunSpec, asked: bytes) -> bytes:
        content = proof_of().content
        assert content is not None
        assert content.result is not None
        return self._fresh or content.result

    def text(self, manifest: bytes, ids: tuple[int, ...]) -> str:
        return " ".join(WORDS[number] for number in ids)


def test_the_score_stands_beside_those_of_the_seats() -> None:
    proof, bench = proof_of(Bench((9_900, 9_800, 9_700))), Played()
    scored, fresh = rerun(proof, bench, MEMORY)
    assert scored.outcome is CheckOutcome.OK
    assert scored.words.startswith("10000 bp by fingerprint and check: a pass; the seats gave it ")
    assert fresh.words.startswith("100 % of its words, in their order, agree")
    (spec,) = bench.specs
    assert spec.seed == sampling_seed(spec.job_id, proof.papers.details.seed_nonce)
    assert (spec.class_id, spec.memory_bytes) == (1, MEMORY)


def test_an_answer_of_another_model_fails_by_its_fingerprint() -> None:
    scored, _ = rerun(proof_of(), Played(off=2), MEMORY)
    assert (scored.outcome, ": a failure; " in scored.words) == (CheckOutcome.FAILED, True)


def test_a_file_without_a_fingerprint_is_scored_by_its_margins_alone() -> None:
    proof = proof_of()
    assert proof.content is not None
    bought = replace(proof, content=replace(proof.content, fingerprint=None))
    good, _ = rerun(bought, Played(off=2), MEMORY)
    assert (good.outcome, "10000 bp by the margins of its tokens alone" in good.words) == (CheckOutcome.OK, True)
    bad, _ = rerun(bought, Played(margin=900_000), MEMORY)
    assert (bad.outcome, "a failure" in bad.words) == (CheckOutcome.FAILED, True)


def test_an_answer_that_no_seat_would_check_earns_nothing() -> None:
    scored, _ = rerun(proof_of(), Played(problem="the prompt is another"), MEMORY)
    assert (scored.outcome, scored.words) == (
        CheckOutcome.FAILED,
        "no seat could give a score but 0: the prompt is another",
    )


def test_a_pass_that_left_something_else_is_no_judgement() -> None:
    scored, _ = rerun(proof_of(), Short(), MEMORY)
    assert scored.outcome is CheckOutcome.UNKNOWN


class Short(Played):
    """Leaves half of a check.bin."""

    def check(self, spec: RunSpec, asked: bytes, answer: bytes, stop_order: bytes | None) -> tuple[bytes, str]:
        return super().check(spec, asked, answer, stop_order)[0][:100], ""


def test_a_fresh_answer_that_differs_is_a_share_and_no_failure() -> None:
    content = proof_of().content
    assert content is not None
    assert content.result is not None
    other = content.result.replace(b"31,32]", b"33,34]")
    _, fresh = rerun(proof_of(), Played(fresh=other), MEMORY)
    assert (fresh.outcome, "93.75 % of its words, in their order, agree" in fresh.words) == (CheckOutcome.OK, True)


def test_without_content_there_is_nothing_to_compute() -> None:
    bench = Played()
    found = rerun(replace(proof_of(), content=None), bench, MEMORY)
    assert {each.outcome for each in found} == {CheckOutcome.ABSENT}
    assert bench.specs == []


# --- jobs that only read --------------------------------------------------------------------------------------------
TEXTS = {"v": 1, "salt": "5a", "texts": ["a quick fox", "a lazy dog"]}
ASKED = json.dumps(TEXTS, sort_keys=True).encode()


def embedded(*, model: bytes = b"") -> Proof:
    """An embedding of two texts by the honest model, or by another."""

    def answer(job: bytes, nonce: bytes) -> Answered:
        spec = _spec(job)
        result = reader.result(spec, MODEL, TEXTS, model)
        return Answered(result, reader.fingerprint(spec, TEXTS, model), reader.delivered(result))

    return proof_of(kind=EMBED, asked=ASKED, answer=answer)


def _spec(job: bytes) -> RunSpec:
    return RunSpec(job, MODEL.cid, 1, TOKENS, 0, bytes(32), MEMORY, 1_000, EMBED)


class Reading(Played):
    """Checks and reads as an honest node does."""

    def check(self, spec: RunSpec, asked: bytes, answer: bytes, stop_order: bytes | None) -> tuple[bytes, str]:
        self.specs.append(spec)
        return reader.check(spec, MODEL, json.loads(asked), answer)

    def answer(self, spec: RunSpec, asked: bytes) -> bytes:
        return reader.result(spec, MODEL, json.loads(asked), b"")


def test_an_embedding_is_checked_by_the_rules_of_its_kind_and_computed_again() -> None:
    proof, bench = embedded(), Reading()
    checks = verify(read_proof(proof.encode()), seal)
    assert {check.outcome for check in checks} == {CheckOutcome.OK}, [
        check for check in checks if check.outcome != "ok"
    ]
    (answer,) = [check for check in checks if check.name == "answer"]
    assert answer.words == "2 texts, 2 units"
    scored, fresh = rerun(proof, bench, MEMORY)
    assert scored.outcome is CheckOutcome.OK, scored.words
    assert fresh.words == "100 % of its numbers, within a thousandth, agree"
    assert [spec.kind for spec in bench.specs] == [EMBED]


def test_an_embedding_of_another_model_fails_and_one_without_a_fingerprint_has_no_score() -> None:
    scored, fresh = rerun(embedded(model=b"other"), Reading(), MEMORY)
    assert scored.outcome is CheckOutcome.FAILED
    assert not fresh.words.startswith("100 %")
    proof = embedded()
    assert proof.content is not None
    scored, _ = rerun(replace(proof, content=replace(proof.content, fingerprint=None)), Reading(), MEMORY)
    assert scored.outcome is CheckOutcome.ABSENT
