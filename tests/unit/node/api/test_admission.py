"""Refusals of a job before any peer is asked: each with its words and a way out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from node.api.admission import Market, admit, find_model
from node.api.faults import Exit, Fault, vcn
from node.api.views import LaneView, ModelView
from tests.fakes.backend import OWNER, PROVIDER, SMOL, VCN, VERIFIER, peer
from tests.support.scenes.admissions import ACCOUNT, ASK, market

REFUSED: list[tuple[str, dict[str, Any], dict[str, Any], int, Market, str, Exit, str]] = [
    ("long prompt", {}, {}, 8_100, market(), "exceeds the model's 8192", Exit.FAILED, "--max-tokens 92 at most"),
    ("hopeless prompt", {}, {}, 9_000, market(), "has 9000 tokens", Exit.FAILED, "less than 8192 tokens"),
    ("no node", {}, {}, 10, Market((), ACCOUNT, 0, OWNER), "no other node", Exit.RETRY_LATER, "vcoin status"),
    ("own node", {}, {}, 10, market(peer(owner=OWNER)), "no other node", Exit.RETRY_LATER, "vcoin status"),
    ("offline", {}, {}, 10, market(peer(online=False)), "none is online", Exit.RETRY_LATER, "try again later"),
    ("jailed", {}, {}, 10, market(peer(active=False)), "none is online", Exit.RETRY_LATER, "try again later"),
    ("draining", {}, {}, 10, market(peer(draining=True)), "draining or paused", Exit.RETRY_LATER, "try again later"),
    ("verifier", {}, {}, 10, market(peer(slots=0)), "draining or paused", Exit.RETRY_LATER, "try again later"),
    ("class", {}, {}, 10, market(peer(class_ids=(3,))), "accepted device class", Exit.RETRY_LATER, "try again"),
    ("score", {"min_reputation": 50}, {}, 10, market(), "50 points of reputation", Exit.RETRY_LATER, "try again"),
    ("stake", {}, {}, 10, market(peer(stake_wei=51 * VCN)), "the stake for a job", Exit.RETRY_LATER, "try again"),
    ("constants", {}, {"calibrated": ()}, 10, market(), "no constants", Exit.RETRY_LATER, "--uncalibrated"),
    ("cap", {"max_price_wei": VCN}, {}, 10, market(), "the cheapest asks 1.28", Exit.FAILED, "--max-price 1.28"),
    (
        "deposit",
        {},
        {},
        10,
        market(account=replace(ACCOUNT, free_wei=0)),
        "has 0 VCN free",
        Exit.FAILED,
        "vcoin account deposit 10",
    ),
    (
        "money",
        {"max_new_tokens": 4_000},
        {},
        10,
        market(account=replace(ACCOUNT, free_wei=11 * VCN)),
        "the job may cost 45.6",
        Exit.FAILED,
        "vcoin account deposit 35",
    ),
]


@pytest.mark.parametrize(
    ("ask", "model", "tokens", "there", "words", "code", "hint"),
    [case[1:] for case in REFUSED],
    ids=[case[0] for case in REFUSED],
)
def test_refused_with_words_and_a_way_out(
    ask: dict[str, Any], model: dict[str, Any], tokens: int, there: Market, words: str, code: Exit, hint: str
) -> None:
    with pytest.raises(Fault) as caught:
        admit(replace(ASK, **ask), replace(SMOL, **model), tokens, there)
    assert words in caught.value.message
    assert hint in caught.value.hint
    assert caught.value.kind.exit is code


def test_asks_for_the_classes_with_constants() -> None:
    assert admit(ASK, SMOL, 10, market()) == 0b110
    assert admit(replace(ASK, uncalibrated=True), replace(SMOL, calibrated=()), 10, market()) == 0xFFFF_FFF7


def test_a_gguf_file_is_asked_for_in_the_class_of_its_type_and_only_with_constants() -> None:
    there, model = market(peer(class_ids=(2, 1, 3))), replace(SMOL, dtype="q8_0", calibrated=(1, 3))
    assert admit(ASK, model, 10, there) == 0b1000
    assert admit(replace(ASK, uncalibrated=True), model, 10, there) == 0b1000
    with pytest.raises(Fault, match="no constants") as caught:
        admit(replace(ASK, uncalibrated=True), replace(model, calibrated=()), 10, there)
    assert "safetensors" in caught.value.hint


def test_prompt_and_answer_may_fill_the_context() -> None:
    admit(ASK, SMOL, SMOL.context - 128, market())
    with pytest.raises(Fault):
        admit(ASK, SMOL, SMOL.context - 127, market())


def test_money_in_the_lane_to_a_node_counts_for_that_node() -> None:
    lane = LaneView(PROVIDER, 20 * VCN, 0, 0, closing=False)
    held = replace(ACCOUNT, free_wei=0, lanes=(lane,))
    admit(ASK, SMOL, 10, market(account=held))
    for other in (replace(lane, node=VERIFIER), replace(lane, closing=True)):
        with pytest.raises(Fault, match="free"):
            admit(ASK, SMOL, 10, market(account=replace(held, lanes=(other,))))


def test_price_over_the_cap_is_none_of_the_money_that_is_needed() -> None:
    dear = peer(VERIFIER, price_wei=1_000 * VCN, stake_wei=10**6 * VCN)
    capped = replace(ASK, max_price_wei=2 * VCN)
    admit(capped, SMOL, 10, market(peer(), dear, account=replace(ACCOUNT, free_wei=10 * VCN)))


def test_exact_money_is_enough() -> None:
    cost = VCN * 14_592 // 10_000  # the worked example: 1.28 + 0.064 + 0.1152
    enough = Market((peer(),), replace(ACCOUNT, free_wei=cost), 0, OWNER)
    admit(ASK, SMOL, 10, enough)
    with pytest.raises(Fault):
        admit(ASK, SMOL, 10, replace(enough, account=replace(ACCOUNT, free_wei=cost - 1)))


def test_exact_money_for_a_checked_job_is_enough() -> None:
    cost = VCN * 20_352 // 10_000  # 1.28 + 0.64 + 0.1152
    enough = Market((peer(),), replace(ACCOUNT, free_wei=cost), 0, OWNER)
    admit(replace(ASK, checked=True), SMOL, 10, enough)
    with pytest.raises(Fault):
        admit(replace(ASK, checked=True), SMOL, 10, replace(enough, account=replace(ACCOUNT, free_wei=cost - 1)))


def other(name: str, manifest: str) -> ModelView:
    return replace(SMOL, name=name, manifest=manifest)


def test_model_is_found_by_name_or_id() -> None:
    models = (SMOL, other("b", "cd" * 32))
    assert find_model(SMOL.name, models) == SMOL
    assert find_model("cdcd", models) == models[1]
    assert find_model("smollm2", models) == SMOL
    assert find_model("b", (*models, other("bb", "ef" * 32))) == models[1], "a whole name means itself"


def adapted(word: str, adapter: str, base: str = SMOL.manifest) -> ModelView:
    return replace(SMOL, name=f"{SMOL.name}+{word}", manifest=adapter[::-1] * 32, adapter=adapter * 32, base=base)


def test_an_adapter_is_meant_with_its_base() -> None:
    models = (SMOL, adapted("pirate", "1a"), adapted("poet", "2b"), adapted("poet", "3c", base="cd" * 32))
    assert find_model(f"{SMOL.name}+pirate", models) == models[1]
    assert find_model("smol+pirate", models) == models[1]
    assert find_model("abab+2b2b", models) == models[2]
    # The beginning of a name means the base.
    assert find_model("smol", models) == SMOL
    for name in ("smol+3c3c", "smol+", "smol+pira", "smol+1", "+pirate"):
        with pytest.raises(Fault) as caught:
            find_model(name, models)
        assert caught.value.code == "unknown_model"
    with pytest.raises(Fault) as twice:
        find_model("smol+1a1a", (*models, adapted("again", "1a")))
    assert twice.value.code == "ambiguous"


@pytest.mark.parametrize(
    ("name", "models", "code", "hint"),
    [
        ("nope", (SMOL,), "unknown_model", f"one of: {SMOL.name}"),
        ("nope", (), "unknown_model", "vcoin model add --smollm2"),
        ("x", (SMOL,), "unknown_model", "one of"),
        ("", (SMOL,), "unknown_model", "one of"),
        ("ab", (SMOL,), "unknown_model", "one of"),
        (SMOL.name, (SMOL, other(SMOL.name, "cd" * 32)), "ambiguous", "give an id: abababababab"),
        ("smol", (SMOL, other("Smol", "cd" * 32)), "ambiguous", "cdcdcdcdcdcd (Smol)"),
        ("abab", (SMOL, other("b", "abab" + "00" * 30)), "ambiguous", "give an id"),
    ],
)
def test_model_that_cannot_be_meant(name: str, models: tuple[ModelView, ...], code: str, hint: str) -> None:
    with pytest.raises(Fault) as caught:
        find_model(name, models)
    assert caught.value.code == code
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("wei", "text"), [(0, "0"), (VCN, "1"), (VCN * 3 // 2, "1.5"), (1, "0.000000000000000001"), (-VCN // 2, "-0.5")]
)
def test_amount_shows_every_digit_that_counts(wei: int, text: str) -> None:
    assert vcn(wei) == text
