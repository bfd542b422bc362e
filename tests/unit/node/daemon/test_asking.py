"""The memory that a request signs, also for a manifest whose numbers lie."""

import dataclasses

import pytest

from node.api.faults import Fault
from node.daemon.asking import signed_memory
from protocol.params import MAX_MEMORY_CEILING
from protocol.stages.blob import ModelFile
from protocol.wire.ids import cid_of
from tests.simulation.scene import CLASS, MANIFEST

WEIGHTS = ModelFile("model.safetensors", cid_of(b"w"), 2**62)


def test_request_signs_what_the_manifest_states_up_to_the_default() -> None:
    stated = dataclasses.replace(MANIFEST, needs_bytes=2**30)
    assert signed_memory(stated, 1 << CLASS, 100) == 2**30


@pytest.mark.parametrize("needs_bytes", [0, 2**62])
def test_manifest_of_more_than_any_request_may_allow_is_refused_in_one_sentence(needs_bytes: int) -> None:
    files = tuple(dataclasses.replace(WEIGHTS, path=f"{number}.safetensors") for number in range(64))
    liar = dataclasses.replace(MANIFEST, dtype="bf16", files=files, needs_bytes=needs_bytes)
    with pytest.raises(Fault, match=str(MAX_MEMORY_CEILING)) as refused:
        signed_memory(liar, 0xFFFFFFFF, 100)
    assert (refused.value.code, refused.value.hint) == ("bad_model", "vcoin model list")
