"""The views of a case: by its state, by the leaves that this node holds, and on any terminal."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from chain.abi.enums import CaseState
from chain.contracts.court import ChainCase
from chain.read.batch_history import BatchHistory
from node.api.views import LeafView, TermView, TokenView
from node.cli.commands.review import Fresh, answered, shown, shown_to_programs
from node.cli.ui.columns import beside
from node.cli.ui.standing import CaseStanding, Votes
from protocol.stages.execution import RunSpec
from protocol.stages.verification import Verdict
from protocol.wire.ids import ZERO_ADDRESS, Wei
from tests.support.proofs import NODE, PASSED, Bench, proof_of

NOW = 1_700_000_000
OPEN = ChainCase(
    NODE.address, 3, 1, CaseState.OPEN, Verdict.NONE, 0, 3, 3, 3, 2, 0, Verdict.NONE, 0, NOW + 720, ZERO_ADDRESS, Wei(0)
)
LEAF = LeafView(
    leaf=7,
    holder="seat",
    kind="generate",
    job_id="ab" * 32,
    manifest="cd" * 32,
    model="tiny",
    class_id=1,
    temperature_milli=800,
    max_new_tokens=40,
    timeout_ms=0,
    seed="05" * 32,
    asked='{"messages":[]}',
    answer='{"output_token_ids":[1,2,3,4]}',
    question="Why is the sky blue?",
    text="the sky is blue",
    finish="eos",
    tokens=(TokenView("the sky", 0), TokenView(" is", 340_000), TokenView(" blue", 0)),
    stop_margin_ppm=1_200_000,
    terms=(TermView("act", 21_000, 32_000, 36_000, 9_672), TermView("tok", 40_000, 15_000, 30_000, 6_375)),
    score_bps=6_375,
    problem="",
)


def standing(bench: Bench = PASSED, **changes: object) -> CaseStanding:
    proof = proof_of(bench)
    assert proof.batch is not None
    history = BatchHistory(NODE.address, proof.batch, proof.draw, proof.case, None, ())
    case = replace(OPEN, **changes)  # type: ignore[arg-type]
    return CaseStanding(proof.batch.batch_id.hex(), history, case, Votes(1, 0, 2, 3), NOW)


def fact(lines: list[str], name: str) -> str:
    (line,) = [line for line in lines if line.startswith(name)]
    return line.removeprefix(name).strip()


@pytest.mark.parametrize(
    ("changes", "state", "default", "command"),
    [
        ({}, "open, round 1: 3 of 3 seats", "void, and the clients get their money back", ""),
        (
            {"round": 1, "standing": Verdict.SEVERE, "first_seat": 3},
            "open, round 2: 0 of 0 seats",
            "what the first round found stands: severe, fraud",
            "",
        ),
        (
            {"state": CaseState.DECIDED, "median": 2_000},
            "the seats found fraud at a median of 20 %",
            "the finding stands: the node is slashed and jailed",
            "vcoin case appeal",
        ),
        (
            {"state": CaseState.ARBITER, "median": 9_300},
            "the seats doubt it at a median of 93 %",
            "void: the doubt stays",
            "vcoin panel vote",
        ),
        (
            {"state": CaseState.DATA_CHALLENGE},
            "a seat has asked the node on chain",
            "the node withheld it",
            "",
        ),
        (
            {"state": CaseState.DATA_CHALLENGE, "standing": Verdict.SEVERE},
            "a seat has asked the node on chain",
            "the finding stands",
            "",
        ),
    ],
)
def test_every_state_has_its_deadline_its_default_and_what_one_may_do(
    changes: dict[str, object], state: str, default: str, command: str
) -> None:
    lines = shown(standing(**changes), (), {}, 100)
    assert fact(lines, "state").startswith(state)
    assert fact(lines, "if it passes").startswith(default)
    assert "1700000720 in the chain's seconds, which has 1700000000 now: 12 min left" in fact(lines, "deadline")
    assert command in "\n".join(lines)
    assert ("you may" in "\n".join(lines)) == bool(command)


def test_a_deadline_that_is_over_says_so_and_a_closed_case_has_none() -> None:
    over = shown(standing(until=NOW - 1), (), {}, 100)
    assert fact(over, "deadline").endswith("over: anyone may end it now")
    closed = shown(standing(state=CaseState.CLOSED, verdict=Verdict.PASS, until=0), (), {}, 100)
    assert fact(closed, "state") == "closed: pass, the batch is honest"
    assert not any(line.startswith(("deadline", "if it passes")) for line in closed)


def test_what_the_margins_of_many_cases_add_up_to_is_told_where_one_was_counted() -> None:
    told = fact(shown(standing(), (), {}, 100), "margins")
    assert told.startswith("the case counted 120 thousandths of a nat against the node, which has 120 of 21417")
    doubted = shown(standing(Bench((9_400, 9_300, 9_200))), (), {}, 100)
    assert not any(line.startswith("margins") for line in doubted)


def test_scores_stand_a_leaf_a_row_and_a_seat_a_column() -> None:
    lines = shown(standing(Bench((9_900, 8_400, None))), (), {}, 100)
    head = next(number for number, line in enumerate(lines) if line.startswith("LEAF"))
    rows = [line.split() for line in lines[head + 1 : head + 4]]
    assert [row[0] for row in rows] == ["7", "19", "seat"]
    assert rows[0][1:] == ["99", "%", "84", "%", "-"]
    assert rows[2][1:] == ["99", "%", "84", "%", "silent"]
    assert any("above 95 % a leaf passes" in line for line in lines)


def test_a_seat_sees_the_terms_and_the_tokens_that_it_would_not_have_said() -> None:
    text = "\n".join(shown(standing(), (LEAF,), {}, 120))
    assert "leaf 7, job abababab, tiny, held here as its seat" in text
    assert "asked: Why is the sky blue?" in text
    assert "the sky[ is|0.34] blue[end|1.20]" in text
    assert "tok   63.75 %     40000      15000       30000  mean margin of the tokens" in text


def test_a_fresh_answer_stands_beside_the_given_one() -> None:
    lines = shown(standing(), (LEAF,), {7: Fresh("the sky is grey", 7_500)}, 120)
    (row,) = [line for line in lines if line.endswith("the sky is grey")]
    assert row.startswith("the sky is blue ")
    assert any("computed again here: 75 % of it agrees" in line for line in lines)


def test_without_content_what_is_missing_is_said_with_who_has_it() -> None:
    lines = shown(standing(), (), {}, 60)
    text = " ".join(lines)
    assert "not here: the content of leaf 7, 19" in text
    assert NODE.address[:10] in text
    assert "vcoin job verify FILE --rerun" in text
    assert max(len(line) for line in lines if "not here" in line) <= 60


@pytest.mark.parametrize("width", [20, 64, 65, 80, 200])
def test_two_texts_fit_the_terminal(width: int) -> None:
    left = ("the node's answer", "word " * 60 + "\n\na new paragraph")
    right = ("computed again here", "other " * 40 + "a-very-long-word-" * 20)
    lines = beside(left, right, width)
    assert max(map(len, lines)) <= width
    assert sum(line.count("word ") + line.endswith("word") for line in lines) >= 60
    assert ("  |  " in lines[0]) == (width >= 65)


def test_programs_get_all_of_it() -> None:
    plain = json.loads(json.dumps(shown_to_programs(standing(), (LEAF,), {7: Fresh("x", 5_000)})))
    assert (plain["state"], plain["until"], plain["now"]) == ("open", NOW + 720, NOW)
    assert [seat["scores"][0] for seat in plain["seats"]] == [9_900, 9_800, 9_700]
    assert plain["leaves"][0]["tokens"][1] == {"text": " is", "margin_ppm": 340_000}
    assert plain["fresh"] == {"7": {"text": "x", "agrees_bps": 5_000}}


class Answering:
    """Answers with some tokens."""

    def __init__(self) -> None:
        self.spec: RunSpec | None = None

    def check(self, spec: RunSpec, asked: bytes, answer: bytes) -> tuple[bytes, str]:
        raise AssertionError("no test asks for a check")

    def answer(self, spec: RunSpec, asked: bytes) -> bytes:
        self.spec = spec
        assert asked == LEAF.asked.encode()
        return b'{"output_token_ids":[1,2]}'

    def text(self, manifest: bytes, ids: tuple[int, ...]) -> str:
        return {(1, 2): "the sky", (1, 2, 3, 4): LEAF.text}[ids]


def test_a_question_is_asked_again_as_it_was() -> None:
    bench = Answering()
    fresh = answered(LEAF, bench, 2**30)
    assert (fresh.text, fresh.agrees_bps) == ("the sky", 5_000)
    assert bench.spec is not None
    assert (bench.spec.temperature, bench.spec.seed.hex(), bench.spec.timeout_ms) == (800, "05" * 32, 120_000)
