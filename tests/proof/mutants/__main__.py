"""Mutants of the contracts, started by scripts/prove mutants: which of a sample are noticed by the tests.

A seed says which mutants; each contract and library has its share. One that survives is a gap in the tests, or stands
in equivalent.toml with the reason why it behaves like the code that it replaced.
"""

from __future__ import annotations

import argparse
import os
import queue
import sys
import threading
import time
from collections.abc import Iterator, Sequence

from scripts.solc import Compiler
from tests.proof.mutants import equivalent
from tests.proof.mutants.mutation import Mutant, sample
from tests.proof.mutants.trial import Fate, TrialError, Unit, Verdict, Workplace, build, survey

LEAST_KILLED_PERCENT = 90


class Run:
    """A number of mutants, tried on all cores."""

    def __init__(self, made: Sequence[Mutant], units: Sequence[Unit], count: int, seed: int) -> None:
        known = equivalent.known()
        self._order: Iterator[Mutant] = (each for each in sample(made, count, seed) if each.key not in known)
        self._units = units
        self._count = count
        self._taken = 0
        self._lock = threading.Lock()
        self._done: queue.Queue[Verdict | BaseException | None] = queue.Queue()

    def verdicts(self, workers: int) -> Iterator[Verdict]:
        """As they come, `count` of them or all there are; those that do not compile do not count.

        Raises: TrialError if the tests cannot be run.
        """
        threads = [threading.Thread(target=self._work, args=(number,), daemon=True) for number in range(workers)]
        for thread in threads:
            thread.start()
        working = len(threads)
        while working:
            done = self._done.get()
            if isinstance(done, BaseException):
                raise done
            if done is None:
                working -= 1
            elif done.fate is not Fate.INVALID:
                yield done

    def _work(self, number: int) -> None:
        try:
            place = Workplace(f"mutants-{number}")
            try:
                with Compiler() as compiler:
                    while (mutant := self._next()) is not None:
                        verdict = place.try_out(mutant, self._units, compiler)
                        if verdict.fate is Fate.INVALID:
                            self._give_back()
                        self._done.put(verdict)
            finally:
                place.remove()
        except BaseException as error:
            self._done.put(error)
        self._done.put(None)

    def _next(self) -> Mutant | None:
        with self._lock:
            if self._taken == self._count:
                return None
            self._taken += 1
            return next(self._order, None)

    def _give_back(self) -> None:
        with self._lock:
            self._taken -= 1


def run(count: int, seed: int, file: str = "") -> tuple[list[Verdict], list[tuple[str, str, str, str]]]:
    """Try a sample, with a line for each. Returns: what became of them, and the stale entries of equivalent.toml.

    Raises: TrialError if the tests cannot be run, or fail as they are.
    """
    started = time.monotonic()
    build()
    with Compiler() as compiler:
        made, units = survey(compiler)
    _require_green()
    stale = equivalent.stale(made)
    made = [each for each in made if file in each.file]
    print(f"{len(made)} mutants to choose from, ready after {time.monotonic() - started:.1f} s", flush=True)
    verdicts = []
    for verdict in Run(made, units, count, seed).verdicts(os.cpu_count() or 1):
        verdicts.append(verdict)
        print(line(verdict), flush=True)
    return verdicts, stale


def _require_green() -> None:
    place = Workplace("mutants-0")
    try:
        passed, failed = place.test()
    finally:
        place.remove()
    if not passed:
        raise TrialError(f"{failed} fails without any mutant")


def line(verdict: Verdict) -> str:
    each = verdict.mutant
    by = f" by {verdict.by}" if verdict.by else ""
    place = f"{each.file}:{each.line}"
    shown = f"{verdict.fate.value:8}  {verdict.seconds:4.1f} s  {place:38}  {each.kind}{by}"
    if verdict.fate is Fate.SURVIVED:
        shown += f"\n    - {each.before}\n    + {each.after}"
    return shown


def killed_percent(verdicts: Sequence[Verdict]) -> float:
    return 100 * sum(each.fate is Fate.KILLED for each in verdicts) / len(verdicts)


def main() -> int:
    """Exit code: 0 nine of ten or more were killed, 1 fewer, an entry is stale or the tests fail, 2 wrong usage."""
    parser = argparse.ArgumentParser(prog="scripts/prove mutants", description=__doc__)
    parser.add_argument("--count", type=int, default=40, help="mutants to try (40)")
    parser.add_argument("--seed", type=int, default=1, help="which ones (1)")
    parser.add_argument("--file", default="", help="only of sources with this in their path")
    arguments = parser.parse_args()
    if arguments.count < 1:
        parser.error("--count is 1 or more")
    started = time.monotonic()
    try:
        verdicts, stale = run(arguments.count, arguments.seed, arguments.file)
    except TrialError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if not verdicts:
        print(f"error: no source has {arguments.file} in its path", file=sys.stderr)
        return 2
    for key in stale:
        print(f"error: stale in {equivalent.FILE.name}: {' | '.join(key)}")
    survivors = [each.mutant for each in verdicts if each.fate is Fate.SURVIVED]
    if survivors:
        print("\nKill these, or give the reason in tests/proof/mutants/equivalent.toml:\n")
        print("\n\n".join(map(equivalent.entry, survivors)) + "\n")
    percent = killed_percent(verdicts)
    killed = len(verdicts) - len(survivors)
    seconds = time.monotonic() - started
    print(f"total: {killed} of {len(verdicts)} killed ({percent:.0f}%), seed {arguments.seed}, {seconds:.0f} s")
    return 0 if percent >= LEAST_KILLED_PERCENT and not stale else 1


if __name__ == "__main__":
    sys.exit(main())
