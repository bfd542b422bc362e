"""Write tests/vectors/*.json, and their values in docs/wire.md: what every implementation must compute.

    python -m scripts.make_vectors            # write
    python -m scripts.make_vectors --check    # compare; exit 1 if a committed file differs

Bytes are hex strings with 0x, amounts in wei decimal strings, everything else plain numbers. forge reads the same files
in tests/contracts/Vectors.t.sol.
"""

import argparse
import dataclasses
import json
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from eth_account import Account
from eth_utils.crypto import keccak

from protocol.params import VCN
from protocol.stages.assignment import (
    Accept,
    Assignment,
    JobDetails,
    LaneOpen,
    OperatorConsent,
    Refuse,
    verify_fee,
)
from protocol.stages.commitment import Leaf, Receipt, Result, batch_id, leaf_hash
from protocol.stages.offer import Offer
from protocol.stages.reputation import ReputationRecord, score_terms
from protocol.stages.request import Request
from protocol.stages.sampling import ListSlot, batch_seed, draw_order, draw_samples, epoch_of, is_audited, seed_block
from protocol.stages.settlement import convene_pay, seat_pay, split
from protocol.wire.envelope import TYPES, Domain, compact, digest, sign_digest, struct_hash
from protocol.wire.ids import Address, checksum
from protocol.wire.merkle import path, root
from scripts import fraud_vectors, gumbel_vectors, layout_vectors, wire_document, wire_vectors

VECTORS = Path(__file__).resolve().parent.parent / "tests" / "vectors"
TRIES_PER_SEAT = 64
RECOMMENDED_STAKE = 10_000 * VCN
Case = dict[str, Any]


def hexed(raw: bytes) -> str:
    """0x and lower-case hex."""
    return "0x" + raw.hex()


def word(name: str) -> bytes:
    """32 bytes that look random and are not."""
    return keccak(text=name)


def address(name: str) -> Address:
    """An address that looks random and is not."""
    return checksum(hexed(word(name)[12:]))


# --- sum tree -------------------------------------------------------------------------------------------------------
def _leaf(number: int, dice: random.Random) -> Leaf:
    status = dice.choice((0, 0, 0, 1, 2))
    charge = dice.randrange(1, 250 * VCN) if status == 0 else 0
    return Leaf(
        client=address(f"client {number % 3}"),
        signer=address(f"signer {number % 3}"),
        index=number + 1,
        details=word(f"details {number}"),
        charge=charge,
        bonus=charge * 9 // 100 if dice.random() < 0.5 else 0,
        actual_ms=dice.randrange(1, 120_000) if status == 0 else 0,
        result_hash=word(f"result {number}"),
        output_commit=word(f"output {number}"),
        receipt_hash=word(f"receipt {number}"),
        status=status,
    )


def _leaf_case(leaf: Leaf) -> Case:
    return {
        "client": leaf.client,
        "signer": leaf.signer,
        "index": leaf.index,
        "details": hexed(leaf.details),
        "charge": str(leaf.charge),
        "bonus": str(leaf.bonus),
        "actualMs": leaf.actual_ms,
        "resultHash": hexed(leaf.result_hash),
        "outputCommit": hexed(leaf.output_commit),
        "receiptHash": hexed(leaf.receipt_hash),
        "status": leaf.status,
        "hash": hexed(leaf_hash(leaf)),
    }


def sumtree() -> Iterator[Case]:
    """Trees of different sizes with one opened leaf each."""
    dice = random.Random("sumtree")
    for count in (1, 2, 3, 4, 5, 8, 13, 33):
        leaves = [_leaf(number, dice) for number in range(count)]
        nodes = [leaf.node for leaf in leaves]
        top, opened = root(nodes), dice.randrange(count)
        siblings = path(nodes, opened)
        yield {
            "leaves": [_leaf_case(leaf) for leaf in leaves],
            "root": hexed(top.hash),
            "charge": str(top.charge),
            "bonus": str(top.bonus),
            "ms": top.ms,
            "opened": opened,
            "pathHashes": [hexed(one.hash) for one in siblings],
            "pathCharges": [str(one.charge) for one in siblings],
            "pathBonuses": [str(one.bonus) for one in siblings],
            "pathMs": [one.ms for one in siblings],
        }


# --- draws ----------------------------------------------------------------------------------------------------------
def sampling() -> Iterator[Case]:
    """Seeds of batches and the leaves that they draw."""
    dice = random.Random("sampling")
    for number, (count, rate) in enumerate(
        [(1, 1_000)] * 12
        + [(n, r) for n in (1, 2, 7, 10, 11, 20, 25, 99, 100, 2_560) for r in (10_000, 5_000, 1_000)]
        + [(dice.randrange(1, 300), 1_000) for _ in range(12)]
    ):
        node, slot, block = address(f"node {number}"), dice.randrange(64), dice.randrange(1, 10**7)
        epoch_seed, batch = word(f"epoch seed {number}"), batch_id(node, slot, block)
        seed = batch_seed(epoch_seed, batch)
        drawn = draw_samples(seed, count, rate)
        yield {
            "node": node,
            "slot": slot,
            "commitBlock": block,
            "batchId": hexed(batch),
            "epochSeed": hexed(epoch_seed),
            "epochBlocks": 4,
            "lagBlocks": 2,
            "epoch": epoch_of(block, 4),
            "seedBlock": seed_block(epoch_of(block, 4), 4, 2),
            "seed": hexed(seed),
            "leafCount": count,
            "rateBps": rate,
            "drawnCount": len(drawn),
            "drawn": list(drawn) if len(drawn) <= 300 else list(drawn[:300]),
            "audited": is_audited(epoch_seed, batch),
        }


def _slots(dice: random.Random, count: int, commit_block: int) -> list[ListSlot]:
    blocks = sorted(dice.randrange(1, commit_block + 20) for _ in range(count))
    forever = 2**40 - 1
    return [
        ListSlot(
            node=address(f"verifier {number % (count * 4 // 5 + 1)}"),
            from_block=block,
            until_block=dice.choice((forever, forever, forever, dice.randrange(block, commit_block + 40))),
            weight_bps=dice.choice((10_000, 10_000, 2_500, 500, 1)),
        )
        for number, block in enumerate(blocks)
    ]


def seats() -> Iterator[Case]:
    """Verifier lists, and who is seated out of them, three at a convening and the next in line."""
    dice = random.Random("seats")
    for number in range(24):
        commit_block = dice.randrange(100, 10_000)
        slots = _slots(dice, dice.choice((0, 1, 3, 3, 5, 20, 60)), commit_block)
        excluded = [slot.node for slot in slots if dice.random() < 0.1][:3]
        seed, batch = word(f"seed {number}"), batch_id(address(f"node {number}"), number, commit_block)
        for wanted in (1, 3):
            found = draw_order(seed, batch, commit_block, slots, frozenset(excluded), TRIES_PER_SEAT * wanted)
            yield {
                "seed": hexed(seed),
                "batchId": hexed(batch),
                "commitBlock": commit_block,
                "nodes": [slot.node for slot in slots],
                "fromBlocks": [slot.from_block for slot in slots],
                "untilBlocks": [slot.until_block for slot in slots],
                "weights": [slot.weight_bps for slot in slots],
                "excluded": excluded,
                "wanted": wanted,
                "seated": found[:wanted],
            }


# --- money and reputation -------------------------------------------------------------------------------------------
def money() -> Iterator[Case]:
    """Splits; the first is the worked example: 1 VCN charged, early, by a node of 45 points."""
    dice = random.Random("split")
    yield _split_case(VCN, 9 * VCN // 100, 4_500)
    for charge in (0, 1, 9, 10, 11, 19, 20, 21, 2**90):
        for score in (0, 1, 4_999, 5_000, 9_999, 10_000):
            yield _split_case(charge, charge * 9 // 100, score)
    # Around the part of a case's pay that is the seats' alone, and where a fifth begins to be less than all above it.
    for charge in (VCN - 20, VCN, VCN + 20, 5 * VCN // 4 - 100, 5 * VCN // 4, 5 * VCN // 4 + 100):
        yield _split_case(charge, 0, 3)
    for _ in range(50):
        charge = dice.randrange(1, 10_000 * VCN)
        yield _split_case(charge, dice.randrange(charge * 9 // 100 + 1), dice.randrange(10_001))


def _split_case(charge: int, bonus: int, score: int) -> Case:
    fee, rate = verify_fee(charge), (10_000, 5_000, 1_000)[score % 3]
    parts = split(charge, fee, bonus, score)
    leaves = 1 + score % 37
    drawn = max(1, leaves * rate // 10_000)
    pay = seat_pay(fee, drawn, leaves, rate)
    return {
        "charge": str(charge),
        "fee": str(fee),
        "bonus": str(bonus),
        "scoreHundredths": score,
        "burned": str(parts.burned),
        "reward": str(parts.reward),
        "pooled": str(parts.pooled),
        "ratePercent": rate // 100,
        "drawn": drawn,
        "leafCount": leaves,
        "seatPay": str(pay),
        "convenePay": str(convene_pay(fee)),
    }


def reputation() -> Iterator[Case]:
    """Scores; the first is a fresh node at the recommended stake: 45 points."""
    dice = random.Random("reputation")
    yield _score_case(ReputationRecord(0, 0, 0, 0, 0, 0), RECOMMENDED_STAKE)
    for _ in range(80):
        total = dice.choice((0, 1, 19, 20, 1_000, 2**32 - 1, dice.randrange(100_000)))
        days = dice.randrange(3_000)
        record = ReputationRecord(
            successes=dice.randrange(total + 1),
            total=total,
            response_ms=dice.choice((0, min(total * dice.randrange(1, 120_000), 2**48 - 1))),
            check_in_days=dice.randrange(days + 2),
            days_active=days,
            penalty=dice.choice((0, 500, 1_500, 3_000, dice.randrange(1_001) * 10)),
        )
        yield _score_case(record, dice.choice((0, 1_000 * VCN, RECOMMENDED_STAKE - 1, dice.randrange(30_000 * VCN))))


def _score_case(record: ReputationRecord, stake: int) -> Case:
    terms = score_terms(record, stake, RECOMMENDED_STAKE)
    return {
        "successes": record.successes,
        "total": record.total,
        "responseMs": record.response_ms,
        "checkInDays": record.check_in_days,
        "daysActive": record.days_active,
        "penaltyTenths": record.penalty // 10,
        "stake": str(stake),
        "recommendedStake": str(RECOMMENDED_STAKE),
        "successTerm": terms.success,
        "speedTerm": terms.speed,
        "uptimeTerm": terms.uptime,
        "stakeTerm": terms.stake,
        "score": terms.score,
    }


# --- messages -------------------------------------------------------------------------------------------------------
MESSAGES: tuple[type, ...] = (
    Request,
    Offer,
    JobDetails,
    Assignment,
    Accept,
    Refuse,
    Result,
    Receipt,
    LaneOpen,
    OperatorConsent,
)


# A Request is refused where a number is outside of what a node would run.
REQUEST_RANGES = {"kind": 0, "max_new_tokens": 8_192, "input_bytes": 65_536, "timeout_ms": 120_000, "max_memory": 2**30}


def messages() -> Iterator[Case]:
    """Every signed message twice, with its hash, its digest in one domain and a signature."""
    dice = random.Random("messages")
    domain = Domain(31_337, address("settlement"))
    for kind in MESSAGES:
        for number in range(2):
            secret = word(f"secret {kind.__name__} {number}")
            values = _values(TYPES[kind], kind, dice)
            message = kind(**values | (REQUEST_RANGES if kind is Request else {}))
            signed = sign_digest(digest(message, domain), secret)
            r, vs = compact(signed)
            yield {
                "name": kind.__name__,
                "type": TYPES[kind],
                "chainId": domain.chain_id,
                "verifyingContract": domain.contract,
                "domainSeparator": hexed(domain.separator),
                "fields": _shown(TYPES[kind], message),
                "structHash": hexed(struct_hash(message)),
                "digest": hexed(digest(message, domain)),
                "signer": checksum(Account.from_key(secret).address),
                "signature": hexed(signed),
                "r": hexed(r),
                "vs": hexed(vs),
            }


def _members(signature: str) -> list[tuple[str, str]]:
    return [
        (kind, name)
        for kind, name in (member.split(" ") for member in signature[signature.index("(") + 1 : -1].split(","))
    ]


def _values(signature: str, cls: type, dice: random.Random) -> dict[str, Any]:
    fields = [field.name for field in dataclasses.fields(cls)]
    return {field: _value(kind, dice) for field, (kind, _) in zip(fields, _members(signature), strict=True)}


def _value(kind: str, dice: random.Random) -> Any:
    if kind == "address":
        return checksum(hexed(dice.randbytes(20)))
    if kind == "bytes32":
        return dice.randbytes(32)
    if kind == "bool":
        return dice.random() < 0.5
    if kind == "string":
        return f"/ip4/127.0.0.1/tcp/{dice.randrange(65536)}/p2p/16Uiu2HAm"
    return dice.randrange(1 << dice.randrange(1, int(kind.removeprefix("uint")) + 1))


def _shown(signature: str, message: Any) -> Case:
    values = [getattr(message, field.name) for field in dataclasses.fields(message)]
    return {
        name: hexed(value) if kind == "bytes32" else str(value) if kind.startswith("uint") else value
        for (kind, name), value in zip(_members(signature), values, strict=True)
    }


FILES: dict[str, Callable[[], Iterator[Case]]] = {
    "sumtree": sumtree,
    "sampling": sampling,
    "gumbel": gumbel_vectors.cases,
    "seats": seats,
    "split": money,
    "reputation": reputation,
    "messages": messages,
    "fraud": fraud_vectors.cases,
    "names": wire_vectors.names,
    "layouts": layout_vectors.cases,
    "codec": wire_vectors.codec_cases,
    "signing": wire_vectors.signing,
    "gossip": wire_vectors.gossip,
    "exchange": wire_vectors.exchange,
    "streams": wire_vectors.streams,
    "sealing": wire_vectors.sealing,
    "amounts": wire_vectors.amounts,
    "verification": wire_vectors.verification,
}


def rendered(name: str) -> str:
    """The text of one vector file."""
    return json.dumps({"cases": list(FILES[name]())}, indent=1) + "\n"


def stale() -> list[str]:
    """The vector files that differ from what the core computes now, and docs/wire.md where it shows other values."""
    paths = {name: VECTORS / f"{name}.json" for name in FILES}
    late = [name for name, path_ in paths.items() if not path_.exists() or path_.read_text("utf-8") != rendered(name)]
    page = wire_document.PAGE.read_text("utf-8")
    return late or ([] if wire_document.refreshed(page) == page else ["docs/wire.md"])


def main() -> int:
    """Write or check; 0 if all is well."""
    parser = argparse.ArgumentParser(description="Write the vectors that Python and Solidity share.")
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    if parser.parse_args().check:
        late = stale()
        if late:
            print(f"error: out of date: {', '.join(late)}\nhint: python -m scripts.make_vectors", file=sys.stderr)
        return 1 if late else 0
    VECTORS.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        (VECTORS / f"{name}.json").write_text(rendered(name), "utf-8")
    wire_document.PAGE.write_text(wire_document.refreshed(wire_document.PAGE.read_text("utf-8")), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
