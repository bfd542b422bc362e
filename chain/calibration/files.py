"""Calibration files: the noise constants of one model on each device class, measured and packaged with this release.

What counts is the row in Params; a file says what to write there at deployment and holds the whitening weights, which
are too long for the chain: their hash stands in the row.
"""

import hashlib
import json
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from protocol.errors import ConfigError
from protocol.stages.verification import Calibration, MarginScores, Tolerance
from protocol.wire.ids import ZERO_HASH, Cid

MAX_PPM = 2**31 - 1


@dataclass(frozen=True, slots=True)
class ClassNoise:
    """The constants of one class: from `answers` honest answers, with the runner of hash `runtime`."""

    calibration: Calibration
    answers: int
    runtime: bytes

    @property
    def margin_scores_hash(self) -> bytes:
        """Of the margin scores, as it stands in Params; zero without them."""
        margins = self.calibration.margins
        return margins.hash if margins else ZERO_HASH


@dataclass(frozen=True, slots=True)
class CalibrationFile:
    """One model's file; `act_weights` is fp16, little-endian, one for each hidden dimension."""

    manifest: Cid
    act_weights: bytes
    classes: dict[int, ClassNoise]

    @property
    def act_weights_hash(self) -> bytes:
        """sha256 of the weights, as it stands in Params."""
        return hashlib.sha256(self.act_weights).digest()


def packaged() -> list[CalibrationFile]:
    """Every calibration that comes with this release.

    Raises: ConfigError for a file that is none.
    """
    folder = files("chain") / "calibration"
    if not folder.is_dir():
        return []
    found = sorted((each for each in folder.iterdir() if each.name.endswith(".json")), key=lambda each: each.name)
    return [read(each.read_text(encoding="utf-8"), each.name) for each in found]


def packaged_for(manifest: Cid) -> CalibrationFile | None:
    """The calibration of one model; None if this release has none.

    Raises: ConfigError for a file that is none.
    """
    source = files("chain") / "calibration" / f"{manifest.hex()}.json"
    return read(source.read_text(encoding="utf-8"), source.name) if source.is_file() else None


def margin_scores(manifest: Cid, class_id: int, wanted: bytes) -> MarginScores | None:
    """The table that weighs the margins of a model on a class, if this release has the one of the network.

    Args: wanted, its hash in Params. Raises: ConfigError for a file that is none.
    """
    file = packaged_for(manifest)
    noise = file.classes.get(class_id) if file else None
    scores = noise.calibration.margins if noise else None
    return scores if scores is not None and scores.hash == wanted else None


def read(text: str, name: str) -> CalibrationFile:
    """Read a calibration file.

    Raises: ConfigError unless it is one, and named by the model that it is for.
    """
    try:
        plain = json.loads(text)
        if plain["v"] != 1:
            raise ValueError("version")
        found = CalibrationFile(
            manifest=Cid(_bytes32(plain["manifest"])),
            act_weights=bytes.fromhex(plain["act_w"]),
            classes={int(class_id): _noise(row) for class_id, row in plain["classes"].items()},
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ConfigError(f"{name} is no calibration file: {error!r:.200}") from error
    if name != f"{found.manifest.hex()}.json":
        raise ConfigError(f"{name} holds the calibration of {found.manifest.hex()}")
    return found


def _noise(row: dict[str, Any]) -> ClassNoise:
    act, chunk, tok, worst = (_tolerance(row[term]) for term in ("act", "chunk", "tok", "worst"))
    embed, classify = (_tolerance(row[kind]) if kind in row else None for kind in ("embed", "classify"))
    margins = _margins(row["margins"]) if "margins" in row else None
    calibration, answers = Calibration(act, chunk, tok, worst, True, embed, classify, margins), row["n"]
    if type(answers) is not int or answers < 1:
        raise ValueError(f"{answers!r:.40} answers")
    return ClassNoise(calibration, answers, _bytes32(row["runtime"]))


def _tolerance(pair: list[int]) -> Tolerance:
    d0, d1 = pair
    if type(d0) is not int or type(d1) is not int or not 0 < d0 < d1 <= MAX_PPM:
        raise ValueError(f"band {pair}")
    return Tolerance(d0, d1)


def _margins(plain: dict[str, Any]) -> MarginScores:
    edges, scores = tuple(plain["edges"]), tuple(plain["scores"])
    if any(type(each) is not int for each in edges + scores) or any(abs(edge) > MAX_PPM for edge in edges):
        raise ValueError(f"margins {plain!r:.80}")
    return MarginScores(edges, scores)


def _bytes32(text: str) -> bytes:
    raw = bytes.fromhex(text)
    if len(raw) != 32:
        raise ValueError("not 32 bytes")
    return raw
