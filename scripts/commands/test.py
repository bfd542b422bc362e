"""`scripts/test [--fast | --long] [LAYER...]`: the layers of tests, with what they need set up before.

A layer is a folder of tests, or those of a folder that bear some marks; one without tests is not listed, a folder that
is no layer is an error. All layers run, also after one has failed; the table at the end says how each went. Those that
take too long for every change run by --long or by their name.

Layers of different lanes run side by side: those that compute take what those that wait for blocks, peers and
containers leave of the cores.
"""

from __future__ import annotations

import argparse
import io
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from node.cli.ui import output
from scripts.commands import check
from scripts.setup import node_tools, venv
from scripts.setup.cache import REPOSITORY
from scripts.setup.failure import Missing, report
from scripts.setup.session import SERVICES, Session

TESTS = REPOSITORY / "tests"
# Folders under tests/ that hold no tests of their own.
SUPPORT = {"benchmarks", "fakes", "support", "vectors"}


@dataclass(frozen=True)
class LayerLane:
    """Layers that share something: `width` says how many of them run at a time.

    niceness: how far they give way to other lanes; the tighter the deadlines of its tests, the less. Below 0, where the
    user may, they go before the others.
    """

    name: str
    width: int = 1
    niceness: int = 0


# They compute, and take what the others leave.
CORES = LayerLane("cores", os.cpu_count() or 1, niceness=19)
# So do these, but forge does not share its output with a second forge.
FORGE = LayerLane("forge", niceness=19)
# Tests of containers count those of the whole engine, and some have half a second to end one. All containers together
# weigh as much as one process of niceness 0: what has nodes and containers must not go before that.
ENGINE = LayerLane("engine")
# Nodes have seconds to answer each other, and chains blocks to come: they wait more than they compute, as those of the
# engine do, and two of them at a time keep their times on two cores.
PEERS = LayerLane("peers")
LANES = (CORES, FORGE, ENGINE, PEERS)
# For one test; what takes a minute alone may take ten beside others, and does not hang.
LIMIT_S = 900


@dataclass(frozen=True)
class Layer:
    """Tests that need the same things.

    marks: only those of the folder with them. fast: belongs to `--fast`. long: runs by `--long` or by its name only.
    ahead: by how much it goes before the others of its lane.
    """

    name: str
    folder: str
    lane: LayerLane = CORES
    needs: tuple[str, ...] = ("venv",)
    marks: str = ""
    fast: bool = False
    long: bool = False
    limit_s: int = LIMIT_S
    ahead: int = 0

    def has_tests(self) -> bool:
        return any(True for pattern in ("test_*.py", "*.t.sol") for _ in (TESTS / self.folder).rglob(pattern))


# Of those that compute the longest come first, so that none is left alone at the end.
LAYERS = (
    # Its slow tests compile the contracts, and compare them with those in chain/abi.
    Layer("unit", "unit", needs=("venv", "node tools"), fast=True),
    Layer("simulation", "simulation"),
    Layer("static", "", fast=True),
    Layer("property", "property", fast=True),
    Layer("fuzz", "fuzz"),
    Layer("contracts", "contracts", FORGE, ("venv", "node tools")),
    # Proofs about the contracts beyond their tests, in shares that fit here; scripts/prove does all of them.
    Layer("proof", "proof", FORGE, ("venv", "node tools", "analysers"), marks="not long"),
    # Its seats have a minute, so it comes while the other lanes leave most.
    Layer("end-to-end", "end_to_end", ENGINE, (*SERVICES, "clients")),
    # Integration and conformance, in three: containers, whole nodes and their peers, and what takes a chain at most.
    Layer("containers", "integration", ENGINE, SERVICES, marks="docker and not long"),
    Layer("sandboxes", "conformance", ENGINE, SERVICES, marks="docker"),
    Layer("nodes", "integration", PEERS, ("venv", "node tools"), marks="libp2p and not docker"),
    Layer("chain", "integration", PEERS, ("venv", "node tools"), marks="not libp2p and not docker"),
    Layer("adapters", "conformance", PEERS, ("venv", "node tools"), marks="not docker"),
    # Dishonest parties among whole nodes with real containers. One market is the fixture of all its tests, and one
    # process has all its nodes: a node has two seconds to promise a job, so it goes before its own containers.
    Layer("adversaries", "adversaries", ENGINE, SERVICES, long=True, limit_s=2 * LIMIT_S, ahead=10),
    # Results of a smaller model or of a forged choice, which take long to tell from honest ones, and calibration.
    Layer("substitutes", "integration", ENGINE, SERVICES, marks="docker and long", long=True),
    # Mutants, statements for all inputs, coverage: they say how good the tests of the contracts are.
    Layer("proof-long", "proof", FORGE, ("venv", "node tools", "analysers"), "long", long=True, limit_s=2 * LIMIT_S),
)


def layers() -> list[Layer]:
    """The layers that have tests. Raises: Missing if tests lie where no layer would run them."""
    known = {layer.folder for layer in LAYERS} | SUPPORT
    strays = [
        path.name
        for path in TESTS.iterdir()
        if path.is_dir() and path.name not in known and any(path.rglob("test_*.py"))
    ]
    if strays:
        raise Missing(f"tests/{strays[0]} belongs to no layer", "name it in LAYERS of scripts/commands/test.py")
    return [layer for layer in LAYERS if layer.has_tests()]


@dataclass
class LayerOutcome:
    """How a layer went; counts are of single tests, as its runners print them."""

    layer: Layer
    out: TextIO
    passed: int = 0
    failed: int = 0
    good: bool = True
    seconds: float = 0.0


class Run:
    """One run of some layers in a session's environment."""

    def __init__(self, session: Session, *, fast: bool) -> None:
        # Nodes and commands under test share bytecode, even where this machine forbids Python to write it.
        self._env = {name: value for name, value in session.env.items() if name != "PYTHONDONTWRITEBYTECODE"}
        self._fast = fast

    def all(self, chosen: Sequence[Layer]) -> list[LayerOutcome]:
        """All lanes side by side; what a layer printed is shown when it has ended, unless it is the only one."""
        if len(chosen) == 1:
            return [self.layer(chosen[0], sys.stdout)]
        with ExitStack() as stack:
            pools = {lane: stack.enter_context(ThreadPoolExecutor(lane.width)) for lane in LANES}
            running = [pools[layer.lane].submit(self._kept, layer) for layer in chosen]
            try:
                for ended in as_completed(running):
                    print(ended.result()[0].getvalue(), end="", flush=True)
            except BaseException:
                for waiting in running:
                    waiting.cancel()
                raise
            return [ended.result()[1] for ended in running]

    def _kept(self, layer: Layer) -> tuple[io.StringIO, LayerOutcome]:
        out = io.StringIO()
        return out, self.layer(layer, out)

    def layer(self, layer: Layer, out: TextIO) -> LayerOutcome:
        print(f"\n--- {layer.name} ---", file=out, flush=True)
        outcome = LayerOutcome(layer, out)
        started = time.monotonic()
        if layer.name == "static":
            outcome.good = check.run(out=out)
            self._pytest(outcome, TESTS / "test_architecture.py")
        elif layer.name == "contracts":
            self._forge(outcome)
        else:
            self._pytest(outcome, TESTS / layer.folder, layer.marks)
        outcome.seconds = time.monotonic() - started
        return outcome

    def _pytest(self, outcome: LayerOutcome, path: Path, only: str = "") -> None:
        absent = [] if shutil.which("nvidia-smi") else ["not gpu"]
        marks = " and ".join([*([only] if only else []), *absent, *(["not slow"] if self._fast else [])])
        command = [
            str(venv.PYTHON),
            "-m",
            "pytest",
            "-q",
            str(path.relative_to(REPOSITORY)),
            *(["-m", marks] if marks else []),
        ]
        command += ["-o", f"faulthandler_timeout={outcome.layer.limit_s}"]
        command += ["--color=yes"] if sys.stdout.isatty() else []
        self._stream(outcome, command, REPOSITORY)

    def _forge(self, outcome: LayerOutcome) -> None:
        self._stream(outcome, [str(node_tools.forge()), "test"], node_tools.FOLDER)
        if any((TESTS / "contracts").rglob("test_*.py")):
            self._pytest(outcome, TESTS / "contracts")

    def _stream(self, outcome: LayerOutcome, command: Sequence[str], folder: Path) -> None:
        """Show a runner's output as it comes, and take the counts from it."""
        process = subprocess.Popen(
            ["nice", "-n", str(outcome.layer.lane.niceness - outcome.layer.ahead), *command],
            cwd=folder,
            env=self._env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        closing = ""
        with process:
            assert process.stdout is not None
            for line in process.stdout:
                print(line, end="", file=outcome.out, flush=True)
                if _COUNT.search(line) and " in " in line:
                    closing = line
        for number, word in _COUNT.findall(_COLOUR.sub("", closing)):
            if word == "passed":
                outcome.passed += int(number)
            else:
                outcome.failed += int(number)
        if process.returncode < 0:
            print(f"{command[0]} was ended by {signal.Signals(-process.returncode).name}", file=outcome.out, flush=True)
        outcome.good &= process.returncode == 0


_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
# pytest: "3 failed, 20 passed, 1 error in 0.9s"; forge: "Ran 9 test suites in 1.2s: 40 tests passed, 0 failed, ..."
_COUNT = re.compile(r"(\d+) (?:tests )?(passed|failed|error)")


def table(outcomes: Sequence[LayerOutcome]) -> str:
    head = ("layer", "result", "passed", "failed", "seconds")
    rows = [
        (o.layer.name, "ok" if o.good else "FAILED", str(o.passed), str(o.failed), f"{o.seconds:.1f}") for o in outcomes
    ]
    return "\n".join(output.table(head, rows))


def choose(names: Sequence[str], *, fast: bool = False, long: bool = False) -> list[Layer]:
    """The layers of these names or folders; without any, those of every day, or the long ones.

    Raises: Missing for a name that is no layer with tests.
    """
    present = layers()
    for name in names:
        if name not in {layer.name for layer in present} | {layer.folder for layer in present if layer.marks}:
            raise Missing(f"there is no layer {name}", "choose from: " + ", ".join(layer.name for layer in present))
    named = [layer for layer in present if layer.name in names or layer.folder in names]
    wanted = named if names else [layer for layer in present if layer.long == long]
    return [layer for layer in wanted if (layer.fast or not fast) and (layer.long or not long)]


_LONG = ", ".join(layer.name for layer in LAYERS if layer.long)


def main() -> int:
    """Exit code: 0 all passed, 1 something failed, 4 set-up could not be done, 130 interrupted."""
    parser = argparse.ArgumentParser(prog="scripts/test", description=__doc__)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--fast", action="store_true", help="only what needs no service, in under a minute")
    which.add_argument("--long", action="store_true", help="only what takes too long for every day: " + _LONG)
    parser.add_argument("--keep", action="store_true", help="leave the Docker Engine up for the next run")
    parser.add_argument("layers", nargs="*", metavar="LAYER", help=", ".join(layer.name for layer in LAYERS))
    arguments = parser.parse_args()

    def body() -> int:
        chosen = choose(arguments.layers, fast=arguments.fast, long=arguments.long)
        started = time.monotonic()
        needs = {"venv"} if arguments.fast else {need for layer in chosen for need in layer.needs}
        with Session(needs, keep=arguments.keep) as session:
            set_up = time.monotonic() - started
            run = Run(session, fast=arguments.fast)
            outcomes = run.all(chosen)
        print(f"\n{table(outcomes)}")
        print(f"set-up {set_up:.1f} s, all of it {time.monotonic() - started:.1f} s")
        # The line that CI counts by.
        print(f"total: {sum(o.passed for o in outcomes)} passed, {sum(o.failed for o in outcomes)} failed", flush=True)
        return 0 if all(outcome.good for outcome in outcomes) else 1

    return report(body)


if __name__ == "__main__":
    sys.exit(main())
