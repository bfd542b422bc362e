"""The rules of the stages, at their edges."""

import dataclasses
import hashlib
import itertools
import json
import struct

import pytest
from coincurve import PrivateKey

from protocol.errors import Malformed, OutOfTurn, Stale
from protocol.params import MAX_SKIPPED_ORDERS, VCN
from protocol.stages.assignment import (
    Assignment,
    Lane,
    TakenOrder,
    bonus_cap,
    bonus_of,
    charge_of,
    order_total,
    require_covered,
    verify_fee,
)
from protocol.stages.blob import ModelFile, ModelManifest, read_manifest
from protocol.stages.execution import InvalidResult, validate_fingerprint, validate_result
from protocol.stages.heartbeat import GpuGroup, is_offline, pauses
from protocol.stages.offer import price_of
from protocol.stages.reputation import ReputationRecord, score_terms
from protocol.stages.request import Request, accepts_class, require_fresh
from protocol.stages.sampling import ListSlot, draw_order, draw_samples
from protocol.stages.settlement import split
from protocol.stages.stop_order import with_stop_order
from protocol.stages.token_rules import TokenRules
from protocol.stages.verification import (
    Calibration,
    Tolerance,
    distances,
    margins_of,
    score,
    score_bps,
    token_margins,
)
from protocol.wire.ids import BatchId, JobId, PeerId, checksum, cid_of, peer_id_of, public_key_of
from protocol.wire.merkle import EMPTY, SumNode, climb, join, path, root

CLIENT = checksum("0x" + "c1" * 20)
NODE = checksum("0x" + "a1" * 20)


# --- money ----------------------------------------------------------------------------------------------------------
def test_the_worked_example_of_a_bill():
    """128 tokens at 10 VCN a thousand, 100 delivered, early, score 45."""
    price = price_of(10 * VCN, 128)
    assert price == 128 * VCN // 100
    assert order_total(price, with_bonus=True) == 14_592 * VCN // 10_000
    charge = charge_of(price, 100, 128)
    assert charge == VCN
    bonus = bonus_of(charge, bonus_cap(price), 79, 100)
    assert bonus == 9 * VCN // 100
    assert charge + verify_fee(charge) + bonus == 114 * VCN // 100
    parts = split(charge, verify_fee(charge), bonus, 4_500)
    assert (parts.burned, parts.reward, parts.bonus, parts.pooled) == (
        VCN // 10,
        6_525 * VCN // 10_000,
        9 * VCN // 100,
        2_975 * VCN // 10_000,
    )


@pytest.mark.parametrize(("actual", "earned"), [(79, True), (80, False), (81, False)])
def test_the_bonus_is_for_less_than_four_fifths_of_the_time(actual, earned):
    assert (bonus_of(1_000, 90, actual, 100) > 0) is earned


def test_without_a_cap_there_is_no_bonus():
    assert bonus_of(1_000, 0, 1, 100) == 0


@pytest.mark.parametrize(("delivered", "charge"), [(0, 100), (1, 100), (10, 100), (11, 110), (100, 1_000)])
def test_a_charge_is_the_share_but_a_tenth_at_least(delivered, charge):
    assert charge_of(1_000, delivered, 100) == charge


@pytest.mark.parametrize("score_hundredths", [0, 1, 4_500, 9_999, 10_000])
@pytest.mark.parametrize("price", [1, 9, 10, 11, 10**18, 2**96 - 1])
def test_a_split_loses_nothing_and_burns_a_tenth(price, score_hundredths):
    fee = verify_fee(price)
    parts = split(price, fee, 0, score_hundredths)
    assert parts.burned + parts.reward + parts.bonus + parts.pooled == price + fee
    assert parts.burned * 10 >= price
    assert parts.reward <= price - parts.burned


def lane_order(index, cumulative, total=100):
    order = dataclasses.make_dataclass("Order", ["assignment", "details"])
    details = dataclasses.make_dataclass("Details", ["max_total"])(total)
    return order(Assignment(CLIENT, CLIENT, NODE, index, cumulative, bytes(32)), details)


LANE = Lane(CLIENT, CLIENT, NODE, left=400, mark=200, jobs=2)
TAKEN = {3: TakenOrder(300, 100), 6: TakenOrder(600, 100)}


@pytest.mark.parametrize(
    ("index", "cumulative"),
    [
        (2, 300),
        (3, 400),
        (6, 600),
        (4, 399),
        (4, 501),
        (7, 699),
        (6 + MAX_SKIPPED_ORDERS + 2, 700),
    ],
    ids=[
        "settled",
        "taken",
        "taken last",
        "too little over the one below",
        "too much for the one above",
        "too little",
        "skips",
    ],
)
def test_an_order_that_the_lane_does_not_cover_is_refused(index, cumulative):
    wide = dataclasses.replace(LANE, left=500)
    require_covered(lane_order(6 + MAX_SKIPPED_ORDERS + 1, 700), wide, TAKEN, 2)
    with pytest.raises(OutOfTurn):
        require_covered(lane_order(index, cumulative), wide, TAKEN, 2)


@pytest.mark.parametrize("cumulative", [400, 450, 500])
def test_an_order_that_comes_after_a_newer_one_fits_in_between(cumulative):
    require_covered(lane_order(5, cumulative), LANE, TAKEN, 2)


def test_an_order_whose_number_was_settled_as_missing_is_refused():
    require_covered(lane_order(5, 400), LANE, TAKEN, 4)
    with pytest.raises(OutOfTurn, match="already"):
        require_covered(lane_order(5, 400), LANE, TAKEN, 5)


def test_an_order_above_what_the_lane_holds_is_refused():
    require_covered(lane_order(3, 600), LANE, {}, 2)
    with pytest.raises(OutOfTurn, match="cover"):
        require_covered(lane_order(3, 601), LANE, {}, 2)


def test_a_closing_lane_pays_for_nothing_new():
    lane = Lane(CLIENT, CLIENT, NODE, left=300, mark=200, jobs=2, closing=True)
    with pytest.raises(OutOfTurn):
        require_covered(lane_order(4, 400), lane, {3: TakenOrder(300, 100)}, 2)


# --- requests, beats, names -----------------------------------------------------------------------------------------
REQUEST = Request(CLIENT, CLIENT, bytes(32), 0, 64, 100, VCN, 2**32, 0b100, 120_000, 2_000, 0, "/ip4/1.2.3.4", 1)


@pytest.mark.parametrize(
    "change",
    [
        {"kind": 3},
        {"kind": 1, "max_new_tokens": 2_049},
        {"max_new_tokens": 0},
        {"max_new_tokens": 8_193},
        {"input_bytes": 0},
        {"timeout_ms": 999},
    ],
)
def test_a_request_nobody_would_run_cannot_be_made(change):
    with pytest.raises(ValueError, match=r"."):
        dataclasses.replace(REQUEST, **change)


def test_an_expired_request_is_stale():
    require_fresh(REQUEST, 1_999_999)
    with pytest.raises(Stale):
        require_fresh(REQUEST, 2_000_000)


def test_classes_are_bits():
    assert accepts_class(0b100, 2)
    assert not accepts_class(0b100, 1)
    assert not accepts_class(2**32 - 1, 40)


def gpu(temperature):
    return (GpuGroup("x", 1, temperature, 1, 1, 0, "12", "5"),)


@pytest.mark.parametrize(
    ("temperature", "paused", "after"),
    [(85, False, False), (86, False, True), (76, True, True), (75, True, True), (74, True, False)],
)
def test_heat_pauses_above_85_and_resumes_below_75(temperature, paused, after):
    assert pauses(gpu(temperature), paused=paused) is after


@pytest.mark.parametrize(("heartbeat_ms", "silent_ms"), [(30_000, 300_000), (5_000, 14_000)])
def test_a_node_is_offline_after_five_minutes_and_in_fast_mode_after_three_beats(heartbeat_ms, silent_ms):
    assert not is_offline(0, silent_ms, heartbeat_ms)
    assert is_offline(0, silent_ms + 1, heartbeat_ms)


def test_a_peer_id_carries_its_key():
    key = PrivateKey(b"\x02" * 32).public_key.format()
    assert peer_id_of(key).startswith("16Uiu2HA")
    assert public_key_of(peer_id_of(key)) == key


@pytest.mark.parametrize("text", ["", "0OIl", "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG", "1" * 200])
def test_other_peer_ids_carry_none(text):
    with pytest.raises(ValueError, match=r"."):
        public_key_of(PeerId(text))


# --- tree and draw --------------------------------------------------------------------------------------------------
def leaves(count):
    return [SumNode(hashlib.sha256(bytes([i])).digest(), i, 2 * i, 3 * i) for i in range(count)]


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 33])
def test_every_leaf_climbs_to_the_root_with_its_sums(count):
    nodes = leaves(count)
    top = root(nodes)
    assert (top.charge, top.bonus, top.ms) == tuple(k * sum(range(count)) for k in (1, 2, 3))
    for index, leaf in enumerate(nodes):
        assert climb(leaf, index, path(nodes, index)) == top
        if count > 1:
            wrong = dataclasses.replace(leaf, charge=leaf.charge + 1)
            assert climb(wrong, index, path(nodes, index)).hash != top.hash
            assert climb(leaf, index ^ 1, path(nodes, index)).hash != top.hash


def test_padding_is_on_the_right():
    a, b, c = leaves(3)
    assert root([a, b, c]) == join(join(a, b), join(c, EMPTY))


def test_every_leaf_is_drawn_at_exactly_its_rate():
    counts = [0] * 15
    rounds = 4_000
    for i in range(rounds):
        for index in draw_samples(hashlib.sha256(b"%d" % i).digest(), 15, 1_000):
            counts[index] += 1
    # Five standard deviations of a binomial around 1 in 10.
    assert all(abs(count - rounds / 10) < 5 * (rounds * 0.09) ** 0.5 for count in counts)


def test_probation_draws_everything():
    assert draw_samples(bytes(32), 7, 10_000) == tuple(range(7))


@pytest.mark.parametrize(("seed", "count", "rate"), [(b"", 1, 1_000), (bytes(32), 0, 1_000), (bytes(32), 1, 3_000)])
def test_a_draw_out_of_range_is_refused(seed, count, rate):
    with pytest.raises(ValueError, match="out of range"):
        draw_samples(seed, count, rate)


def test_seats_are_distinct_active_and_not_excluded():
    names = [checksum("0x" + f"{i:02x}" * 20) for i in range(1, 7)]
    slots = [ListSlot(name, 0, 2**40 - 1, 10_000) for name in names[:4]]
    slots += [ListSlot(names[4], 50, 2**40 - 1, 10_000), ListSlot(names[5], 0, 40, 10_000)]
    order = draw_order(bytes(32), BatchId(b"b" * 32), 50, slots, frozenset({names[0]}), 256)
    assert sorted(order) == sorted(names[1:4])
    assert order == draw_order(bytes(32), BatchId(b"b" * 32), 50, slots, frozenset({names[0]}), 512)


# --- reputation -----------------------------------------------------------------------------------------------------
def test_a_fresh_node_with_the_recommended_stake_has_45():
    assert score_terms(ReputationRecord(0, 0, 0, 0, 0, 0), 10_000 * VCN, 10_000 * VCN).score == 4_500


@pytest.mark.parametrize("penalty", [0, 3_000, 20_000])
def test_a_score_stays_between_0_and_100(penalty):
    perfect = ReputationRecord(10**6, 10**6, 0, 1_000, 1_000, penalty)
    assert 0 <= score_terms(perfect, 10**30, VCN).score <= 10_000


# --- results and scores ---------------------------------------------------------------------------------------------
MANIFEST = ModelManifest(
    "m", (ModelFile("tokenizer.json", cid_of(b"t"), 3),), "tokenizer.json", (2,), 2, "bf16", 8, 50, 1, 128, 1
)
JOB = JobId(b"j" * 32)


def result_json(**changes):
    plain = {
        "v": 1,
        "job_id": JOB.hex(),
        "salt": "ab" * 16,
        "manifest_sha256": MANIFEST.cid.hex(),
        "dtype": "bf16",
        "device_class": 2,
        "prompt_token_ids_sha256": "cd" * 32,
        "output_token_ids": [5, 6, 7],
        "finish": "eos",
    } | changes
    return json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()


def test_a_good_result_is_read():
    facts = validate_result(result_json(), JOB, MANIFEST, 10, "ab" * 16)
    assert facts.output_ids == (5, 6, 7)
    assert facts.result_hash == hashlib.sha256(result_json()).digest()


@pytest.mark.parametrize(
    "changes",
    [
        {"v": 2},
        {"job_id": "00" * 32},
        {"salt": "00" * 16},
        {"manifest_sha256": "00" * 32},
        {"prompt_token_ids_sha256": "no"},
        {"output_token_ids": [5, 50]},
        {"output_token_ids": [5, -1]},
        {"output_token_ids": [5, True]},
        {"output_token_ids": [5, 2, 6]},
        {"output_token_ids": [5] * 11},
        {"output_token_ids": "567"},
        {"finish": "length"},
        {"finish": "eos", "output_token_ids": [5] * 10},
        {"finish": "stop"},
        {"finish": None},
    ],
)
def test_a_bad_result_is_never_offered(changes):
    with pytest.raises(InvalidResult):
        validate_result(result_json(**changes), JOB, MANIFEST, 10, "ab" * 16)


def test_answer_that_its_client_stopped_may_have_any_length_but_the_whole_one():
    for ids in ([], [5], [5] * 9):
        raw = result_json(finish="stop_order", output_token_ids=ids)
        assert validate_result(raw, JOB, MANIFEST, 10, "ab" * 16, stop_ordered=True).delivered == len(ids)
        with pytest.raises(InvalidResult):
            validate_result(raw, JOB, MANIFEST, 10, "ab" * 16)
    for ids in ([5] * 10, [5, 2]):
        raw = result_json(finish="stop_order", output_token_ids=ids)
        with pytest.raises(InvalidResult):
            validate_result(raw, JOB, MANIFEST, 10, "ab" * 16, stop_ordered=True)
    # An order that came too late forbids no end of its own.
    assert validate_result(result_json(), JOB, MANIFEST, 10, "ab" * 16, stop_ordered=True).finish == "eos"


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"null", b"[" * 10_000, result_json()])
def test_only_an_answer_that_says_so_takes_a_stop_order_in(raw):
    assert with_stop_order(raw, bytes(65)) == raw


def test_only_a_schema_ends_an_answer_in_a_dead_end():
    ruled = TokenRules(schema='{"type":"object"}')
    raw = result_json(finish="dead_end", output_token_ids=[5] * 9)
    assert validate_result(raw, JOB, MANIFEST, 10, "ab" * 16, ruled).finish == "dead_end"
    for rules, ids in ((TokenRules(("x",)), [5] * 9), (ruled, []), (ruled, [5] * 10)):
        with pytest.raises(InvalidResult):
            validate_result(result_json(finish="dead_end", output_token_ids=ids), JOB, MANIFEST, 10, "ab" * 16, rules)
    with pytest.raises(InvalidResult):
        validate_result(result_json(finish="stop"), JOB, MANIFEST, 10, "ab" * 16, ruled)


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"null", b"[" * 10_000, b'{"v": 1}', result_json() + b" "])
def test_what_is_not_canonical_json_is_no_result(raw):
    with pytest.raises(InvalidResult):
        validate_result(raw, JOB, MANIFEST, 10)


NOISE = Calibration(
    Tolerance(32_000, 36_000), Tolerance(36_000, 44_000), Tolerance(15_000, 30_000), Tolerance(10**6, 2 * 10**6)
)


def fingerprint(values, scale=1.0):
    return struct.pack(f"<e{len(values)}b", scale, *values)


def check(values, margins, scale=1.0, mean_square=1_600.0):
    return struct.pack(f"<f{len(values)}hd{len(margins)}i", scale, *values, mean_square, *margins)


def test_equal_projections_and_no_margin_score_full():
    values = [40, -40] * 8
    assert score(fingerprint(values), check(values, [0, 0, 0]), 2, NOISE) == 10_000


def test_the_distance_is_the_relative_error():
    values = [40, -40] * 8
    off = [value + 1 for value in values]
    found = distances(fingerprint(values), check(off, [0, 0, 0]), 2)
    assert found.act == found.chunk == 25_000
    assert (found.tok, found.worst) == (0, 0)


def test_one_replaced_token_fails_by_its_margin_alone():
    values = [40, -40] * 8
    assert score(fingerprint(values), check(values, [0, 3_000_000, 0]), 2, NOISE) <= 8_500


def test_how_clearly_a_token_was_the_choice_is_told_and_costs_nothing():
    values = [40, -40] * 8
    clear = check(values, [-1_000_000, -1, 0])
    assert token_margins(clear, 2) == (-1_000_000, -1)
    assert margins_of(clear, 2) == (0, 0, 0)
    assert score(fingerprint(values), clear, 2, NOISE) == 10_000
    # It makes up for no token that was not.
    behind = [distances(fingerprint(values), check(values, [lead, 20_000, 0]), 2) for lead in (0, -1_000_000)]
    assert behind[0] == behind[1]


def test_a_forced_stop_fails_by_the_last_margin():
    values = [40, -40] * 8
    assert score(fingerprint(values), check(values, [0, 0, 3_000_000]), 2, NOISE) <= 8_500


@pytest.mark.parametrize(
    ("distance", "expected"), [(0, 10_000), (32_000, 9_500), (32_001, 9_500), (36_000, 8_500), (36_001, 8_499)]
)
def test_the_score_meets_its_bounds(distance, expected):
    assert score_bps(distance, Tolerance(32_000, 36_000)) == expected


@pytest.mark.parametrize("special", [float("nan"), float("inf")])
def test_a_check_with_a_number_that_is_none_is_refused(special):
    values = [40, -40] * 8
    with pytest.raises(ValueError, match="finite"):
        distances(fingerprint(values), check(values, [0, 0, 0], scale=special), 2)


@pytest.mark.parametrize("cut", [1, 4, 20])
def test_a_check_of_the_wrong_length_is_refused(cut):
    values = [40, -40] * 8
    with pytest.raises(ValueError, match=r"length|short"):
        distances(fingerprint(values), check(values, [0, 0, 0])[:-cut], 2)


@pytest.mark.parametrize("scale", [float("nan"), float("inf"), -1.0])
def test_a_proof_with_a_scale_that_is_none_is_refused(scale):
    with pytest.raises(InvalidResult, match="scale"):
        validate_fingerprint(fingerprint([0] * 8, scale), 1)


@pytest.mark.parametrize(("tokens", "size"), [(0, 0), (1, 10), (32, 258), (33, 268), (64, 516)])
def test_a_proof_has_258_bytes_a_chunk(tokens, size):
    validate_fingerprint(bytes(size), tokens)
    with pytest.raises(InvalidResult, match="length"):
        validate_fingerprint(bytes(size + 1), tokens)


# --- manifests ------------------------------------------------------------------------------------------------------
def test_a_manifest_is_read_back():
    assert read_manifest(MANIFEST.encode()) == MANIFEST


@pytest.mark.parametrize("where", ["../x", "/etc/passwd", "a//b", "a/./b", "", "a\\b", "a\0b"])
def test_a_path_out_of_the_folder_is_refused(where):
    bad = dataclasses.replace(MANIFEST, files=(ModelFile(where, cid_of(b"t"), 3),))
    with pytest.raises(Malformed):
        read_manifest(bad.encode())


@pytest.mark.parametrize("raw", [b"", b"{}", b"[]", b"[" * 5_000, MANIFEST.encode() + b" ", MANIFEST.encode()[:-1]])
def test_what_is_no_manifest_is_refused(raw):
    with pytest.raises(Malformed):
        read_manifest(raw)


def test_ranges_of_a_chain_of_tolerances_fall():
    scores = [score_bps(distance, Tolerance(32_000, 36_000)) for distance in range(0, 100_000, 500)]
    assert all(a >= b for a, b in itertools.pairwise(scores))
