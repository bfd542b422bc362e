"""Runs the tests of the contracts on a mutant.

Nothing is built for it but what it changes: the bytecode of those contracts takes the place of the built one in a copy
of forge's output, and forge, whose cache knows sources only, runs the tests on that.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from scripts.setup import node_tools
from scripts.solc import TOOLS, Compiler, CompilerError, sources
from tests.proof.mutants.mutation import Mutant, Tree, mutants

TESTS = TOOLS.parent / "tests" / "contracts"
# They measure, or take as long as all others together.
LEFT_OUT = "GasReport|Invariants"
# Of a core's time: how busy the others keep the machine kills no mutant.
LIMIT_S = 120
_LIMITED = ("sh", "-c", 'ulimit -S -t "$0" && exec "$@"', str(LIMIT_S))
_IMPORT = re.compile(r'from "(\.[^"]+)"')
_FAILURE = re.compile(r"^\[FAIL.*\] (\w+)\(", re.MULTILINE)
_UNTOUCHED = "No files changed, compilation skipped"


class Fate(Enum):
    """The outcome of a mutant."""

    KILLED = "killed"
    SURVIVED = "survived"
    INVALID = "not compiled"


@dataclass(frozen=True)
class Verdict:
    """A mutant's fate; `by`: the test that killed it."""

    mutant: Mutant
    fate: Fate
    by: str = ""
    seconds: float = 0.0


class TrialError(Exception):
    """The tests could not be run, or fail without any mutant."""


@dataclass(frozen=True)
class Unit:
    """A contract that is built: its source and name, and all sources that it is built from."""

    file: str
    name: str
    parts: frozenset[str]


def env(workplace: str = "plain") -> dict[str, str]:
    """forge's environment for one copy of its output. Chance is the same for every mutant."""
    return {
        **os.environ,
        "FOUNDRY_PROFILE": "plain",
        "FOUNDRY_OUT": f"out-{workplace}",
        "FOUNDRY_CACHE_PATH": f"cache-{workplace}",
        "FOUNDRY_FUZZ_RUNS": "48",
        "FOUNDRY_FUZZ_SEED": "0x1",
    }


def build() -> None:
    """Build contracts and tests with the profile `plain`. Raises: TrialError with forge's words."""
    done = subprocess.run(
        [node_tools.forge(), "build"], cwd=TOOLS, env=env(), capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise TrialError(f"forge build failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")


def survey(compiler: Compiler) -> tuple[list[Mutant], list[Unit]]:
    """Every mutant of what is deployed, and every contract whose bytecode a mutant may change."""
    texts = sources()
    trees = compiler.compile(texts, {"*": {"": ["ast"]}})["sources"]
    made = [each for name in texts for each in mutants(name, texts[name], trees[name]["ast"])]
    units = [
        Unit(name, contract["name"], _closure(name, trees))
        for name in texts
        for contract in trees[name]["ast"]["nodes"]
        if contract["nodeType"] == "ContractDefinition"
        and contract["contractKind"] == "contract"
        and not contract["abstract"]
    ]
    return made, units + _library_tests()


def _closure(name: str, trees: Tree) -> frozenset[str]:
    found: set[str] = set()
    waiting = [name]
    while waiting:
        at = waiting.pop()
        if at in found or at not in trees:
            continue
        found.add(at)
        waiting += [each["absolutePath"] for each in trees[at]["ast"]["nodes"] if each["nodeType"] == "ImportDirective"]
    return frozenset(found)


def _library_tests() -> list[Unit]:
    """Tests that call a library by itself. Those on a network keep it as it is: there it says what is right."""
    units = []
    for path in sorted(TESTS.rglob("*.t.sol")):
        libraries = {
            each.relative_to(TOOLS.parent).as_posix() for each in _imported(path) if "contracts/libraries" in str(each)
        }
        if libraries and not _deploys(path):
            units += [
                Unit(path.relative_to(TOOLS.parent).as_posix(), name, frozenset(libraries))
                for name in re.findall(r"^contract (\w+)", path.read_text("utf-8"), re.MULTILINE)
                if not re.search(LEFT_OUT, name)
            ]
    return units


def _imported(path: Path) -> list[Path]:
    return [Path(os.path.normpath(path.parent / each)) for each in _IMPORT.findall(path.read_text("utf-8"))]


def _deploys(path: Path) -> bool:
    """Whether a test, or a fixture that it stands on, puts the built contracts on a chain."""
    if "deployCode(" in path.read_text("utf-8"):
        return True
    return any(_deploys(each) for each in _imported(path) if each.is_relative_to(TESTS))


class Workplace:
    """A copy of forge's output that mutants are put into, one after the other."""

    def __init__(self, name: str) -> None:
        self._env = env(name)
        self._out = TOOLS / self._env["FOUNDRY_OUT"]
        cache = TOOLS / self._env["FOUNDRY_CACHE_PATH"]
        self._folders = (self._out, cache)
        self.remove()
        shutil.copytree(TOOLS / "out-plain", self._out)
        shutil.copytree(TOOLS / "cache-plain", cache)
        # forge throws a cache away that belongs to other folders.
        index = cache / "solidity-files-cache.json"
        index.write_text(index.read_text().replace('"out-plain', f'"{self._out.name}'))

    def remove(self) -> None:
        for folder in self._folders:
            shutil.rmtree(folder, ignore_errors=True)

    def test(self, only: str = "") -> tuple[bool, str]:
        """Whether all tests pass, and the first that did not. Raises: TrialError if forge did anything else."""
        command = [str(node_tools.forge()), "test", "--fail-fast", "--threads", "1", "--no-match-contract", LEFT_OUT]
        done = subprocess.run(
            [*_LIMITED, *command, *(["--match-contract", only] if only else [])],
            cwd=TOOLS,
            env=self._env,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode == -signal.SIGXCPU:
            return False, "the clock"
        if _UNTOUCHED not in done.stdout:
            raise TrialError(f"forge compiled again:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        failed = _FAILURE.search(done.stdout)
        if done.returncode != 0 and not failed:
            raise TrialError(f"forge failed, no test did:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        return failed is None, failed[1] if failed else ""

    def try_out(self, mutant: Mutant, units: Iterable[Unit], compiler: Compiler) -> Verdict:
        """Put one mutant in, run the tests, take it out again."""
        started = time.monotonic()
        concerned = [unit for unit in units if mutant.file in unit.parts]
        texts = sources()
        texts[mutant.file] = mutant.applied(texts[mutant.file])
        selection: dict[str, dict[str, list[str]]] = {}
        for unit in concerned:
            selection.setdefault(unit.file, {})[unit.name] = ["evm.bytecode.object", "evm.deployedBytecode.object"]
            if unit.file not in texts:
                texts[unit.file] = (TOOLS.parent / unit.file).read_text("utf-8")
        try:
            answer = compiler.compile(texts, selection)["contracts"]
        except CompilerError:
            return Verdict(mutant, Fate.INVALID, seconds=time.monotonic() - started)
        saved = [self._swap(unit, answer[unit.file][unit.name]["evm"]) for unit in concerned]
        try:
            passed, by = self.test()
        finally:
            for path, text in saved:
                path.write_text(text)
        return Verdict(mutant, Fate.SURVIVED if passed else Fate.KILLED, by, time.monotonic() - started)

    def _swap(self, unit: Unit, code: dict[str, Any]) -> tuple[Path, str]:
        path = self._out / Path(unit.file).name / f"{unit.name}.json"
        text = path.read_text()
        artifact = json.loads(text)
        for part in ("bytecode", "deployedBytecode"):
            artifact[part]["object"] = "0x" + code[part]["object"]
        path.write_text(json.dumps(artifact))
        return path, text
