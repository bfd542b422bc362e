"""Calibration files and profiles: what is read from the package, and what is refused."""

import dataclasses
import hashlib
import json
from typing import Any

import pytest

from chain.calibration import files as calibration
from chain.contracts.contract import DecodedLog
from chain.contracts.params import CalibrationRow, Params
from chain.contracts.profiles import FINAL_DEPTH, HEARTBEAT_MS, POLL_S, Profile, profiles
from chain.rpc.ethereum import Log
from protocol.errors import ConfigError
from protocol.events import CalibrationSeen
from protocol.params import VCN
from protocol.stages.verification import Calibration, MarginScores, Tolerance
from protocol.wire.ids import Address, Cid

MANIFEST = hashlib.sha256(b"manifest").hexdigest()
RUNTIME = hashlib.sha256(b"runtime").hexdigest()
ROW = {"act": [1, 2], "chunk": [3, 4], "tok": [5, 6], "worst": [7, 8], "n": 200, "runtime": RUNTIME}


def plain(**changes: Any) -> dict[str, Any]:
    return {"v": 1, "manifest": MANIFEST, "act_w": "003c" * 4, "classes": {"2": ROW}, **changes}


def read(content: dict[str, Any]) -> calibration.CalibrationFile:
    return calibration.read(json.dumps(content), f"{MANIFEST}.json")


def test_a_file_gives_the_constants_of_each_class() -> None:
    found = read(plain())
    assert found.manifest.hex() == MANIFEST
    noise = found.classes[2]
    assert (noise.calibration.act, noise.calibration.worst) == (Tolerance(1, 2), Tolerance(7, 8))
    assert (noise.calibration.chunk, noise.calibration.tok) == (Tolerance(3, 4), Tolerance(5, 6))
    assert (noise.answers, noise.runtime.hex(), noise.calibration.calibrated) == (200, RUNTIME, True)
    assert found.act_weights_hash == hashlib.sha256(bytes.fromhex("003c" * 4)).digest()


def test_a_row_goes_to_the_chain_in_the_order_of_the_struct() -> None:
    found = read(plain())
    row = CalibrationRow(found.classes[2].calibration, found.act_weights_hash)
    bands = ((1, 2), (3, 4), (5, 6), (7, 8), (0, 0), (0, 0))
    assert row.to_chain() == (*bands, found.act_weights_hash, bytes(32))


def test_a_file_may_hold_constants_for_other_kinds_and_weigh_the_margins() -> None:
    more = {"embed": [9, 10], "classify": [11, 12], "margins": {"edges": [100, 5_000], "scores": [-2, 40, 900]}}
    noise = read(plain(classes={"2": {**ROW, **more}})).classes[2]
    assert (noise.calibration.embed, noise.calibration.classify) == (Tolerance(9, 10), Tolerance(11, 12))
    margins = MarginScores((100, 5_000), (-2, 40, 900))
    assert noise.calibration.margins == margins
    row = CalibrationRow(noise.calibration, bytes(32), noise.margin_scores_hash)
    assert row.to_chain()[4:] == ((9, 10), (11, 12), bytes(32), margins.hash)


def test_the_hash_of_margin_scores_is_that_of_edges_and_scores() -> None:
    packed = b"".join(each.to_bytes(4, "big", signed=True) for each in (2, 100, 5_000, -2, 40, 900))
    told = MarginScores((100, 5_000), (-2, 40, 900)).hash
    assert told == hashlib.sha256(b"vcoin/margin-scores/1" + packed).digest()
    assert told != MarginScores((100, 5_000), (-2, 40, 901)).hash


@pytest.fixture
def packaged(monkeypatch: pytest.MonkeyPatch) -> MarginScores:
    """This release has a file with a table of margins for class 2."""
    more = {"margins": {"edges": [100], "scores": [-2, 40]}}
    found = read(plain(classes={"1": ROW, "2": {**ROW, **more}}))
    monkeypatch.setattr(calibration, "packaged_for", lambda manifest: found if manifest == found.manifest else None)
    return MarginScores((100,), (-2, 40))


def seen(class_id: int, margin_scores_hash: bytes) -> Calibration:
    """The calibration that a node is told of a row with this hash."""
    row = CalibrationRow(read(plain()).classes[2].calibration, bytes(32), margin_scores_hash)
    params = Params(None, Address("0x" + "00" * 20))  # type: ignore[arg-type]
    log = Log(*[None] * len(dataclasses.fields(Log)))  # type: ignore[arg-type]
    fact = params.fact(DecodedLog("CalibrationAdded", (Cid(bytes.fromhex(MANIFEST)), class_id, row.to_chain()), log))
    assert isinstance(fact, CalibrationSeen)
    return fact.calibration


def test_a_row_is_told_with_the_table_that_its_hash_names(packaged: MarginScores) -> None:
    assert seen(2, packaged.hash).margins == packaged


def test_another_table_than_the_networks_is_not_used(packaged: MarginScores, caplog: pytest.LogCaptureFixture) -> None:
    assert seen(2, MarginScores((100,), (-2, 41)).hash).margins is None
    assert seen(1, packaged.hash).margins is None, "the file has none for that class"
    assert caplog.text.count("another table of margins than the network") == 2


def test_a_row_without_a_table_has_no_margins(packaged: MarginScores, caplog: pytest.LogCaptureFixture) -> None:
    assert seen(2, bytes(32)).margins is None
    assert not caplog.records
    assert packaged.scores


@pytest.mark.parametrize(
    "changes",
    [
        {"v": 2},
        {"manifest": "ab"},
        {"act_w": "xyz"},
        {"classes": {"two": ROW}},
        {"classes": {"2": {**ROW, "act": [2, 2]}}},
        {"classes": {"2": {**ROW, "act": [0, 2]}}},
        {"classes": {"2": {**ROW, "act": [1, 2**32]}}},
        {"classes": {"2": {**ROW, "act": [1.0, 2.0]}}},
        {"classes": {"2": {**ROW, "runtime": "ab"}}},
        {"classes": {"2": {**ROW, "embed": [2, 2]}}},
        {"classes": {"2": {**ROW, "margins": {"edges": [1], "scores": [1]}}}},
        {"classes": {"2": {**ROW, "margins": {"edges": [2, 2], "scores": [1, 2, 3]}}}},
        {"classes": {"2": {**ROW, "margins": {"edges": [1.5], "scores": [1, 2]}}}},
        {"classes": {"2": {**ROW, "margins": {"edges": [1], "scores": [1, 20_001]}}}},
        {"classes": {"2": {**ROW, "margins": {"edges": [*range(1, 65)], "scores": [1] * 65}}}},
        {"classes": []},
    ],
)
def test_a_file_that_is_none_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="is no calibration file"):
        read(plain(**changes))


def test_a_file_is_named_by_its_model() -> None:
    with pytest.raises(ConfigError, match="holds the calibration of"):
        calibration.read(json.dumps(plain()), f"{RUNTIME}.json")


def test_every_packaged_file_can_be_read() -> None:
    found = calibration.packaged()
    assert [calibration.packaged_for(each.manifest) for each in found] == found


def test_a_model_without_a_file_has_none() -> None:
    assert calibration.packaged_for(Cid(bytes(32))) is None


def test_every_profile_comes_back_from_the_chain_as_it_went() -> None:
    for name, profile in profiles().items():
        assert Profile.from_chain(profile.to_chain()) == profile
        assert profile.name == name
        assert {name} <= FINAL_DEPTH.keys() & POLL_S.keys() & HEARTBEAT_MS.keys()


def test_the_profiles_have_the_numbers_of_the_design() -> None:
    local, testnet, main = (profiles()[name] for name in ("local", "testnet", "main"))
    assert [(each.epoch_blocks, each.lag_blocks) for each in (local, testnet, main)] == [(4, 2), (16, 8), (32, 32)]
    assert {each.min_stake for each in (local, testnet, main)} == {1_000 * VCN}
    assert (local.slash_bps, testnet.slash_bps, main.slash_bps) == (5_000, 5_000, 0)
    assert (local.challenge_seconds, testnet.challenge_seconds, main.challenge_seconds) == (5, 3_600, 86_400)


def test_a_foreign_profile_keeps_its_name() -> None:
    odd = profiles()["local"].to_chain()
    assert Profile.from_chain((b"devnet".ljust(32, b"\0"), *odd[1:])).name == "devnet"
