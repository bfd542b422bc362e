"""Figures that must not change unseen: gas of calls, storage layouts, EIP-712 types; in tests/contracts/snapshots.

    python -m scripts.snapshots            # measure and write
    python -m scripts.snapshots --check    # measure and compare; exit 1 for more than 5% of gas, or anything else

Lines, contracts and types are found, not listed: a new one makes the check fail until it is written.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from eth_utils.crypto import keccak

from scripts.setup import node_tools
from scripts.setup.cache import REPOSITORY
from scripts.solc import TOOLS, Compiler, sources

FOLDER = REPOSITORY / "tests" / "contracts" / "snapshots"
GAS = FOLDER / "gas.json"
STORAGE = FOLDER / "storage.txt"
TYPES = FOLDER / "types.json"
TOLERANCE_PERCENT = 5
_LINE = re.compile(r"\s*(\d+) of\s+(\d+)  (.+?)(?:, a job \d+)?")
_TYPE = re.compile(r"(\w+)\((?:\w+(?:\[\])? \w+(?:,\w+(?:\[\])? \w+)*)?\)")


@dataclass(frozen=True)
class GasLine:
    """The gas of one transaction, as its sender pays it, and the most that it may cost."""

    used: int
    budget: int


def measured() -> dict[str, GasLine]:
    """Every line of GasReport by its test and what it measures, each call a transaction of its own.

    Raises: RuntimeError with forge's words if a budget is broken or nothing was measured.
    """
    command = [str(node_tools.forge()), "test", "--isolate", "--match-contract", "^GasReport", "--json", "-vv"]
    done = subprocess.run(command, cwd=TOOLS, capture_output=True, text=True, check=False)
    try:
        suites = json.loads(done.stdout[done.stdout.index("{") :])
    except ValueError as error:
        raise RuntimeError(f"forge gave no report:\n{done.stdout[-2000:]}{done.stderr[-2000:]}") from error
    lines: dict[str, GasLine] = {}
    for suite in suites.values():
        for test, outcome in suite["test_results"].items():
            if outcome["status"] != "Success":
                raise RuntimeError(f"{test}: {outcome['reason']}")
            for text in outcome["decoded_logs"]:
                if not (found := _LINE.fullmatch(text)):
                    continue
                name = f"{test.removeprefix('test_').removesuffix('()')}: {found[3]}"
                if name in lines:
                    raise RuntimeError(f"two lines are called {name}")
                lines[name] = GasLine(int(found[1]), int(found[2]))
    if not lines:
        raise RuntimeError("GasReport measured nothing")
    return dict(sorted(lines.items()))


def gas_differences(before: Mapping[str, int], now: Mapping[str, int]) -> list[str]:
    """The differences that a reader must know: lines that grew by more than the tolerance, came or went."""
    found = [f"gas: {name} is not in the snapshot" for name in now if name not in before]
    found += [f"gas: {name} is measured no more" for name in before if name not in now]
    for name in before.keys() & now.keys():
        if 100 * now[name] > (100 + TOLERANCE_PERCENT) * before[name]:
            grown = 100 * (now[name] / before[name] - 1)
            found.append(f"gas: {name} grew by {grown:.1f}%, from {before[name]} to {now[name]}")
    return sorted(found)


def storage_and_types() -> tuple[str, dict[str, dict[str, str]]]:
    """The layout of every contract that can be deployed, as text; every EIP-712 type that is hashed, by its name."""
    with Compiler() as compiler:
        texts = sources()
        answer = compiler.compile(texts, {"*": {"": ["ast"], "*": ["storageLayout"]}})
    layouts = [
        "\n".join([contract["name"], *_layout(answer["contracts"][name][contract["name"]]["storageLayout"])])
        for name in texts
        for contract in answer["sources"][name]["ast"]["nodes"]
        if contract["nodeType"] == "ContractDefinition"
        and contract["contractKind"] == "contract"
        and not contract["abstract"]
    ]
    return "\n\n".join(sorted(layouts)) + "\n", dict(sorted(_types(answer["sources"]).items()))


def _layout(layout: Mapping[str, Any]) -> Iterator[str]:
    """A line for each variable, then for each member of every struct in storage: slot, offset, bytes, type, name."""
    types = layout["types"] or {}
    for each in layout["storage"]:
        yield _place(each, types, "  ")
    if not layout["storage"]:
        yield "  (nothing)"
    for one in sorted((one for one in types.values() if "members" in one), key=lambda one: str(one["label"])):
        yield f"  {one['label']}"
        for each in one["members"]:
            yield _place(each, types, "    ")


def _place(variable: Mapping[str, Any], types: Mapping[str, Any], indent: str) -> str:
    kind = types[variable["type"]]
    where = f"{variable['slot']:>3} +{variable['offset']:<2} {kind['numberOfBytes']:>3}"
    return f"{indent}{where}  {kind['label']} {variable['label']}"


def _types(answered: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Types stand in the sources as the text that is hashed; which contract file hashes it is told beside."""
    found: dict[str, dict[str, str]] = {}
    for file, one in answered.items():
        for text in _hashed(one["ast"]):
            if matched := _TYPE.fullmatch(text):
                found[matched[1]] = {
                    "type": text,
                    "hash": "0x" + keccak(text=text).hex(),
                    "file": file.removeprefix("node_modules/"),
                }
    return found


def _hashed(node: Any) -> Iterator[str]:
    if isinstance(node, list):
        for each in node:
            yield from _hashed(each)
    elif isinstance(node, dict):
        if node.get("nodeType") == "FunctionCall" and node["expression"].get("name") == "keccak256":
            yield from (each["value"] for each in node["arguments"] if each.get("kind") == "string")
        for value in node.values():
            yield from _hashed(value)


def written(value: Any) -> str:
    """JSON as it is kept in git."""
    return json.dumps(value, indent=1) + "\n"


def main() -> int:
    """Exit code: 0 written, or as it was; 1 not so."""
    parser = argparse.ArgumentParser(prog="python -m scripts.snapshots", description="Keep or compare the snapshots.")
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    arguments = parser.parse_args()
    try:
        storage, types = storage_and_types()
        used = {name: line.used for name, line in measured().items()}
    except RuntimeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if arguments.check:
        found = ["storage: a layout changed"] if STORAGE.read_text() != storage else []
        found += ["types: an EIP-712 type changed"] if TYPES.read_text() != written(types) else []
        found += gas_differences(json.loads(GAS.read_text()), used)
        for each in found:
            print(f"error: {each}", file=sys.stderr)
        if found:
            print("hint: python -m scripts.snapshots writes them; git diff shows what changed", file=sys.stderr)
        return 1 if found else 0
    STORAGE.write_text(storage)
    TYPES.write_text(written(types))
    GAS.write_text(written(used))
    print(f"{len(used)} gas lines, {len(types)} types, {storage.count(chr(10) * 2) + 1} layouts")
    return 0


if __name__ == "__main__":
    sys.exit(main())
