"""Guided fuzzing of decoders, started by scripts/fuzz: each target in a process of its own, with libFuzzer inside.

libFuzzer keeps the inputs that reach code which no other reached, and goes on from them. Errors of a decoder besides
its documented refusals is a finding: the input is kept, and the run goes on. A crash, a hang or too much memory ends
the target's process, and is a finding, too.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import os
import random
import re
import sys
import time
from collections.abc import Sequence
from contextlib import redirect_stderr, suppress
from dataclasses import dataclass, field
from pathlib import Path

import atheris

from tests.fuzz.mutation import bent, mutated
from tests.fuzz.target import OURS, SCRATCH, Finding, Target, attempt

HANG_S = 10
MEMORY_MB = 2_048
MAX_INPUT_BYTES = 1 << 16
MAX_CORPUS_FILES = 2_000
FINDINGS = Path("findings")
CORPUS = Path("corpus")
LOG = Path("log")
_PROGRESS = re.compile(r"#(\d+)\s+\w+\s+cov: (\d+) ft: (\d+) corp: (\d+)")


@dataclass
class Outcome:
    """The outcome of one target: inputs fed, edges and features reached, inputs kept, findings by their files."""

    name: str
    runs: int = 0
    edges: int = 0
    features: int = 0
    corpus: int = 0
    seconds: float = 0.0
    findings: list[Path] = field(default_factory=list)


def run_target(target: Target, runs: int, seed: int, folder: Path) -> Outcome:
    """Fuzz one target in a child process; its log, corpus and findings lie in the folder afterwards."""
    kept = folder / FINDINGS
    before = set(kept.glob(f"{target.name}-*"))
    corpus = folder / CORPUS / target.name
    for each in (kept, corpus, folder / LOG):
        each.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(target.seeds()):
        (corpus / f"seed-{number}").write_bytes(data)
    log = folder / LOG / f"{target.name}.txt"
    outcome = Outcome(target.name)
    started = time.monotonic()
    child = os.fork()
    if not child:
        _become_fuzzer(target, runs, seed, folder, corpus, log)
    _, status = os.waitpid(child, 0)
    outcome.seconds = time.monotonic() - started
    for found in _PROGRESS.finditer(log.read_text(errors="replace")):
        outcome.runs, outcome.edges, outcome.features, outcome.corpus = map(int, found.groups())
    code = os.waitstatus_to_exitcode(status)
    if code:
        _name_the_end(target, code, kept)
    outcome.findings = sorted(set(kept.glob(f"{target.name}-*")) - before)
    return outcome


def _become_fuzzer(target: Target, runs: int, seed: int, folder: Path, corpus: Path, log: Path) -> None:
    """Never returns: libFuzzer ends the process."""
    with log.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    found: set[tuple[str, str, str]] = set()

    def feed(data: bytes) -> None:
        finding = attempt(target, data)
        if finding is not None and finding.key not in found:
            found.add(finding.key)
            keep(finding, folder / FINDINGS)

    def mutate(data: bytes, most: int, dice_seed: int) -> bytes:
        dice = random.Random(dice_seed)

        def bend(part: bytes) -> bytes:
            return bent(part, dice) if dice.random() < 0.3 else bytes(atheris.Mutate(part, most))

        # A nest is deeper than the usual length; cutting it would leave nothing but noise.
        return mutated(data, target.shape, dice, bend)[:MAX_INPUT_BYTES]

    options = {
        "runs": runs,
        "seed": seed,
        "timeout": HANG_S,
        "rss_limit_mb": MEMORY_MB,
        "max_len": MAX_INPUT_BYTES,
        "artifact_prefix": f"{folder / FINDINGS / target.name}-",
        "print_final_stats": 1,
        "verbosity": 1,
    }
    atheris.Setup(
        ["fuzz", *(f"-{name}={value}" for name, value in options.items()), str(corpus)],
        feed,
        custom_mutator=mutate,
    )
    atheris.Fuzz()
    os._exit(0)


def _name_the_end(target: Target, code: int, kept: Path) -> None:
    """A child that did not end by itself left its input, or at least the fact."""
    if not any(any(kept.glob(f"{target.name}-{kind}-*")) for kind in ("crash", "timeout", "oom", "leak")):
        (kept / f"{target.name}-exit-{abs(code)}").write_bytes(b"")


def keep(finding: Finding, folder: Path) -> Path:
    """Save the input of a finding, and beside it what was raised where."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{finding.target}-{hashlib.sha256(finding.data).hexdigest()[:12]}"
    path.write_bytes(finding.data)
    path.with_suffix(".why").write_text(f"{finding.kind} at {finding.where}\n")
    return path


def replay(target: Target, path: Path) -> int:
    """Feed one saved input again, with the whole traceback. Exit code: 1 if it is still a finding."""
    data = path.read_bytes()
    try:
        target.feed(data)
    except target.refusals as error:
        print(f"refused as it should be: {type(error).__name__}: {error!s:.200}")
        return 0
    print("read without an error")
    return 0


def shares(chosen: Sequence[Target], runs: int) -> dict[str, int]:
    """How many inputs each target gets, so that together they are `runs`."""
    whole = sum(target.share for target in chosen)
    given = {target.name: max(1, int(runs * target.share / whole)) for target in chosen}
    given[chosen[0].name] += max(0, runs - sum(given.values()))
    return given


def table(outcomes: Sequence[Outcome]) -> str:
    """Inputs fed, code reached, findings."""
    rows = [("target", "inputs", "edges", "features", "kept", "seconds", "findings")]
    for each in outcomes:
        counts = (each.runs, each.edges, each.features, each.corpus)
        rows.append((each.name, *map(str, counts), f"{each.seconds:.1f}", str(_count(each.findings))))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        )
        for row in rows
    )


def _count(findings: Sequence[Path]) -> int:
    return sum(1 for path in findings if path.suffix != ".why")


def instrumented_targets() -> dict[str, Target]:
    """Every decoder of the project by name, imported here because instrumenting all of its code takes 12 s."""
    # It names every module that it instruments.
    with redirect_stderr(io.StringIO()), atheris.instrument_imports(include=list(OURS)):
        from tests.fuzz import targets
    return targets.TARGETS


def main() -> int:
    """Exit code: 0 nothing found, 1 something was, 2 no such target."""
    targets = instrumented_targets()
    parser = argparse.ArgumentParser(prog="scripts/fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(targets))
    parser.add_argument("--runs", type=int, default=100_000, help="inputs in all, over all targets (100,000)")
    parser.add_argument("--seed", type=int, default=1, help="what chance begins with (1)")
    parser.add_argument("--folder", type=Path, default=Path("out/fuzz"), help="corpus, logs and findings")
    parser.add_argument("--input", type=Path, help="feed this saved input to the one TARGET, and show what it raises")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.targets if name not in targets]
    if unknown or arguments.runs < 1 or (arguments.input and len(arguments.targets) != 1):
        what = f"there is no target {unknown[0]}" if unknown else "--runs is 1 or more, and --input needs one TARGET"
        print(f"error: {what}\nhint: choose from: {', '.join(targets)}", file=sys.stderr)
        return 2
    chosen = [targets[name] for name in dict.fromkeys(arguments.targets or targets)]
    with SCRATCH.somewhere():
        if arguments.input:
            return replay(chosen[0], arguments.input)
        return fuzz(chosen, arguments.runs, arguments.seed, arguments.folder)


def fuzz(chosen: Sequence[Target], runs: int, seed: int, folder: Path) -> int:
    """Fuzz some targets one after the other and say what came of it. Exit code: 1 if something was found."""
    outcomes = []
    for target in chosen:
        outcome = run_target(target, shares(chosen, runs)[target.name], seed, folder)
        outcomes.append(outcome)
        print(f"{target.name}: {outcome.runs} inputs, {_count(outcome.findings)} findings", file=sys.stderr, flush=True)
    print(table(outcomes))
    found = [path for outcome in outcomes for path in outcome.findings if path.suffix != ".why"]
    for path in found:
        why = ""
        with suppress(OSError):
            why = path.with_suffix(".why").read_text().strip()
        name = next(outcome.name for outcome in outcomes if path in outcome.findings)
        print(f"finding: {why or path.name}\n  again: ./scripts/fuzz {name} --input {path}")
    print(f"total: {sum(outcome.runs for outcome in outcomes)} inputs, {len(found)} findings, seed {seed}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
