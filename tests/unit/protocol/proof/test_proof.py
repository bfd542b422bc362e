"""The check of a proof: a good one holds, and whatever is changed in it is found, or is the chain's alone to say."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from chain.tx.wallet import Key
from node.wallet.sealing import seal
from protocol.errors import Malformed, TooLarge
from protocol.proof.check import Check, CheckOutcome
from protocol.proof.file import MAX_FILE_BYTES, CasePaper, MarginPaper, Proof, read_proof
from protocol.proof.verify import has_failed, verify
from protocol.stages.stop_order import STOP_ORDER, StopOrder, with_stop_order
from protocol.stages.verification import Verdict
from protocol.wire.document import encode
from tests.support.jobs import key, named
from tests.support.proofs import CLIENT, DOMAIN, NODE, Answer, Answered, Bench, answer_by_hand, proof_of

STRANGER = "0x000000000000000000000000000000000000dEaD"
ONLY_THE_CHAIN = {
    "batch.timestamp",
    "case.margin.confirmed",
    "case.margin.told",
    "case.seats[].scores[]",
    "case.verifiers[].from_block",
    "case.verifiers[].node",
    "case.verifiers[].operator",
    "case.verifiers[].owner",
    "case.verifiers[].until_block",
    "case.verifiers[].weight_bps",
    "noise.act_weights_hash",
    "noise.margin_scores_hash",
    *(f"noise.calibration.{term}.{end}" for term in ("act", "chunk", "tok", "worst") for end in ("d0", "d1")),
    "steps[].block",
    "steps[].transaction",
    "worker.owner",
}
"""Wrong claims of a file that do not contradict it; docs/verify.md names them, and --rpc finds them."""


def checks_of(proof: Proof) -> tuple[Check, ...]:
    return verify(read_proof(proof.encode()), seal)


def failed(proof: Proof) -> set[str]:
    return {each.name for each in checks_of(proof) if each.outcome is CheckOutcome.FAILED}


def test_a_good_proof_holds_in_every_check() -> None:
    found = checks_of(proof_of())
    assert {each.outcome for each in found} == {CheckOutcome.OK}, [
        each for each in found if each.outcome is not CheckOutcome.OK
    ]
    assert len({each.name for each in found}) == len(found) == 33
    assert all(each.words for each in found)


# --- whatever is changed --------------------------------------------------------------------------------------------
def flipped(plain: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """The file with one value changed, for every value in it."""
    if isinstance(plain, dict):
        for name, held in plain.items():
            for where, other in flipped(held, f"{path}.{name}" if path else name):
                yield where, {**plain, name: other}
    elif isinstance(plain, list):
        for place, held in enumerate(plain):
            for where, other in flipped(held, f"{path}[]"):
                yield where, [*plain[:place], other, *plain[place + 1 :]]
    elif plain != "":
        yield path, _other(plain)


def _other(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if value.startswith("0x"):
        return STRANGER
    if value.isdecimal() and len(value) < 40:
        return str(int(value) + 1)
    return value[:-1] + ("1" if value[-1] != "1" else "2")


def test_every_value_that_is_changed_is_found_or_is_for_the_chain_to_say() -> None:
    unnoticed = set()
    for where, plain in flipped(json.loads(proof_of().encode())):
        try:
            document = read_proof(encode(plain))
        except (Malformed, TooLarge):
            continue
        if not has_failed(verify(document, seal)):
            unnoticed.add(where)
    assert unnoticed == ONLY_THE_CHAIN


def _with(part: str, **changes: Any) -> Callable[[Proof], Proof]:
    return lambda proof: replace(proof, **{part: replace(getattr(proof, part), **changes)})


def _signed_by_another(proof: Proof) -> Proof:
    assert proof.papers.receipt is not None
    receipt = proof.papers.receipt
    other = replace(receipt, signature=key("thief").sign(receipt.receipt, DOMAIN))
    return replace(proof, papers=replace(proof.papers, receipt=other))


def _promised_by_another(proof: Proof) -> Proof:
    assert proof.papers.promise is not None
    signed = proof.papers.promise
    other = replace(signed, signature=CLIENT.sign(signed.accept, DOMAIN))
    return replace(proof, papers=replace(proof.papers, promise=other))


def _dearer(proof: Proof) -> Proof:
    """The client signs an order above the offer that it answers."""
    order = replace(proof.papers.order, details=named("other details"))
    return replace(proof, papers=replace(proof.papers, order=order, order_signature=CLIENT.sign(order, DOMAIN)))


def _other_answer(proof: Proof) -> Proof:
    """The node signs another result for the same job."""
    assert proof.papers.result is not None
    result = replace(proof.papers.result.result, result_hash=named("another answer"))
    signed = replace(proof.papers.result, result=result, signature=NODE.sign(result, DOMAIN))
    return replace(proof, papers=replace(proof.papers, result=signed))


def _seat(**changes: Any) -> Callable[[Proof], Proof]:
    def change(proof: Proof) -> Proof:
        assert proof.case is not None
        first, *rest = proof.case.seats
        return replace(proof, case=replace(proof.case, seats=(replace(first, **changes), *rest)))

    return change


def _sums(proof: Proof) -> Proof:
    assert proof.batch is not None
    return replace(proof, batch=replace(proof.batch, sums=replace(proof.batch.sums, ms=1)))


def _lie(proof: Proof) -> Proof:
    """The batch has no paid leaves, by what it declared."""
    assert proof.batch is not None
    return replace(proof, batch=replace(proof.batch, sums=replace(proof.batch.sums, ok_count=0)))


BROKEN: list[tuple[str, Callable[[Proof], Proof]]] = [
    ("request signed", _with("papers", request_signature=bytes(65))),
    ("offer signed", _with("worker", operator=CLIENT.address)),
    ("order signed", _with("papers", order_signature=bytes(65))),
    ("order agrees", _dearer),
    ("promise signed", _promised_by_another),
    ("result signed", _dearer),
    ("receipt signed", _signed_by_another),
    ("receipt signed", _other_answer),
    ("commitment opened", _with("papers", salt=named("another salt"))),
    ("leaf", _other_answer),
    ("batch named", _with("batch", block=1_001)),
    ("contents", _with("batch", contents_hash=named("other contents"))),
    ("money locked", _with("batch", fee=1)),
    ("number", _with("leaf", position=8)),
    ("leaf in root", _with("leaf", position=6)),
    ("sums", _sums),
    ("no lie", _lie),
    ("seed", _with("draw", seed_block=1_001)),
    ("leaves drawn", _with("draw", seed=named("another seed"))),
    ("seats drawn", _seat(node=NODE.address)),
    ("seats bound", _seat(digest=named("computed later"))),
    ("scores", _seat(scores=(9_900,))),
    ("scores", _seat(scores=(10_001, 10_000))),
    ("margins", _with("case", margin=MarginPaper(121, 120, 120))),
    ("margins", _with("case", margin=MarginPaper(120, 120, 21_418))),
    ("seats bound", _seat(llr_millinats=121)),
    ("seats bound", _seat(llr_millinats=2**40)),
    ("verdict", _seat(scores=(9_400, 10_000))),
    ("verdict", _with("case", verdict=Verdict.SEVERE)),
    ("verdict", _with("case", median=9_900)),
    ("money", _with("pay", reward=1)),
    ("money", _with("case", verdict=Verdict.REVIEW)),
    ("steps", lambda proof: replace(proof, steps=proof.steps[::-1] if proof.steps else None)),
    ("steps", lambda proof: replace(proof, steps=proof.steps[:-1] if proof.steps else None)),
    ("model", _with("model", name="another")),
    ("content key", _with("content", key=named("another key"))),
    ("input", _with("content", input=b"another question")),
    ("answer", _with("content", result=b"{}")),
    ("answer sealed", _with("content", result=b"{}")),
    ("fingerprint", _with("content", fingerprint=b"another")),
]


def stopped(by: Key) -> Answer:
    """An answer that is cut short by a stop order, which this key has signed."""

    def answer(job: bytes, nonce: bytes) -> Answered:
        whole = answer_by_hand(job, nonce)
        plain = json.loads(whole.result) | {"finish": STOP_ORDER}
        raw = json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()
        return replace(whole, result=with_stop_order(raw, by.sign(StopOrder(job), DOMAIN)))

    return answer


def test_short_answer_is_one_that_its_client_has_ordered() -> None:
    assert failed(proof_of(answer=stopped(CLIENT))) == set()
    assert "answer" in failed(proof_of(answer=stopped(NODE)))


@pytest.mark.parametrize(("name", "change"), BROKEN, ids=[f"{at}-{name}" for at, (name, _) in enumerate(BROKEN)])
def test_each_check_fails_for_what_it_is_about(name: str, change: Callable[[Proof], Proof]) -> None:
    assert name in failed(change(proof_of()))


@pytest.mark.parametrize(("amount", "is_party"), [(0, False), (1, True)])
def test_only_a_client_that_pays_is_kept_off_the_bench(amount: int, is_party: bool) -> None:
    proof = proof_of()
    assert proof.batch is not None
    assert proof.case is not None
    mine, other = proof.batch.contents.debits
    debits = replace(mine, client=proof.case.seats[0].node, amount=amount), other
    named_ = replace(proof, batch=replace(proof.batch, contents=replace(proof.batch.contents, debits=debits)))
    assert ("seats drawn" in failed(named_)) == is_party


def test_noise_constants_that_are_none_and_a_charge_that_is_too_small_are_found() -> None:
    proof = proof_of()
    assert proof.noise is not None
    band = replace(proof.noise.calibration.act, d0=0)
    row = replace(proof.noise.calibration, act=band)
    assert "noise constants" in failed(replace(proof, noise=replace(proof.noise, calibration=row)))
    assert proof.leaf is not None
    leaf = replace(proof.leaf.leaf, charge=1)
    assert "charge" in failed(replace(proof, leaf=replace(proof.leaf, leaf=leaf)))


# --- what is not there yet ------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "parts",
    [
        ("content",),
        ("noise", "model", "content"),
        ("pay",),
        ("pay", "case", "draw"),
        ("leaf", "batch", "pay", "case", "draw", "steps", "content"),
    ],
)
def test_what_is_missing_yet_is_named_and_nothing_is_wrong(parts: tuple[str, ...]) -> None:
    proof = replace(proof_of(), **dict.fromkeys(parts))
    if proof.steps is not None and "pay" in parts:
        kept = {"BatchSubmitted"} if "draw" in parts else {step.event for step in proof.steps} - {"BatchFinal"}
        proof = replace(proof, steps=tuple(step for step in proof.steps if step.event in kept))
    found = checks_of(proof)
    assert not has_failed(found), [each for each in found if each.outcome is CheckOutcome.FAILED]
    assert any(each.outcome is CheckOutcome.ABSENT and each.words for each in found)


def test_a_requesters_file_lacks_what_only_the_node_has() -> None:
    proof = proof_of()
    assert proof.leaf is not None
    papers = replace(proof.papers, salt=None, fingerprint_hash=None)
    found = checks_of(replace(proof, papers=papers, leaf=replace(proof.leaf, siblings=None), content=None))
    missing = {each.name for each in found if each.outcome is CheckOutcome.ABSENT}
    assert {"commitment opened", "leaf in root", "sums", "no lie"} < missing
    assert not has_failed(found)


def test_members_that_this_version_does_not_know_are_listed_and_not_checked() -> None:
    plain = json.loads(proof_of().encode())
    plain["case"]["evidence"] = {"margins": [1, 2]}
    plain["zz_later"] = "x"
    found = verify(read_proof(encode(plain)), seal)
    assert {each.name for each in found if each.outcome is CheckOutcome.UNKNOWN} == {"case.evidence", "zz_later"}
    assert not has_failed(found)


# --- how courts end -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "bench",
    [
        Bench((9_900,)),
        Bench((2_000, 2_100, 9_900), verdict=Verdict.SEVERE),
        Bench((9_900, None, 9_700)),
        Bench((9_900, 9_800, 9_700, 9_600)),
        Bench((2_000, None, 9_900), verdict=Verdict.SHORT, median=2_000),
        Bench((9_400, 9_300, 9_200), second=(9_900,) * 7),
        Bench((2_000, 2_000, 2_000), second=(9_900,) * 5, appealed=True),
        Bench((9_900, 9_900, 8_600), second=(8_000,) * 7),
        Bench((9_400, 9_300, 9_200), arbiters=True, verdict=Verdict.PASS),
        Bench((9_400, 9_300, 9_200), arbiters=True, verdict=Verdict.REVIEW),
        Bench((9_400, 9_300, 9_200), second=(9_900, None, None), verdict=Verdict.REVIEW, median=9_300),
        Bench((9_900, 9_900, 9_900), verdict=Verdict.SEVERE, confirmed=21_417),
    ],
)
def test_every_way_in_which_a_court_ends_is_known(bench: Bench) -> None:
    assert failed(proof_of(bench)) == set()


@pytest.mark.parametrize(
    "bench",
    [
        Bench((2_000, 2_100, 9_900), verdict=Verdict.PASS),
        Bench((9_900, 9_800, 9_700), verdict=Verdict.SEVERE),
        Bench((9_900, 9_800, 9_700), second=(2_000,) * 7),
        Bench((9_400, 9_300, 9_200), arbiters=True, verdict=Verdict.SEVERE),
        Bench((2_000,), verdict=Verdict.SEVERE, median=2_000),
        Bench((9_400, 9_300, 9_200), second=(9_900, None, None), verdict=Verdict.PASS, median=9_900),
    ],
    ids=["pardoned", "condemned", "grown for nothing", "arbiters slash", "one seat slashes", "too few decide"],
)
def test_a_verdict_that_the_seats_do_not_give_is_found(bench: Bench) -> None:
    assert "verdict" in failed(proof_of(bench))


def test_of_a_void_batch_that_was_ordered_to_be_checked_the_fee_may_stay_with_its_seats() -> None:
    proof = proof_of(Bench((2_000, 2_000, 2_000)))
    assert proof.batch is not None
    assert proof.pay is not None
    assert proof.pay.refunded is not None
    amounts = [debit.amount for debit in proof.batch.contents.debits]
    kept = sum(amount * proof.batch.fee // sum(amounts) for amount in amounts)
    pay = replace(proof.pay, refunded=sum(amounts) - kept)
    assert "money" in failed(replace(proof, pay=pay))
    # Its leaves were not ordered to be checked, so code could prove a lie; its money is right.
    assert "money" not in failed(replace(proof, pay=pay, batch=replace(proof.batch, checked=True)))


def test_what_code_has_proved_needs_no_seats() -> None:
    proof = proof_of(Bench((2_000, 2_000, 2_000)))
    assert proof.steps is not None
    case = CasePaper((), False, False, False, False, True, verdict=Verdict.SEVERE, median=0)
    kept = {"BatchSubmitted", "EpochSealed", "CaseResolved", "BatchRefunded"}
    steps = tuple(step for step in proof.steps if step.event in kept)
    assert failed(replace(proof, case=case, steps=steps)) == set()


# --- hostile files --------------------------------------------------------------------------------------------------
def _deep() -> bytes:
    return b'{"case":' * 100_000 + b"1" + b"}" * 100_000


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b'"proof"',
        b"\xff\xfe",
        b"not json",
        b'{"v":1',
        b'{"v":NaN}',
        b'{"v":1e3}',
        b'{"v":1.5}',
        b'{"v":Infinity}',
        b'{"v":1,"v":1}',
        b'{"v":' + b"9" * 5_000 + b"}",
        b'{"v":true}',
        b'{ "v": 1 }',
        b'{"v":2}',
        _deep(),
        b'{"v":1,"papers":' + b"[" * 50_000 + b"]" * 50_000 + b"}",
        b'{"v":1,"x":"' + b"a" * 1_000 + b'\\ud800"}',
    ],
)
def test_a_file_that_is_no_proof_is_refused_in_words(data: bytes) -> None:
    with pytest.raises(Malformed) as caught:
        read_proof(data)
    assert str(caught.value)


def test_a_file_above_the_limit_is_not_read() -> None:
    with pytest.raises(TooLarge):
        read_proof(b" " * (MAX_FILE_BYTES + 1))


def worse(plain: Any) -> Iterator[Any]:
    """The file with one value of another kind, out of bounds, or gone, for every value in it."""
    yield from _extremes(plain)
    if isinstance(plain, dict):
        for name, held in plain.items():
            yield {other: kept for other, kept in plain.items() if other != name}
            yield from ({**plain, name: other} for other in worse(held))
    elif isinstance(plain, list):
        for place, held in enumerate(plain):
            yield from ([*plain[:place], other, *plain[place + 1 :]] for other in worse(held))


def _extremes(value: Any) -> list[Any]:
    if isinstance(value, bool):
        return [not value, 0]
    if isinstance(value, int):
        return [0, 255, 2**16 - 1, 2**24 - 1, 2**32 - 1, 2**40 - 1, -1, 2**64, "1"]
    if isinstance(value, str):
        return ["", "0", "00" * 32, "00" * 65, str(2**64 - 1), str(2**96 - 1), 1]
    return [[], {}, None, *([value + value, value[:-1], value * 60] if isinstance(value, list) else [])]


def test_whatever_a_file_says_it_is_checked_to_the_end() -> None:
    plain = json.loads(proof_of(Bench((9_000, 9_000, 9_000), (9_600,) * 7)).encode())
    read = 0
    for number, other in enumerate(worse(plain)):
        # Each is seven milliseconds: all of them are for a fuzzer.
        if number % 11:
            continue
        try:
            document = read_proof(encode(other))
        except (Malformed, TooLarge):
            continue
        read += 1
        assert all(each.words or each.outcome is CheckOutcome.OK for each in verify(document, seal))
    assert read > 50
