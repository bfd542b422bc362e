"""The vectors that forge checks the Solidity libraries against are what the core computes."""

import pytest

from scripts import make_vectors


@pytest.mark.parametrize("name", make_vectors.FILES)
def test_committed_vectors_are_what_the_core_computes(name: str) -> None:
    committed = (make_vectors.VECTORS / f"{name}.json").read_text("utf-8")
    assert committed == make_vectors.rendered(name), "run python -m scripts.make_vectors, then forge test"
