"""What the node knows of the contracts is what the contracts are."""

import json

import pytest

from chain.abi.interface import INTERFACES
from scripts import compile_contracts


def test_committed_abi_comes_from_the_present_sources() -> None:
    digest = compile_contracts.source_hash()
    for name in INTERFACES:
        committed = json.loads((compile_contracts.ABI / f"{name}.json").read_text("utf-8"))
        assert committed["sourceHash"] == digest, f"{name} is out of date: run python -m scripts.compile_contracts"


@pytest.mark.slow
def test_compiling_again_gives_the_committed_bytes() -> None:
    assert compile_contracts.stale(compile_contracts.compiled()) == []
