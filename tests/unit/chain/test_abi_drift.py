"""The committed ABI is that of the contracts."""

import json

import pytest

from chain.abi.interface import CONTRACTS, INTERFACES
from scripts import compile_contracts
from scripts.solc import profile

DEPLOYED = "// This contract is deployed"


def test_committed_abi_comes_from_the_present_sources() -> None:
    digest = compile_contracts.source_hash()
    for name in INTERFACES:
        committed = json.loads((compile_contracts.ABI / f"{name}.json").read_text("utf-8"))
        assert committed["sourceHash"] == digest, f"{name} is out of date: run python -m scripts.compile_contracts"


def test_tests_of_the_contracts_run_the_bytecode_that_is_deployed() -> None:
    optimised = {each["paths"].rsplit("/", 1)[1] for each in profile()["compilation_restrictions"]}
    assert optimised == {f"{name}.sol" for name in CONTRACTS}


@pytest.mark.slow
def test_compiling_again_gives_the_committed_bytes() -> None:
    assert compile_contracts.stale(compile_contracts.compiled()) == []


def test_the_first_line_of_a_source_says_whether_it_is_deployed() -> None:
    says = {name.rsplit("/", 1)[1] for name, text in compile_contracts.sources().items() if text.startswith(DEPLOYED)}
    assert says == {f"{name}.sol" for name in INTERFACES}
