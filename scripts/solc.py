"""The Solidity compiler as a process that stays: loading it takes as long as compiling a small contract."""

from __future__ import annotations

import json
import subprocess
import tomllib
from pathlib import Path
from types import TracebackType
from typing import Any

from scripts.setup.cache import REPOSITORY

TOOLS = REPOSITORY / "hardhat-local"
CONTRACTS = REPOSITORY / "contracts"


class CompilerError(Exception):
    """solc refused the sources; its first error."""


def sources() -> dict[str, str]:
    """Every source below contracts/, mocks as well, by its path below the repository."""
    return {
        path.relative_to(REPOSITORY).as_posix(): path.read_text("utf-8") for path in sorted(CONTRACTS.rglob("*.sol"))
    }


def _settings() -> dict[str, Any]:
    """Those of the profile `plain`: no optimizer, which is what makes a mutant cheap."""
    profile = tomllib.loads((TOOLS / "foundry.toml").read_text("utf-8"))["profile"]["default"]
    return {
        "evmVersion": profile["evm_version"],
        "viaIR": False,
        "optimizer": {"enabled": False},
        "metadata": {"bytecodeHash": profile["bytecode_hash"], "appendCBOR": profile["cbor_metadata"]},
        "remappings": profile["remappings"],
    }


class Compiler:
    """One solc; use it from one thread, as a context manager."""

    def __init__(self) -> None:
        self._settings = _settings()
        script = Path(__file__).with_name("solc.js")
        self._process = subprocess.Popen(
            ["node", str(script), str(TOOLS)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> Compiler:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._process:
            self._process.kill()

    def compile(self, texts: dict[str, str], selection: dict[str, dict[str, list[str]]]) -> dict[str, Any]:
        """solc's answer for the sources, with the outputs that `selection` names by file and contract.

        Raises: CompilerError if a source is refused.
        """
        request = {
            "language": "Solidity",
            "sources": {name: {"content": text} for name, text in texts.items()},
            "settings": {**self._settings, "outputSelection": selection},
        }
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        errors = [each["formattedMessage"] for each in answer.get("errors", ()) if each["severity"] == "error"]
        if errors:
            raise CompilerError(errors[0])
        return answer
