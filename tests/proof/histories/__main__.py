"""Random histories, started by scripts/prove: the contracts must do with each what the specification does.

A history is a few dozen moves of clients, nodes, owners, those who stake with them, seats and arbiters on a network at
work, some of which must be refused.
After every call what it touched is compared, at the end everything: accounts, lanes, books, records, batches, coins.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial

from tests.proof.histories import replay
from tests.proof.histories.beginning import begun, history
from tests.proof.histories.player import Player
from tests.proof.histories.scene import Scene

MOVES = 60
AT_ONCE = 200
_BEFORE = 8
MOVED = frozenset(
    f"{contract}.{name}"
    for contract, names in {
        "StakeManager": "stake delegate unbond rebond withdraw claimRewards unjail checkIn penalizeOffline "
        "setCommission confirmCommission cancelCommission setPayout confirmPayout cancelPayout",
        "Settlement": "deposit withdraw setSigner openLane closeLane reclaimLane submit finalize refund claim "
        "flushBurn voidLost",
        "EpochBeacon": "seal rearm",
        "Court": "convene commitSeat revealSeat abstain replaceSeat demandData answerData resolve appeal voidStarved "
        "joinVerifiers leaveVerifiers",
        "Panel": "setArbiters vote",
    }.items()
    for name in names.split()
)
"""Every call that a history may make; one that none makes is compared with nothing."""


@dataclass
class Played:
    """The counts of a comparison: histories, calls, refused calls, batches and cases by their ends."""

    histories: int = 0
    calls: int = 0
    refused: int = 0
    made: Counter[str] = field(default_factory=Counter)
    """Calls by name, those that succeeded."""
    refusals: Counter[str] = field(default_factory=Counter)
    """The others by name and reason."""
    ends: Counter[str] = field(default_factory=Counter)
    difference: str = ""

    def add(self, other: Played) -> None:
        self.histories += other.histories
        self.calls += other.calls
        self.refused += other.refused
        self.made += other.made
        self.refusals += other.refusals
        self.ends += other.ends
        self.difference = self.difference or other.difference


def play(scene: Scene, deployer: str, seeds: Sequence[int], moves: int = MOVES) -> Played:
    """Tell and play a history a seed."""
    beginning = begun(scene, deployer)
    told: list[Player] = []
    played = Played()

    def lines() -> list[str]:
        told.extend(history(beginning, seed, moves) for seed in seeds)
        return [replay.encoded(player.steps) for player in told]

    try:
        played.calls = replay.play(beginning.steps, lines(), f"histories-{seeds[0]}")
    except replay.Differs as found:
        steps = told[found.history - 1].steps if found.history else beginning.steps
        seed = f"seed {seeds[found.history - 1]}" if found.history else "the beginning"
        last = (f"  {step.time} {step.words}" for step in steps[max(0, found.step - _BEFORE) : found.step + 1])
        played.difference = "\n".join([f"{seed}, step {found.step}: {found.what}", *last])
    played.histories = len(seeds)
    for player in told:
        played.refused += sum(not step.succeeds for step in player.steps)
        played.made += Counter(f"{step.contract}.{step.name}" for step in player.steps if step.succeeds)
        played.refusals += Counter(
            f"{step.contract}.{step.name}: {step.words.partition(', refused: ')[2]}"
            for step in player.steps
            if not step.succeeds
        )
        played.ends += Counter(f"case {case.verdict or 'open'}" for case in player.ledger.cases.values())
        played.ends += Counter(f"margins {case.alarms}" for case in player.ledger.cases.values() if case.alarms)
        played.ends += Counter(f"batch {batch.state}" for batch in player.ledger.batches.values())
        played.ends += Counter(
            f"fee kept of a {each.state} batch" for each in player.ledger.batches.values() if each.fee_kept
        )
    return played


def main() -> int:
    """Exit code: 0 all agree, 1 one does not."""
    parser = argparse.ArgumentParser(prog="scripts/prove histories", description=__doc__)
    parser.add_argument("--count", type=int, default=10_000, help="histories (10,000)")
    parser.add_argument("--seed", type=int, default=1, help="of the first one; the others follow (1)")
    parser.add_argument("--moves", type=int, default=MOVES, help=f"moves in each ({MOVES})")
    arguments = parser.parse_args()
    if arguments.count < 1 or arguments.moves < 1:
        parser.error("--count and --moves are 1 or more")
    started = time.monotonic()
    scene, deployer = replay.scene(), replay.deployer()
    seeds = range(arguments.seed, arguments.seed + arguments.count)
    shares = [seeds[at : at + AT_ONCE] for at in range(0, len(seeds), AT_ONCE)]
    whole = Played()
    with ProcessPoolExecutor(os.cpu_count() or 1) as pool:
        work = partial(play, scene, deployer, moves=arguments.moves)
        for played in pool.map(work, shares):
            whole.add(played)
            if whole.difference:
                pool.shutdown(cancel_futures=True)
                print(f"error: {whole.difference}")
                print(f"hint: scripts/prove histories --count 1 --moves {arguments.moves} --seed N plays one alone")
                return 1
            print(f"{whole.histories} histories, {whole.calls} calls", file=sys.stderr, flush=True)
    for told in (whole.made, whole.refusals, whole.ends):
        for what, count in sorted(told.items()):
            print(f"{count:8} {what}")
        print()
    missing = sorted(MOVED - whole.made.keys())
    if missing and whole.histories >= AT_ONCE:
        print(f"hint: too few histories for {', '.join(missing)}", file=sys.stderr)
    seconds = time.monotonic() - started
    counts = f"{whole.histories} histories, {whole.calls} calls, {whole.refused} of them refused"
    print(f"total: {counts}, all agree; {seconds:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
