"""A seeded share of fuzzing for every decoder, the nests that end a careless reader, and what fuzzing has found."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from pathlib import Path

import cbor2
import pytest

from tests.fuzz.mutation import Shape, bent, mutated
from tests.fuzz.target import SCRATCH, Finding, Target, attempt
from tests.fuzz.targets import TARGETS

RUNS = 200
WHOLE = [target for target in TARGETS.values() if target.shape is not Shape.BYTES]
every = pytest.mark.parametrize("target", TARGETS.values(), ids=list(TARGETS))


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path) -> Iterator[None]:
    SCRATCH.place = tmp_path
    yield
    SCRATCH.place = None


def require_none(finding: Finding | None) -> None:
    assert finding is None, f"{finding.kind} at {finding.where}: {finding.data[:200]!r}"


@every
def test_decoder_withstands_a_seeded_share(target: Target) -> None:
    seeds, dice = target.seeds(), random.Random(target.name)
    for seed in seeds:
        require_none(attempt(target, seed))
    for _ in range(max(20, int(RUNS * target.share))):
        data = dice.choice(seeds)
        for _ in range(dice.choice((1, 1, 2, 6))):
            data = mutated(data, target.shape, dice, lambda part: bent(part, dice))
        require_none(attempt(target, data))


@every
def test_decoder_reads_what_it_should(target: Target) -> None:
    """Else nothing behind its first check would be fuzzed."""

    def reads(data: bytes) -> bool:
        try:
            target.feed(data)
        except target.refusals:
            return False
        return True

    # A stream that ends is one that was read to its end.
    assert target.name == "stream" or any(reads(seed) for seed in target.seeds())


@pytest.mark.parametrize("target", WHOLE, ids=lambda target: target.name)
def test_decoder_refuses_nests_of_every_depth_that_its_stack_may_not_hold(target: Target) -> None:
    for depth in (*range(90, 110, 3), *range(900, 1_000, 5), 3_000, 100_000):
        for data in nests(target.seeds()[0], target.shape, depth):
            require_none(attempt(target, data))


def nests(seed: bytes, shape: Shape, depth: int) -> Iterator[bytes]:
    """A nest for the whole, around the whole, and in the place of its first value."""
    if shape is Shape.CBOR:
        yield b"\x81" * depth + seed
        yield b"\xa1\x00" * depth + b"\x00"
        yield seed[:1] + b"\x81" * depth + b"\x00"
    else:
        nest = b"[" * depth + b"]" * depth
        yield nest
        yield b'{"v":' * depth + b"1" + b"}" * depth
        yield re.sub(rb':\s?("[^"]*"|\d+)', b":" + nest, seed, count=1)


def _cbor(*values: object) -> bytes:
    return cbor2.dumps(values, canonical=True)


SEALED = {"version": 3, "address": "", "id": "", "crypto": {"cipher": "aes-128-ctr", "ciphertext": "", "mac": ""}}


def _key_file(kdf: str, **work: object) -> bytes:
    crypto = {**SEALED["crypto"], "kdf": kdf, "kdfparams": {"salt": "00", "dklen": 32, **work}}  # type: ignore[dict-item]
    return json.dumps({**SEALED, "crypto": crypto}).encode()


FOUND = [
    ("event", _cbor("MessageSigned", [[["Refuse"], [bytes(32), 1, 1]], bytes(65)]), "the name of a message as a list"),
    ("peers-json", b'{"v":1,"peers":[{"peer":"%s","addresses":[],"seen_ms":1e999}]}', "a time without an end"),
    ("output-manifest", b'{"files":[{"path":"result.json","size":1e999,"sha256":""}]}', "a size without an end"),
    ("calibration", b'{"v":1,"manifest":"%s","act_w":"","classes":{"1":{"n":1e999}}}', "a count without an end"),
    ("rpc-answer", b'{"result":{"number":7}}', "a block's number as a number"),
    ("rpc-answer", b'{"result":"0x"}', "an empty number"),
    (
        "rpc-answer",
        b'{"error":{"code":1e999,"message":"\\u001b[2J"}}',
        "a code without an end, and words that move a cursor",
    ),
    ("http-answer", b'[{"id":{"a":1}},"x",null]', "a batch answered with what is no answer"),
    ("log", b'{"address":"0x00","topics":5}', "a log of nothing"),
    ("revert-data", bytes.fromhex("08c379a0") + b"\xff" * 64, "a reason further off than memory"),
    ("deployment", b'{"v":1,"addresses":{},"code_hashes":[],"chain_id":"1"}', "a chain id as a text"),
    ("keystore", _key_file("scrypt", n=2**40, r=8, p=1), "a key that asks for a terabyte"),
    ("keystore", _key_file("pbkdf2", c=2**60, prf="hmac-sha256"), "a key that asks for an age"),
    ("keystore", _key_file("pbkdf2", c=1, prf="none"), "a key with another function"),
]


@pytest.mark.parametrize(("name", "data", "what"), FOUND, ids=[what for *_, what in FOUND])
def test_what_was_found_once_is_refused(name: str, data: bytes, what: str) -> None:
    from tests.fuzz.peer_targets import PEER

    filled = {"peers-json": PEER, "calibration": "ab" * 32}.get(name)
    require_none(attempt(TARGETS[name], data % filled.encode() if filled else data))
