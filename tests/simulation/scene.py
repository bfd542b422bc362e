"""The common part of simulated worlds: its network, one small model with its noise, and a job for it."""

from __future__ import annotations

import struct
from enum import Enum

from protocol import events as ev
from protocol.params import VCN, ChainRules
from protocol.stages.blob import ModelFile, ModelManifest
from protocol.stages.request import EMBED, GENERATE
from protocol.stages.verification import Calibration, MarginScores, Tolerance
from protocol.wire.envelope import Domain
from protocol.wire.ids import checksum, cid_of

DOMAIN = Domain(31337, checksum("0x" + "11" * 20))
RULES = ChainRules(
    profile="local",
    chain_id=31337,
    settlement=DOMAIN.contract,
    stake_manager=checksum("0x" + "22" * 20),
    epoch=4,
    lag=2,
    final_depth=2,
    seat_window_s=60,
    challenge_window_s=5,
    starved_s=120,
    court_value=VCN,
    min_stake=1_000 * VCN,
    recommended_stake=10_000 * VCN,
    min_deposit=10 * VCN,
    heartbeat_ms=5_000,
)
CLASS = 1
MANIFEST = ModelManifest(
    name="tiny",
    files=(ModelFile("tokenizer.json", cid_of(b"t"), 1),),
    tokenizer="tokenizer.json",
    eos_ids=(2,),
    pad_id=2,
    dtype="bf16",
    hidden=8,
    vocab=64,
    layers=1,
    context=256,
    needs_bytes=1,
)
MARGINS = MarginScores((1, 100_000), (-40, 300, 2_000))
CHEAPER_PPM = 100_000
"""By how much each token of a cheaper model is not the choice of the true one: too little for any single check."""
NOISE = Calibration(
    Tolerance(32_000, 36_000),
    Tolerance(36_000, 44_000),
    Tolerance(15_000, 30_000),
    Tolerance(10**6, 2 * 10**6),
    embed=Tolerance(15_000, 30_000),
    margins=MARGINS,
)
"""It was not measured for classification."""
START_MS = 1_800_000_000_000


class Work(Enum):
    """How well a node computes: as a seat's own pass finds, with doubts, something else altogether, or not at all.

    Adaptive: tokens of a cheaper model, and one pass of the true one for a fingerprint that agrees.
    """

    HONEST = "honest"
    DOUBTFUL = "doubtful"
    DISHONEST = "dishonest"
    FAILING = "failing"
    ADAPTIVE = "adaptive"


def fingerprint_bytes(tokens: int, work: Work) -> bytes:
    """A fingerprint of `tokens` tokens (at most 32); an honest one agrees with `check_bytes`."""
    match work:
        case Work.HONEST | Work.ADAPTIVE:
            values = [40] * (8 * tokens)
        case Work.DOUBTFUL:
            values = [38 if i % 2 else 40 for i in range(8 * tokens)]
        case Work.DISHONEST:
            values = [-40 if i % 2 else 25 for i in range(8 * tokens)]
    return struct.pack(f"<e{8 * tokens}b", 1.0, *values)


def check_bytes(tokens: int, work: Work, margin_ppm: int = 0) -> bytes:
    """A seat's own pass over an honest result, or one whose tokens have other margins."""
    values = [13 if work is Work.DISHONEST else 40] * (8 * tokens)
    return struct.pack(f"<f{8 * tokens}hd{tokens + 1}i", 1.0, *values, 1_600.0, *[margin_ppm] * tokens, 0)


def reading_bytes(kind: int, texts: int, work: Work, seat: Work) -> bytes:
    """A seat's own pass over so many texts that a node of such work has read; a dishonest seat has read none."""
    distance = {Work.HONEST: 5_000, Work.DOUBTFUL: 40_000}.get(work, 1_500_000) if seat is Work.HONEST else 0
    values = [13 if seat is Work.DISHONEST else 40] * (8 * texts)
    measured = [distance] * texts if kind == EMBED else [distance, 0] * texts
    return struct.pack(f"<f{8 * texts}hd{len(measured)}I", 1.0, *values, 1_600.0, *measured)


def ask(
    number: int = 1,
    max_new_tokens: int = 128,
    max_price_vcn: int = 20,
    now_ms: int = START_MS,
    temperature: int = 0,
    *,
    kind: int = GENERATE,
    uncalibrated: bool = False,
    checked: bool = False,
) -> ev.JobAsked:
    """A job for the tiny model, to be done within ten minutes."""
    return ev.JobAsked(
        ask_id=number.to_bytes(16, "big"),
        manifest=MANIFEST.cid,
        kind=kind,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        input_cid=cid_of(b"input%d" % number),
        input_bytes=100,
        content_key_hash=cid_of(b"key%d" % number),
        max_price=max_price_vcn * VCN,
        max_memory=2**32,
        classes=1 << CLASS,
        timeout_ms=max(120_000, 250 * max_new_tokens),
        deadline=now_ms // 1_000 + 600,
        min_reputation=0,
        with_bonus=True,
        uncalibrated=uncalibrated,
        checked=checked,
        nonce=number,
        sealed_input=b"sealed input",
    )
