"""The vectors that forge checks the Solidity libraries against are what the core computes."""

import pytest

from scripts.vectors import __main__ as vectors


@pytest.mark.parametrize("name", vectors.FILES)
def test_committed_vectors_are_what_the_core_computes(name: str) -> None:
    committed = (vectors.VECTORS / f"{name}.json").read_text("utf-8")
    assert committed == vectors.rendered(name), "run python -m scripts.vectors, then forge test"
