"""Plays histories on the contracts: forge runs tests/contracts/Replay.sol over a file with one history a line."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

from protocol.wire.ids import Address, checksum
from scripts.setup import node_tools
from scripts.solc import TOOLS
from tests.proof.histories.rules import word_of
from tests.proof.histories.scene import Look, Scene, Step

FOLDER = TOOLS / "out-histories"
SCRIPT = "../tests/contracts/Replay.sol"
TARGETS = ("VCoin", "StakeManager", "Settlement", "EpochBeacon", "Court", "Panel")
_DIFFERS = re.compile(r"history (\d+), step (\d+): (.+)")


class Differs(Exception):
    """The contracts do something else than the specification: history, step, and what."""

    def __init__(self, history: int, step: int, what: str) -> None:
        super().__init__(f"history {history}, step {step}: {what}")
        self.history, self.step, self.what = history, step, what


def encoded(steps: Sequence[Step]) -> str:
    """A history as the line of hex that Replay.sol reads."""
    return "0x" + (word_of(32) + _list(map(_step, steps))).hex()


def _step(step: Step) -> bytes:
    numbers = (step.time, step.block, step.hashed)
    target = word_of(TARGETS.index(step.contract))
    looks = _list(map(_look, step.looks))
    return _tuple(
        *(*map(word_of, numbers), step.block_hash, word_of(step.sender), target),
        *([_bytes(step.data)], word_of(step.succeeds), [looks]),
    )


def _look(look: Look) -> bytes:
    words = word_of(len(look.words)) + b"".join(map(word_of, look.words))
    values = word_of(len(look.values)) + b"".join(look.values)
    return _tuple(word_of(TARGETS.index(look.contract)), [_bytes(look.data)], [words], [values])


def _bytes(data: bytes) -> bytes:
    return word_of(len(data)) + data + bytes(-len(data) % 32)


def _list(encoded: Iterable[bytes]) -> bytes:
    parts = list(encoded)
    return word_of(len(parts)) + _tuple(*([part] for part in parts))


def _tuple(*parts: bytes | list[bytes]) -> bytes:
    """As the ABI has it: words, and where each dynamic part, given in a list, is to be found after them."""
    heads, tails, end = [], [], 32 * len(parts)
    for part in parts:
        if isinstance(part, bytes):
            heads.append(part)
            continue
        heads.append(word_of(end))
        tails += part
        end += len(part[0])
    return b"".join([*heads, *tails])


def scene() -> Scene:
    """The addresses at which Replay.sol deploys the contracts."""
    found = re.findall(r"(\w+) at (0x\w{40})", _forge("where()"))
    return Scene({name: checksum(text) for name, text in found})


def deployer() -> Address:
    """The holder of the supply, who governs Params."""
    (text,) = re.findall(r"deployer is (0x\w{40})", _forge("where()"))
    return checksum(text)


def play(prelude: Sequence[Step], histories: Iterable[str], name: str = "histories") -> int:
    """Play the prelude, and each history as it goes on from there. Returns: the number of calls.

    Raises: Differs for the first difference.
    """
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"{name}.txt"
    with path.open("w") as file:
        file.write(encoded(prelude) + "\n")
        for line in histories:
            file.write(line + "\n")
    try:
        output = _forge("play(string)", f"out-histories/{path.name}")
    finally:
        path.unlink()
    if found := _DIFFERS.search(output):
        raise Differs(int(found[1]), int(found[2]), found[3])
    played = re.search(r"played (\d+) calls", output)
    if not played:
        raise RuntimeError(f"forge played nothing:\n{output[-3000:]}")
    return int(played[1])


def _forge(signature: str, *arguments: str | Path) -> str:
    command = [node_tools.forge(), "script", f"{SCRIPT}:Replay", "--sig", signature, *arguments]
    env = {
        **os.environ,
        "FOUNDRY_SCRIPT_EXECUTION_PROTECTION": "false",
        "FOUNDRY_GAS_LIMIT": str(2**63 - 1),
        "FOUNDRY_MEMORY_LIMIT": str(2**31),
    }
    done = subprocess.run(
        [str(part) for part in command], cwd=TOOLS, env=env, capture_output=True, text=True, check=False
    )
    return done.stdout + done.stderr
