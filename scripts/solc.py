"""The Solidity compiler as a process that stays: loading it takes as long as compiling a small contract."""

from __future__ import annotations

import json
import subprocess
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scripts.setup.cache import REPOSITORY

TOOLS = REPOSITORY / "hardhat-local"
CONTRACTS = REPOSITORY / "contracts"


class CompilerError(Exception):
    """solc refused the sources; its first error."""


def sources() -> dict[str, str]:
    """Every source below contracts/, by its path below the repository."""
    return {
        path.relative_to(REPOSITORY).as_posix(): path.read_text("utf-8") for path in sorted(CONTRACTS.rglob("*.sol"))
    }


def profile() -> dict[str, Any]:
    """The compiler settings of foundry.toml, in its words."""
    found: dict[str, Any] = tomllib.loads((TOOLS / "foundry.toml").read_text("utf-8"))["profile"]["default"]
    return found


def request(texts: dict[str, str], selection: Mapping[str, Any], *, root: Path = TOOLS) -> dict[str, Any]:
    """solc's standard JSON for some sources, with the outputs that `selection` names by file and contract.

    The settings are those of the profile `plain`: without the optimizer a contract compiles in a second. root: the
    folder below which imported libraries are looked for.
    """
    plain, modules = profile(), (TOOLS / "node_modules").relative_to(root).as_posix()
    settings = {
        "evmVersion": plain["evm_version"],
        "viaIR": False,
        "optimizer": {"enabled": False},
        "metadata": {"bytecodeHash": plain["bytecode_hash"], "appendCBOR": plain["cbor_metadata"]},
        "remappings": [line.replace("=node_modules", f"={modules}") for line in plain["remappings"]],
        "outputSelection": selection,
    }
    return {
        "language": "Solidity",
        "sources": {name: {"content": text} for name, text in texts.items()},
        "settings": settings,
    }


class Compiler:
    """One solc; use it from one thread, as a context manager."""

    def __init__(self) -> None:
        script = Path(__file__).with_name("solc.js")
        self._process = subprocess.Popen(
            ["node", str(script), str(TOOLS), "--base-path", str(TOOLS)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Compiler:
        return self

    def __exit__(self, *_: object) -> None:
        with self._process:
            self._process.kill()

    def compile(self, texts: dict[str, str], selection: dict[str, dict[str, list[str]]]) -> dict[str, Any]:
        """solc's answer. Raises: CompilerError if a source is refused."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request(texts, selection)) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        errors = [each["formattedMessage"] for each in answer.get("errors", ()) if each["severity"] == "error"]
        if errors:
            raise CompilerError(errors[0])
        return answer
