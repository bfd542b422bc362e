"""Embeddings and classifications: what is accepted as a result, what it is worth, and who has read the texts."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import struct
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.judging.kinds import differ, is_calibrated, rows_of, score_of, validate
from protocol.judging.reading import WIDE, read_texts, units_of
from protocol.params import PASS_ABOVE_BPS, REVIEW_ABOVE_BPS
from protocol.stages.blob import ModelFile, ModelManifest
from protocol.stages.execution import InvalidResult
from protocol.stages.request import CLASSIFY, EMBED, GENERATE
from protocol.stages.verification import MAX_CHECK_BYTES, UNCALIBRATED, Tolerance, is_check_shown
from protocol.wire.ids import JobId, cid_of

JOB = JobId(hashlib.sha256(b"job").digest())
SALT = "ab" * 16
LABELS = ("news", "sports", "weather")
MODEL = ModelManifest(
    "tiny", (ModelFile("tokenizer.json", cid_of(b"t"), 1),), "tokenizer.json", (2,), 2, "bf16", 4, 64, 1, 256, 1
)
MEASURED = replace(UNCALIBRATED, calibrated=True, embed=Tolerance(15_000, 30_000), classify=Tolerance(80_000, 150_000))
READINGS = pytest.mark.parametrize("kind", [EMBED, CLASSIFY])


def asked(kind: int, count: int = 2, **changes: Any) -> bytes:
    plain: dict[str, Any] = {"v": 1, "salt": SALT, "texts": [f"text {n}" for n in range(count)]}
    if kind == CLASSIFY:
        plain["labels"] = list(LABELS)
    return json.dumps(plain | changes).encode()


def result(kind: int, texts: int = 2, **changes: Any) -> bytes:
    plain: dict[str, Any] = {
        "v": 1,
        "job_id": JOB.hex(),
        "salt": SALT,
        "manifest_sha256": MODEL.cid.hex(),
        "prompt_token_ids_sha256": "0" * 64,
        "tokens": [5] * texts,
    }
    if kind == EMBED:
        plain["embeddings"] = [[600_000, 0, -800_000, 0]] * texts
    else:
        plain["labels"] = list(LABELS)
        plain["logits"] = [[12_000_000, -3_000_000, 1]] * texts
    return json.dumps(plain | changes, sort_keys=True, separators=(",", ":")).encode()


def check(kind: int, *measured: tuple[int, ...], state: int = 40) -> bytes:
    """A check.bin over so many texts, each with what was measured of it."""
    out = b""
    for first in range(0, len(measured), 32):
        count = 8 * min(32, len(measured) - first)
        out += struct.pack(f"<f{count}hd", 1.0, *[state] * count, 1_600.0)
    width = {EMBED: 1, CLASSIFY: 2}[kind]
    assert all(len(each) == width for each in measured)
    return out + struct.pack(f"<{width * len(measured)}I", *(number for each in measured for number in each))


def fingerprint(texts: int, number: int = 40) -> bytes:
    """The fingerprint that `check` expects."""
    counts = (8 * min(32, texts - first) for first in range(0, texts, 32))
    return b"".join(struct.pack(f"<e{count}b", 1.0, *[number] * count) for count in counts)


# --- results ----------------------------------------------------------------------------------------------------------
@READINGS
def test_a_result_that_answers_every_text_is_accepted(kind: int):
    facts = validate(kind, result(kind), JOB, MODEL, 2, asked(kind))
    assert (facts.delivered, facts.rows, facts.finish) == (2, 2, "")
    assert facts.result_hash == hashlib.sha256(result(kind)).digest()
    assert rows_of(kind, result(kind)) == 2


@pytest.mark.parametrize(("tokens", "units"), [([1], 1), ([32], 1), ([33], 2), ([1, 1, 64], 4), ([8_192], 256)])
def test_a_unit_is_32_tokens_of_a_text_begun(tokens: list[int], units: int):
    assert units_of(tokens) == units


FAULTS: list[tuple[int, dict[str, Any], str]] = [
    (EMBED, {"tokens": [5]}, "tokens: count"),
    (EMBED, {"tokens": [5, 5, 5]}, "tokens: count"),
    (EMBED, {"tokens": "55"}, "tokens"),
    (EMBED, {"tokens": [5, 0]}, "tokens: range"),
    (EMBED, {"tokens": [5, 257]}, "tokens: range"),
    (EMBED, {"tokens": [5, 33]}, "more was read than was paid for"),
    (EMBED, {"tokens": [5, True]}, "tokens: range"),
    (EMBED, {"embeddings": [[600_000, 0, -800_000, 0]]}, "embeddings: count"),
    (EMBED, {"embeddings": None}, "embeddings: count"),
    (EMBED, {"embeddings": [[600_000, 0, -800_000]] * 2}, "embeddings: width"),
    (EMBED, {"embeddings": [[0, 0, 0, 0]] * 2}, "embeddings: length"),
    (EMBED, {"embeddings": [[600_000, 0, -600_000, 0]] * 2}, "embeddings: length"),
    (EMBED, {"embeddings": [[10**9, 0, 0, 0]] * 2}, "embeddings: range"),
    (EMBED, {"embeddings": [[0.6, 0, -0.8, 0]] * 2}, "embeddings: range"),
    (EMBED, {"embeddings": [["1000000", 0, 0, 0]] * 2}, "embeddings: range"),
    (EMBED, {"embeddings": [{"0": 1}] * 2}, "embeddings: width"),
    (CLASSIFY, {"logits": [[1, 2, 3]]}, "logits: count"),
    (CLASSIFY, {"logits": [[1, 2]] * 2}, "logits: width"),
    (CLASSIFY, {"logits": [[1, 2, 10**13]] * 2}, "logits: range"),
    (CLASSIFY, {"logits": [[1, 2, None]] * 2}, "logits: range"),
    (CLASSIFY, {"labels": ["sports", "news", "weather"]}, "labels"),
    (CLASSIFY, {"labels": None}, "labels"),
    (EMBED, {"salt": "00" * 16}, "salt"),
    (EMBED, {"job_id": "00" * 32}, "job_id"),
    (CLASSIFY, {"manifest_sha256": "00" * 32}, "manifest_sha256"),
    (CLASSIFY, {"prompt_token_ids_sha256": 1}, "prompt_token_ids_sha256"),
    (EMBED, {"v": 2}, "version"),
]


@pytest.mark.parametrize(("kind", "changes", "reason"), FAULTS)
def test_a_result_that_breaks_a_rule_is_refused_with_the_reason(kind: int, changes: dict[str, Any], reason: str):
    with pytest.raises(InvalidResult, match=f"^{reason}"):
        validate(kind, result(kind, **changes), JOB, MODEL, 2, asked(kind))


@pytest.mark.parametrize("raw", [b"", b"[]", b"{}", b"\xff", b'{"v":NaN}', b"[" * 99_999, b'{"tokens":{}}'])
@READINGS
def test_what_is_no_result_is_refused(kind: int, raw: bytes):
    with pytest.raises(InvalidResult):
        validate(kind, raw, JOB, MODEL, 2, asked(kind))
    with pytest.raises(InvalidResult):
        rows_of(kind, raw)


def test_a_result_of_another_kind_is_refused():
    for kind, other in ((EMBED, CLASSIFY), (CLASSIFY, EMBED)):
        with pytest.raises(InvalidResult):
            validate(kind, result(other), JOB, MODEL, 2, asked(kind))
    with pytest.raises(InvalidResult, match="kind 77"):
        rows_of(77, result(EMBED))


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        (EMBED, {"texts": []}),
        (EMBED, {"texts": "text"}),
        (EMBED, {"texts": ["x"] * 1_025}),
        (EMBED, {"labels": ["a", "b"]}),
        (CLASSIFY, {"labels": ["a"]}),
        (CLASSIFY, {"labels": ["a"] * 65}),
        (CLASSIFY, {"labels": ["a", 1]}),
        (CLASSIFY, {"labels": None}),
    ],
)
def test_an_input_to_which_there_is_no_honest_result_is_said_to_be(kind: int, changes: dict[str, Any]):
    with pytest.raises(InvalidResult, match=r"^the input"):
        read_texts(kind, asked(kind, **changes))
    with pytest.raises(InvalidResult, match=r"^the input"):
        validate(kind, result(kind), JOB, MODEL, 2, asked(kind, **changes))


def test_so_many_numbers_are_refused_that_no_honest_result_has_them():
    wide = replace(MODEL, hidden=4_096)
    unit = [10**6, *[0] * 4_095]
    with pytest.raises(InvalidResult, match="too many numbers"):
        validate(
            EMBED,
            result(EMBED, 65, embeddings=[unit] * 65, manifest_sha256=wide.cid.hex()),
            JOB,
            wide,
            65,
            asked(EMBED, 65),
        )


# --- scores -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("distances", "score"),
    [
        ([(0,)], 10_000),
        ([(15_000,)] * 32, 9_500),
        ([(30_000,)] * 32, 8_500),
        ([(31_000,)] * 32, 8_225),
        ([(35_676,)], 9_500),
        ([(0,)] * 16 + [(60_000,)] * 16, 6_010),
        ([(0,)] * 999 + [(140_000,)], 9_853),
        ([(0,)] * 999 + [(143_000,)], 0),
        ([(2**32 - 1,)], 0),
    ],
)
def test_embeddings_are_worth_their_root_mean_square_unless_one_is_clearly_another(
    distances: list[tuple[int, ...]], score: int
):
    found = check(EMBED, *distances)
    assert score_of(EMBED, fingerprint(len(distances)), found, len(distances), MEASURED) == score


def test_a_classification_of_many_texts_is_worth_their_root_mean_square():
    flat = check(CLASSIFY, *[(80_000, 0)] * 32)
    assert score_of(CLASSIFY, fingerprint(32), flat, 32, MEASURED) == 9_500
    half = check(CLASSIFY, *[(0, 0)] * 16, *[(300_000, 0)] * 16)
    # Half of them done well would not move a median at all.
    assert score_of(CLASSIFY, fingerprint(32), half, 32, MEASURED) <= REVIEW_ABOVE_BPS


def test_few_texts_have_more_room_as_chance_has():
    assert score_of(CLASSIFY, fingerprint(2), check(CLASSIFY, *[(159_999, 0)] * 2), 2, MEASURED) == 9_501
    assert score_of(CLASSIFY, fingerprint(3), check(CLASSIFY, *[(159_999, 0)] * 3), 3, MEASURED) < PASS_ABOVE_BPS


def test_one_text_alone_condemns_nobody_but_by_a_clearly_wrong_label():
    assert score_of(CLASSIFY, fingerprint(1), check(CLASSIFY, (4_000_000_000, 0)), 1, MEASURED) == REVIEW_ABOVE_BPS + 1
    assert score_of(CLASSIFY, fingerprint(1), check(CLASSIFY, (0, 700_000)), 1, MEASURED) == 10_000
    assert score_of(CLASSIFY, fingerprint(1), check(CLASSIFY, (0, 720_000)), 1, MEASURED) == 0


def test_one_clearly_wrong_label_among_many_fails():
    right = [(0, 0)] * 63
    assert score_of(CLASSIFY, fingerprint(64), check(CLASSIFY, *right, (0, 700_000)), 64, MEASURED) == 10_000
    assert score_of(CLASSIFY, fingerprint(64), check(CLASSIFY, *right, (0, 720_000)), 64, MEASURED) == 0


@READINGS
def test_a_check_of_another_length_is_no_check(kind: int):
    whole = check(kind, *[(0,) * (1 if kind == EMBED else 2)] * 3)
    for wrong in (b"", whole[:-1], whole + b"\0", whole[:20]):
        with pytest.raises(ValueError, match=r"check\.bin"):
            score_of(kind, fingerprint(3), wrong, 3, MEASURED)
    with pytest.raises(ValueError, match=r"check\.bin"):
        score_of(kind, b"", b"", 0, MEASURED)


@READINGS
def test_numbers_that_are_right_are_worth_nothing_without_the_states_behind_them(kind: int):
    found = check(kind, *[(0,) * (1 if kind == EMBED else 2)] * 40)
    assert score_of(kind, fingerprint(40), found, 40, MEASURED) == 10_000
    assert score_of(kind, fingerprint(40, 39), found, 40, MEASURED) > PASS_ABOVE_BPS
    assert score_of(kind, fingerprint(40, 37), found, 40, MEASURED) <= REVIEW_ABOVE_BPS
    for wrong in (b"", fingerprint(39), fingerprint(40) + b"\0", b"\0\x7c" + fingerprint(40)[2:]):
        with pytest.raises(InvalidResult, match=r"proof\.bin"):
            score_of(kind, wrong, found, 40, MEASURED)


def test_few_states_have_room_for_what_their_projections_leave_open():
    # Off by 2 in 40: over the 48,000 ppm that many states may be, and under half as much again of a single one.
    found = check(EMBED, *[(0,)] * 32 * 100)
    assert score_of(EMBED, fingerprint(32 * 100, 38), found, 32 * 100, MEASURED) <= PASS_ABOVE_BPS
    assert score_of(EMBED, fingerprint(1, 38), check(EMBED, (0,)), 1, MEASURED) > PASS_ABOVE_BPS


@READINGS
def test_a_row_without_constants_for_a_kind_is_none_for_it(kind: int):
    text_only = replace(MEASURED, embed=None, classify=None)
    assert is_calibrated(GENERATE, text_only)
    assert not is_calibrated(kind, text_only)
    assert is_calibrated(kind, MEASURED)
    assert not is_calibrated(kind, UNCALIBRATED)
    assert not is_calibrated(kind, replace(MEASURED, calibrated=False))
    just = check(EMBED, *[(WIDE[EMBED].d0,)] * 32)
    assert score_of(EMBED, fingerprint(32), just, 32, text_only) == PASS_ABOVE_BPS


# --- seats ------------------------------------------------------------------------------------------------------------
@READINGS
def test_a_seat_that_did_not_read_the_texts_has_no_states_of_them(kind: int):
    zero = (0,) * (1 if kind == EMBED else 2)
    own = check(kind, *[zero] * 40)
    assert not differ(kind, own, check(kind, *[zero] * 40), 40, MEASURED)
    # It can say of a result that it agrees with it, but not what stood behind it.
    assert differ(kind, own, check(kind, *[zero] * 40, state=39), 40, MEASURED) is False
    assert differ(kind, own, check(kind, *[zero] * 40, state=0), 40, MEASURED)
    for shown in (b"", own[:-1], own + b"\0\0\0\0", check(kind, *[zero] * 39)):
        assert differ(kind, own, shown, 40, MEASURED)
    assert not differ(kind, b"", b"", 40, MEASURED)


def test_checks_of_readings_fit_what_they_travel_in():
    most = check(CLASSIFY, *[(0, 0)] * 1_024)
    assert len(most) <= MAX_CHECK_BYTES
    assert is_check_shown(1_024)


# --- properties -------------------------------------------------------------------------------------------------------
WORDS = st.integers(0, 2**32 - 1)


@given(data=st.data(), kind=st.sampled_from([EMBED, CLASSIFY]), count=st.integers(1, 40))
def test_any_check_of_the_right_length_has_one_score(data: st.DataObject, kind: int, count: int):
    width = 1 if kind == EMBED else 2
    measured = data.draw(st.lists(st.tuples(*[WORDS] * width), min_size=count, max_size=count))
    found = check(kind, *measured)
    score = score_of(kind, fingerprint(count), found, count, MEASURED)
    assert 0 <= score <= 10_000
    assert score == score_of(kind, fingerprint(count), bytes(found), count, MEASURED)


@given(distances=st.lists(st.integers(0, 10**6), min_size=1, max_size=70), more=st.integers(1, 10**6))
def test_a_reading_that_is_further_off_is_never_worth_more(distances: list[int], more: int):
    for kind in (EMBED, CLASSIFY):
        rest = () if kind == EMBED else (0,)
        near = check(kind, *[(each, *rest) for each in distances])
        far = check(kind, *[(each + more, *rest) for each in distances])
        count = len(distances)
        assert score_of(kind, fingerprint(count), far, count, MEASURED) <= score_of(
            kind, fingerprint(count), near, count, MEASURED
        )


@given(raw=st.binary(max_size=400), kind=st.sampled_from([EMBED, CLASSIFY]), count=st.integers(0, 8))
def test_any_bytes_as_a_check_are_scored_or_refused(raw: bytes, kind: int, count: int):
    with contextlib.suppress(ValueError):
        assert 0 <= score_of(kind, fingerprint(count), raw, count, MEASURED) <= 10_000
    zero = (0,) * (1 if kind == EMBED else 2)
    assert differ(kind, check(kind, zero), raw, 1, MEASURED) in (True, False)


@given(
    plain=st.dictionaries(
        st.sampled_from(["tokens", "embeddings", "logits", "labels", "salt", "v"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=4),
            lambda inner: st.lists(inner, max_size=5),
            max_leaves=8,
        ),
    ),
    kind=st.sampled_from([EMBED, CLASSIFY]),
)
def test_a_result_with_anything_in_it_is_validated_or_refused(plain: dict[str, Any], kind: int):
    raw = result(kind, **plain)
    try:
        facts = validate(kind, raw, JOB, MODEL, 2, asked(kind))
    except InvalidResult:
        return
    assert facts.rows == 2


@given(numbers=st.lists(st.floats(-1, 1), min_size=4, max_size=4).filter(lambda v: math.hypot(*v) > 0.01))
def test_a_rounded_vector_of_length_one_is_accepted(numbers: list[float]):
    length = math.hypot(*numbers)
    vector = [round(10**6 * number / length) for number in numbers]
    assert validate(EMBED, result(EMBED, embeddings=[vector] * 2), JOB, MODEL, 2, asked(EMBED)).rows == 2
