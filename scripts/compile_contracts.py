"""Compile the contracts and write what the node needs of them: chain/abi/<Contract>.json.

    python -m scripts.compile_contracts            # compile and write
    python -m scripts.compile_contracts --check    # compile and compare; exit 1 if a committed file is out of date

The compiler is the pinned solc in hardhat-local (`npm ci` there). Settings come from its foundry.toml, so that the
bytecode that is tested is the bytecode that is deployed.
"""

import argparse
import hashlib
import json
import sys
from typing import Any

from solcx import compile_standard

from chain.abi.interface import INTERFACES
from scripts.setup.cache import REPOSITORY
from scripts.solc import CONTRACTS, TOOLS, profile, request, sources

SOLC = TOOLS / "tools" / "solc"
ABI = REPOSITORY / "chain" / "abi"
OUTPUTS = ["abi", "evm.bytecode.object", "evm.deployedBytecode.object", "evm.deployedBytecode.immutableReferences"]


def path_of(name: str) -> str:
    """The source that a contract of this name is deployed from, below the repository."""
    (path,) = CONTRACTS.rglob(f"{name}.sol")
    return path.relative_to(REPOSITORY).as_posix()


def settings() -> dict[str, Any]:
    """The compiler settings in solc's words, read from foundry.toml."""
    deployed = next(one for one in profile()["additional_compiler_profiles"] if one["name"] == "deployed")
    plain = request({}, {path_of(name): {name: OUTPUTS} for name in INTERFACES}, root=REPOSITORY)["settings"]
    return {
        **plain,
        "viaIR": deployed["via_ir"],
        "optimizer": {"enabled": deployed["optimizer"], "runs": deployed["optimizer_runs"]},
        "remappings": [line for line in plain["remappings"] if line.startswith("@openzeppelin")],
    }


def source_hash() -> str:
    """sha256 over the sources, the settings and the locked tools: if it is the same, so is the bytecode."""
    lock = json.loads((TOOLS / "package-lock.json").read_text("utf-8"))["packages"]
    tools = {name: lock[f"node_modules/{name}"]["version"] for name in ("solc", "@openzeppelin/contracts")}
    content = json.dumps([sources(), settings(), tools], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def compiled() -> dict[str, str]:
    """The text of each file in chain/abi, by contract name.

    Raises: FileNotFoundError if the compiler is not installed.
    """
    if not (TOOLS / "node_modules" / "solc").is_dir():
        raise FileNotFoundError("no compiler: run `npm ci` in hardhat-local")
    asked = {**request(sources(), {}), "settings": settings()}
    answer = compile_standard(asked, solc_binary=SOLC, base_path=REPOSITORY, allow_paths=REPOSITORY)
    digest = source_hash()
    return {name: _render(answer["contracts"][path_of(name)][name], name, digest) for name in INTERFACES}


def _render(output: dict[str, Any], name: str, digest: str) -> str:
    runtime = output["evm"]["deployedBytecode"]
    places = [place for places in runtime["immutableReferences"].values() for place in places]
    functions = [entry for entry in output["abi"] if entry["type"] == "function"]
    shown = {
        "contract": name,
        "sourceHash": digest,
        "abi": output["abi"],
        # The functions that change something, for tests that must know every one of them.
        "changing": sorted(each["name"] for each in functions if each["stateMutability"] in ("nonpayable", "payable")),
        "bytecode": "0x" + output["evm"]["bytecode"]["object"],
        "runtime": "0x" + runtime["object"],
        # [start, length] in bytes of what the constructor fills in.
        "immutables": sorted([place["start"], place["length"]] for place in places),
    }
    return json.dumps(shown, indent=1) + "\n"


def stale(texts: dict[str, str]) -> list[str]:
    """The contracts whose committed file differs from `texts`."""
    paths = {name: ABI / f"{name}.json" for name in texts}
    return [name for name, path in paths.items() if not path.exists() or path.read_text("utf-8") != texts[name]]


def main() -> int:
    """Write or check; 0 if all is well."""
    parser = argparse.ArgumentParser(description="Compile the contracts into chain/abi.")
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    arguments = parser.parse_args()
    texts = compiled()
    if arguments.check:
        late = stale(texts)
        if late:
            print(f"error: out of date: {', '.join(late)}\nhint: python -m scripts.compile_contracts", file=sys.stderr)
        return 1 if late else 0
    ABI.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (ABI / f"{name}.json").write_text(text, "utf-8")
        print(f"{name}: {len(text)} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
