"""Texts of jobs: frames in any order, and the result once it is here."""

import json
from pathlib import Path

import pytest

from node.daemon import answers as answers_module
from node.daemon.answers import Answers
from p2p.store import ContentStore
from protocol.errors import AdapterError
from protocol.stages.blob import ModelFile, ModelManifest
from protocol.wire.ids import Cid
from tests.support.scenes.tokenizers import TOKENIZER, encode

JOB, OTHER = b"\1" * 32, b"\2" * 32
MODEL = ModelManifest(
    "tiny", (ModelFile("tokenizer.json", Cid(bytes(32)), 1),), "tokenizer.json", (0,), 0, "fp32", 8, 400, 1, 64, 1
)
SAID = "the quick brown fox \N{GRINNING FACE} jumps"


@pytest.fixture
def answers(tmp_path: Path) -> Answers:
    folder = tmp_path / "models" / MODEL.cid.hex()
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_bytes(MODEL.encode())
    TOKENIZER.save(str(folder / "tokenizer.json"))
    (tmp_path / "results").mkdir()
    return Answers(ContentStore(tmp_path), tmp_path / "results")


async def test_frames_are_put_in_order(answers: Answers) -> None:
    ids = encode(SAID)
    frames = {seq: tuple(ids[seq * 3 : seq * 3 + 3]) for seq in range(-(-len(ids) // 3))}
    said = ""
    for seq in sorted(frames, key=lambda seq: seq ^ 1):
        said += await answers.add_frame(MODEL, JOB, seq, frames[seq])
    assert said == answers.streamed(JOB) == SAID
    # A frame that comes again, as after a restart of the node, says nothing new.
    assert await answers.add_frame(MODEL, JOB, 0, frames[0]) == ""
    assert answers.streamed(JOB) == SAID
    assert answers._answers[JOB]._ahead == {}


async def test_attempts_do_not_mix(answers: Answers) -> None:
    await answers.add_frame(MODEL, JOB, 0, tuple(encode("the quick")))
    await answers.add_frame(MODEL, OTHER, 0, tuple(encode("lazy dog")))
    assert (answers.streamed(JOB), answers.streamed(OTHER), answers.streamed(b"")) == ("the quick", "lazy dog", "")


async def test_result_counts_more_than_its_frames(answers: Answers, tmp_path: Path) -> None:
    await answers.add_frame(MODEL, JOB, 0, tuple(encode("the qu")))
    assert await answers.text(MODEL, JOB) == "the qu"
    result = tmp_path / "results" / f"{JOB.hex()}.json"
    result.write_text(json.dumps({"output_token_ids": encode(SAID)}))
    assert await answers.text(MODEL, JOB) == SAID
    result.write_text("half of a fi")
    assert await answers.text(MODEL, JOB) == "the qu"


async def test_flood_of_frames_after_a_gap_is_bounded(answers: Answers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers_module, "MAX_AHEAD", 4)
    for seq in range(1, 50):
        await answers.add_frame(MODEL, JOB, seq, (1,))
    assert len(answers._answers[JOB]._ahead) == 4


async def test_old_texts_are_forgotten(answers: Answers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers_module, "STREAMS_KEPT", 2)
    for job in (JOB, OTHER, b"\3" * 32):
        await answers.add_frame(MODEL, job, 0, tuple(encode("fox")))
    assert (answers.streamed(JOB), answers.streamed(OTHER)) == ("", "fox")


async def test_answer_is_read_by_a_description_alone(answers: Answers, tmp_path: Path) -> None:
    (tmp_path / "models").rename(tmp_path / "descriptions")
    assert await answers.count_prompt(MODEL, [SAID]) > len(encode(SAID))


async def test_model_without_a_tokenizer_is_said(tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match="no tokenizer"):
        await Answers(ContentStore(tmp_path), tmp_path).count_prompt(MODEL, ["x"])


async def test_prompt_is_counted(answers: Answers) -> None:
    assert await answers.count_prompt(MODEL, [SAID]) > len(encode(SAID))


async def test_result_of_a_reading_is_a_line_for_each_text(answers: Answers, tmp_path: Path) -> None:
    result = tmp_path / "results" / f"{JOB.hex()}.json"
    result.write_text(json.dumps({"embeddings": [[600_000, -800_000]]}))
    assert await answers.text(MODEL, JOB) == "[0.6, -0.8]\n"
    result.write_text(json.dumps({"embeddings": [["x"]]}))
    assert await answers.text(MODEL, JOB) == ""


async def test_texts_to_read_are_counted(answers: Answers) -> None:
    (count,) = await answers.count_reading(MODEL, [SAID], [])
    assert count > len(encode(SAID))


async def test_stop_string_is_told_neither_in_frames_nor_as_a_whole(answers: Answers, tmp_path: Path) -> None:
    ids, stops = encode(SAID), ("never", "fox \N{GRINNING FACE}")
    told = [await answers.add_frame(MODEL, JOB, seq, (token,), stops) for seq, token in enumerate(ids)]
    assert "".join(told) == answers.streamed(JOB) == "the quick brown "
    (tmp_path / "results" / f"{JOB.hex()}.json").write_text(json.dumps({"output_token_ids": ids}))
    assert await answers.text(MODEL, JOB, stops) == "the quick brown "
    assert await answers.text(MODEL, JOB) == SAID
