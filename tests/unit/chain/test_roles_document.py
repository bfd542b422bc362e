"""docs/contracts.md against the contracts: every call that changes something, once, with a role that exists."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from chain.abi.interface import CONTRACTS, interface
from scripts.compile_contracts import ABI

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "contracts.md").read_text("utf-8")
EXITS = (ROOT / "tests" / "contracts" / "Exits.t.sol").read_text("utf-8")
CALL = re.compile(r"^\| `(\w+)` \| ([^|]+) \| ([^|]+) \| ([^|]+) \|([^|]*)\|$")


def changing(contract: str) -> list[str]:
    """The functions of a contract that change something, from its ABI."""
    abi = json.loads((ABI / f"{contract}.json").read_text("utf-8"))["abi"]
    functions = (entry for entry in abi if entry["type"] == "function")
    return sorted(entry["name"] for entry in functions if entry["stateMutability"] not in ("view", "pure"))


def rows() -> list[tuple[str, str, str]]:
    """Contract.call, roles and pause of every row."""
    found, named = [], [""]
    for line in PAGE.splitlines():
        if line.startswith("### "):
            named = line.removeprefix("### ").split(", ")
        elif match := CALL.match(line):
            call, roles, _, pause, _ = match.groups()
            (contract,) = [name for name in named if call in interface(name).functions] or ["?"]
            found.append((f"{contract}.{call}", roles, pause.strip()))
    return found


ROWS = rows()


@pytest.mark.parametrize("contract", CONTRACTS)
def test_every_call_stands_there_once(contract: str) -> None:
    counted = Counter(name for name, _, _ in ROWS if name.startswith(f"{contract}."))
    assert counted == Counter(f"{contract}.{call}" for call in changing(contract))


def test_no_row_is_of_another_contract() -> None:
    assert [name for name, _, _ in ROWS if name.startswith("?")] == []


def test_every_role_is_explained() -> None:
    section = PAGE.partition("## Roles")[2].partition("## Calls")[0]
    roles = {line.split("|")[1].strip() for line in section.splitlines() if line.startswith("| ")} - {"role"}
    used = {role for _, text, _ in ROWS for role in text.split(", ")}
    assert roles == used


def test_what_a_pause_stops_is_what_the_test_of_the_exits_says() -> None:
    (listed,) = re.findall(r"_stopped =\s*\[([^\]]*)\]", EXITS)
    assert {pause for _, _, pause in ROWS} == {"stopped", "open"}
    assert sorted(name for name, _, pause in ROWS if pause == "stopped") == sorted(re.findall(r'"([\w.]+)"', listed))


def test_the_abi_lists_what_changes() -> None:
    for contract in CONTRACTS:
        assert json.loads((ABI / f"{contract}.json").read_text("utf-8"))["changing"] == changing(contract)
