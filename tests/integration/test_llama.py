"""llama.cpp as an engine: the file that it reads, exact logits beside its rough ones, and jobs that join and leave."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.runner_context import found_inside

pytestmark = pytest.mark.docker


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return found_inside(Path(__file__).with_name("inside_llama.py"), tmp_path_factory.mktemp("inside"))


@pytest.mark.parametrize("kind", ["tied", "untied"])
def test_another_program_reads_the_same_tensors(found: dict[str, Any], kind: str) -> None:
    tensors = found[kind]["tensors"]
    assert [name for name, same in tensors.items() if not same] == []
    assert len(tensors) == (21 if kind == "tied" else 22)


@pytest.mark.parametrize("kind", ["tied", "untied"])
def test_a_piece_is_the_same_as_in_the_whole_file(found: dict[str, Any], kind: str) -> None:
    assert found[kind]["pieces"] is True


@pytest.mark.parametrize("kind", ["tied", "untied"])
def test_the_last_matrix_is_the_one_that_makes_logits(found: dict[str, Any], kind: str) -> None:
    assert found[kind]["last"] is True
    assert found[kind]["names"] is True


def test_keys_and_values_are_those_of_the_shared_heads(found: dict[str, Any]) -> None:
    layers, heads, size, numbers = 2, 2, 16, 2
    assert found["tied"]["kept_bytes"] == 2 * layers * heads * size * numbers


def test_models_that_would_be_computed_otherwise_are_refused(found: dict[str, Any]) -> None:
    assert {name for name, said in found["refusals"].items() if said != "refused"} == set()
    assert len(found["refusals"]) == 12


def test_exact_logits_are_those_of_the_other_head(found: dict[str, Any]) -> None:
    for each in found["last_matrix"]:
        assert each["apart"] <= 1e-12 * each["largest"]
        # The rough ones here are not rounded once more at their end, so they may be said to lie nearer.
        assert each["rough"] <= each["off"] <= each["theirs"]


def test_jobs_join_and_leave_while_others_are_written(found: dict[str, Any]) -> None:
    told, alone = found["joined"]["told"], found["joined"]["alone"]
    # The last one left after four tokens, and the third one stops by itself.
    assert told == {**alone, "3": alone["3"][:4]}
    assert [len(told[number]) for number in "012"] == [300, 7, 13]
    assert found["joined"]["states"] is True
    assert found["joined"]["kept"] == 0


def test_a_long_prompt_is_read_in_pieces_beside_the_others(found: dict[str, Any]) -> None:
    # It joined before step 1, and 999 of its tokens are read in four passes, each beside the tokens of the others.
    assert found["joined"]["steps"]["1"] == [5, 6, 7]
    assert found["joined"]["steps"]["2"] == [1, 2, 3]
    assert found["joined"]["steps"]["3"] == [41, 42, 43]
    assert found["joined"]["largest"] == 256
    assert found["joined"]["gaps"] == 1


def test_prompts_share_the_tokens_of_a_pass(found: dict[str, Any]) -> None:
    # The last token of each prompt goes through with those that are written.
    assert found["shared"] == {"passes": [256, 256, 87, 1], "steps": [[], [], [0], [1]]}
