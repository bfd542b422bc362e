"""A proof that is computed again, on a bench that a test plays."""

from __future__ import annotations

import struct
from dataclasses import replace

from node.cli.rerun import rerun
from protocol.proof.check import Outcome
from protocol.stages.execution import RunSpec, sampling_seed
from tests.proofs import IDS, ROWS, Bench, proof_of

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

    def check(self, spec: RunSpec, asked: bytes, answer: bytes) -> tuple[bytes, str]:
        self.specs.append(spec)
        if self._problem:
            return b"", self._problem
        square = sum(row * row for row in self._rows) / len(self._rows)
        margins = struct.pack(f"<{len(IDS) + 1}I", *[self._margin] * (len(IDS) + 1))
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
    assert scored.outcome is Outcome.OK
    assert scored.words.startswith("10000 bp by fingerprint and margins: a pass; the seats gave it ")
    assert fresh.words.startswith("100 % of its words agree")
    (spec,) = bench.specs
    assert spec.seed == sampling_seed(spec.job_id, proof.papers.details.seed_nonce)
    assert (spec.class_id, spec.memory_bytes) == (1, MEMORY)


def test_an_answer_of_another_model_fails_by_its_fingerprint() -> None:
    scored, _ = rerun(proof_of(), Played(off=2), MEMORY)
    assert (scored.outcome, ": a failure; " in scored.words) == (Outcome.FAILED, True)


def test_a_file_without_a_fingerprint_is_scored_by_its_margins_alone() -> None:
    proof = proof_of()
    assert proof.content is not None
    bought = replace(proof, content=replace(proof.content, proof=None))
    good, _ = rerun(bought, Played(off=2), MEMORY)
    assert (good.outcome, "10000 bp by the margins of its tokens alone" in good.words) == (Outcome.OK, True)
    bad, _ = rerun(bought, Played(margin=900_000), MEMORY)
    assert (bad.outcome, "a failure" in bad.words) == (Outcome.FAILED, True)


def test_an_answer_that_no_seat_would_check_earns_nothing() -> None:
    scored, _ = rerun(proof_of(), Played(problem="the prompt is another"), MEMORY)
    assert (scored.outcome, scored.words) == (Outcome.FAILED, "no seat could give a score but 0: the prompt is another")


def test_a_pass_that_left_something_else_is_no_judgement() -> None:
    scored, _ = rerun(proof_of(), Short(), MEMORY)
    assert scored.outcome is Outcome.UNKNOWN


class Short(Played):
    """Leaves half of a check.bin."""

    def check(self, spec: RunSpec, asked: bytes, answer: bytes) -> tuple[bytes, str]:
        return super().check(spec, asked, answer)[0][:100], ""


def test_a_fresh_answer_that_differs_is_a_share_and_no_failure() -> None:
    content = proof_of().content
    assert content is not None
    assert content.result is not None
    other = content.result.replace(b"31,32]", b"33,34]")
    _, fresh = rerun(proof_of(), Played(fresh=other), MEMORY)
    assert (fresh.outcome, "93.75 % of its words" in fresh.words) == (Outcome.OK, True)


def test_without_content_there_is_nothing_to_compute() -> None:
    bench = Played()
    found = rerun(replace(proof_of(), content=None), bench, MEMORY)
    assert {each.outcome for each in found} == {Outcome.ABSENT}
    assert bench.specs == []
