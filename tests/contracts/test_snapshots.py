"""Figures that must not change unseen: gas, storage layouts and the types that are signed."""

from __future__ import annotations

import importlib
import json
import pkgutil
from types import ModuleType

import pytest
from eth_utils.crypto import keccak

import chain
import protocol
from protocol.wire.envelope import DOMAIN_TYPE, TYPES
from scripts import snapshots


@pytest.fixture(scope="module")
def present() -> tuple[str, dict[str, dict[str, str]]]:
    return snapshots.storage_and_types()


def load_all(package: ModuleType) -> None:
    for each in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        importlib.import_module(each.name)


def test_storage_is_laid_out_as_it_was(present: tuple[str, dict[str, dict[str, str]]]) -> None:
    assert present[0] == snapshots.STORAGE.read_text(), "a layout changed: python -m scripts.snapshots, then look"


def test_types_that_contracts_hash_are_those_in_the_snapshot(present: tuple[str, dict[str, dict[str, str]]]) -> None:
    assert present[1] == json.loads(snapshots.TYPES.read_text())


def test_every_type_that_a_contract_hashes_is_pythons_too(present: tuple[str, dict[str, dict[str, str]]]) -> None:
    for package in (protocol, chain):
        load_all(package)
    ours = {text.split("(")[0]: text for text in TYPES.values()} | {"EIP712Domain": DOMAIN_TYPE}
    types = present[1]
    assert {"EIP712Domain", "Assignment", "LaneOpen", "OperatorConsent", "Permit"} <= types.keys()
    for name, told in types.items():
        assert told["type"] == ours.get(name), f"{name} of {told['file']} is not what Python signs"
        assert told["hash"] == "0x" + keccak(text=ours[name]).hex()


def test_no_measured_call_costs_more_than_it_did() -> None:
    used = {name: line.used for name, line in snapshots.measured().items()}
    found = snapshots.gas_differences(json.loads(snapshots.GAS.read_text()), used)
    assert not found, "python -m scripts.snapshots writes them:\n" + "\n".join(found)


@pytest.mark.parametrize(
    ("now", "words"),
    [
        ({"submit": 105_000}, []),
        ({"submit": 105_001}, ["gas: submit grew by 5.0%, from 100000 to 105001"]),
        ({"submit": 1}, []),
        ({"submit": 100_000, "claim": 1}, ["gas: claim is not in the snapshot"]),
        ({}, ["gas: submit is measured no more"]),
    ],
)
def test_a_line_may_grow_by_a_twentieth(now: dict[str, int], words: list[str]) -> None:
    assert snapshots.gas_differences({"submit": 100_000}, now) == words
