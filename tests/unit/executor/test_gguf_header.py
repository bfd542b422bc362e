"""The header of a GGUF file that anyone may have written: a harm is one sentence, and costs neither time nor memory."""

from __future__ import annotations

import struct
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.runner.gguf.header import MAX_HEADER_BYTES, MAX_ITEMS, BadGguf, Header, parse_header, read_header
from executor.runner.gguf.layout import config_of
from executor.runner.gguf.tokenizer import tokenizer_files
from tests.support import gguf_files
from tests.support.gguf_files import F32, LIST, Q8_0, TEXT, facts, header, small, tensors, text, whole

HUGE = 1 << 63
SMALL = small()
ARRAY_OF_U8 = struct.pack("<I", 0)


def parsed(data: bytes, file_bytes: int | None = None) -> Header:
    return parse_header(data, len(data) if file_bytes is None else file_bytes)


def refusal(data: bytes) -> str:
    with pytest.raises(BadGguf) as caught:
        parsed(data)
    words = str(caught.value)
    assert words.isprintable()
    assert len(words) < 250
    return words


def outcome(data: bytes) -> dict[str, Any] | None:
    """What config.json would say of a file, None if it is refused; anything else but a refusal is raised."""
    try:
        found = parsed(data)
        config = config_of(found)
        tokenizer_files(found, config["max_position_embeddings"])
    except BadGguf:
        return None
    return config


def test_what_a_writer_says_is_what_is_read(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(SMALL)
    found = read_header(tmp_path / "model.gguf")
    assert found.facts["llama.block_count"] == 1
    assert found.facts["tokenizer.ggml.tokens"] == gguf_files.tokens()
    assert found.tensors.keys() == gguf_files.shapes().keys()
    for name, shape in gguf_files.shapes().items():
        tensor = found.tensors[name]
        assert (tensor.shape, tensor.type_id) == (shape, Q8_0 if len(shape) > 1 else F32)
        assert tensor.start % 32 == 0
    last = found.tensors["blk.0.ffn_down.weight"]
    assert last.start + last.size_bytes == len(SMALL)


def test_a_file_that_is_cut_anywhere_is_refused() -> None:
    end = len(header(facts(), [(name, shape, kind, 0) for name, shape, kind, _ in tensors()]))
    for length in range(end):
        with pytest.raises(BadGguf):
            parsed(SMALL[:length])
    for length in range(end, len(SMALL), 997):
        assert "may not be whole" in refusal(SMALL[:length])
    assert refusal(SMALL[:-1])
    assert parsed(SMALL)


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("no gguf", b"PK\3\4" + SMALL[4:], "no GGUF file"),
        ("big-endian", b"GGUF" + struct.pack(">I", 3) + SMALL[8:], "version"),
        ("first version", b"GGUF" + struct.pack("<I", 1) + SMALL[8:], "version 1"),
        ("tensors", b"GGUF" + struct.pack("<IQQ", 3, HUGE, 1), f"{HUGE} tensors"),
        ("facts", b"GGUF" + struct.pack("<IQQ", 3, 1, HUGE), f"{HUGE} facts"),
        ("key", b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, HUGE), "a text of"),
        ("key beyond the end", b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 100) + b"a", "ends too early"),
        ("text", header({"a": (TEXT, struct.pack("<Q", HUGE))}, []), "a text of"),
        ("not UTF-8", header({"a": (TEXT, text(b"\xff"))}, []), "UTF-8"),
        ("list", header({"a": (LIST, ARRAY_OF_U8 + struct.pack("<Q", HUGE))}, []), "items together"),
        ("list beyond the end", header({"a": (LIST, ARRAY_OF_U8 + struct.pack("<Q", MAX_ITEMS))}, []), "too early"),
        ("lists", header({"a": (LIST, struct.pack("<IQ", LIST, 1) * 1000)}, []), "list of lists"),
        ("type of a value", header({"a": (99, b"")}, []), "type 99"),
        ("type of items", header({"a": (LIST, struct.pack("<IQ", 99, 1))}, []), "type 99"),
        ("truth", header({"a": (7, b"\2")}, []), "truth value"),
        ("alignment 0", header({"general.alignment": 0}, []), "general.alignment is 0"),
        ("alignment 24", header({"general.alignment": 24}, []), "power of two"),
        ("alignment huge", header({"general.alignment": 1 << 31}, []), "power of two"),
        ("alignment as text", header({"general.alignment": "32"}, []), "power of two"),
        ("no dimension", header({}, [("a", [], F32, 0)]), "0 dimensions"),
        ("five dimensions", header({}, [("a", [1] * 5, F32, 0)]), "5 dimensions"),
        ("no numbers", header({}, [("a", [0, 4], F32, 0)]), "0 numbers"),
        ("too many numbers", header({}, [("a", [HUGE, HUGE, HUGE, HUGE], F32, 0)]), "possible"),
        ("name", header({}, [("a" * 64, [4], F32, 0)]), "64 bytes"),
        ("half a block", header({}, [("a", [33], Q8_0, 0)]) + bytes(99), "a block has 32"),
        ("beyond the file", header({}, [("a", [4], F32, 1 << 40)]) + bytes(99), "not in the file"),
        ("place of 2^63", header({}, [("a", [4], F32, HUGE)]) + bytes(99), "not in the file"),
        ("longer than the file", header({}, [("a", [1 << 30], F32, 0)]) + bytes(99), "may not be whole"),
        ("not aligned", header({}, [("a", [4], F32, 8)]) + bytes(99), "not aligned"),
    ],
)
def test_a_hostile_header_is_refused_in_one_sentence(name: str, data: bytes, said: str) -> None:
    tracemalloc.start()
    try:
        assert said in refusal(data), name
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_two_of_one_name_or_of_the_same_bytes_are_refused() -> None:
    one = text("a") + struct.pack("<II", 4, 1)
    assert "states 'a' twice" in refusal(b"GGUF" + struct.pack("<IQQ", 3, 0, 2) + one + one)
    twice = header({}, [("a", [4], F32, 0), ("a", [4], F32, 32)])
    assert "two tensors 'a'" in refusal(twice + bytes(99))
    shared = header({}, [("b", [16], F32, 32), ("a", [8], F32, 0), ("c", [16], F32, 64)])
    assert "'b' and 'c' share bytes" in refusal(shared + bytes(300))


def test_a_header_without_end_is_read_up_to_its_limit(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(header({"a": (LIST, struct.pack("<IQ", 0, MAX_ITEMS))}, []))
    with path.open("ab") as file:
        file.truncate(8 << 30)
    tracemalloc.start()
    try:
        assert read_header(path).facts["a"] == [0] * MAX_ITEMS
        assert tracemalloc.get_traced_memory()[1] < 2 * MAX_HEADER_BYTES
    finally:
        tracemalloc.stop()


@given(st.integers(0, len(SMALL[:8_000]) - 1), st.binary(min_size=1, max_size=16))
def test_a_changed_file_is_a_model_or_a_sentence(at: int, harm: bytes) -> None:
    found = outcome(SMALL[:at] + harm + SMALL[at + len(harm) :])
    assert found is None or (found["hidden_size"], found["num_hidden_layers"]) == (gguf_files.HIDDEN, 1)


@given(st.binary(max_size=300))
def test_noise_is_refused(data: bytes) -> None:
    for beginning in (b"", b"GGUF", b"GGUF\3\0\0\0", b"GGUF" + struct.pack("<IQQ", 3, 1, 1)):
        assert outcome(beginning + data) is None


@pytest.mark.parametrize("seed", range(3))
def test_values_of_every_type_are_read(seed: int) -> None:
    told: dict[str, Any] = {"int": 7 + seed, "float": 0.5, "true": True, "text": "wörter", "list": [1, 2, -3]}
    assert parsed(whole(told, [])).facts == told
