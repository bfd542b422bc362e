"""Many jobs in bad weather: what became of them, and a hash of everything that happened."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

from protocol import events as ev
from protocol.job import TERMINAL, Stage
from protocol.params import VCN
from protocol.wire.ids import BatchId
from tests.simulation.node import Node
from tests.simulation.scene import Work, ask
from tests.simulation.weather import Weather
from tests.simulation.world import World

NODES_PER_REQUESTER = 5
DEPOSIT = 1_000 * VCN
SECONDS_PER_JOB = 5
PATIENCE_S = 3_600
CHECK_EVERY = 4
"""Every fourth job is one that its client pays to have checked."""
QUIET_MS = 60_000


@dataclass(frozen=True)
class Summary:
    """How a run ended. Amounts in wei; `digest` names the whole history."""

    nodes: int
    jobs: int
    seed: int
    ends: dict[str, int]
    moved: int
    kills: int
    reorgs: int
    slashed: int
    burned: int
    simulated_s: int
    digest: str

    @property
    def done(self) -> int:
        """Jobs whose client has its answer and whose node has its pay."""
        return self.ends.get(Stage.SPENDABLE, 0)


class Broken(Exception):
    """Something happened that must not; the text says what."""


Progress = Callable[[int, int], None]


def simulate(
    nodes: int, jobs: int, seed: int, weather: Weather, progress: Progress = lambda ended, jobs: None
) -> Summary:
    """Run until every job and every batch has ended.

    A fifth of the nodes ask, the others work and judge; every tenth of these is dishonest.
    Raises: Broken where a job does not end, a number is signed twice, a wei is lost or an honest node is hurt.
    """
    try:
        return _simulate(nodes, jobs, seed, weather, progress)
    except AssertionError as error:
        raise Broken(str(error) or "a machine broke its own rule") from error


def _simulate(nodes: int, jobs: int, seed: int, weather: Weather, progress: Progress) -> Summary:
    world = World(seed, weather)
    askers = [world.add(f"asker-{n}", {"requester"}) for n in range(max(1, nodes // NODES_PER_REQUESTER))]
    for asker in askers:
        world.chain.deposit(asker.address, DEPOSIT)
    for number in range(nodes - len(askers)):
        work = Work.DISHONEST if number % 10 == 9 else Work.HONEST
        world.add(f"worker-{number}", {"provider", "verifier"}, 5_000 + 1_000 * (number % 7), work)
    world.start()
    for number in range(jobs):
        _ask_later(world, askers[number % len(askers)], number + 1, 3_000 + number * SECONDS_PER_JOB * 1_000)
    _run_out(world, askers, jobs, progress)
    views = [view for asker in askers for view in asker.machine.requester.jobs]
    _require_bills(world, askers)
    _require_honest_unhurt(world)
    ends = Counter(str(view.stage) for view in views)
    return Summary(
        nodes=nodes,
        jobs=jobs,
        seed=seed,
        ends=dict(sorted(ends.items())),
        moved=sum(view.attempt > 0 for view in views),
        kills=world.kills,
        reorgs=world.chain.reorgs,
        slashed=sum(_lost_stake(world, node) > 0 for node in world.nodes.values()),
        burned=world.chain.contracts.burned,
        simulated_s=(world.now_ms - world.started_ms) // 1_000,
        digest=world.trace(),
    )


def _ask_later(world: World, asker: Node, number: int, delay_ms: int) -> None:
    """Ask once the node is up: the user of a node that is down waits."""

    def go() -> None:
        if asker.up:
            asker.take(ask(number, now_ms=world.now_ms, checked=number % CHECK_EVERY == 0))
        else:
            world.soon(go, 1_000)

    world.soon(go, delay_ms)


def _run_out(world: World, askers: list[Node], jobs: int, progress: Progress) -> None:
    looked_s, told = 0, -1

    def over() -> bool:
        nonlocal looked_s, told
        if looked_s == world.now_ms // 1_000 or not all(node.up for node in world.nodes.values()):
            return False
        looked_s = world.now_ms // 1_000
        ended = sum(view.stage in TERMINAL for asker in askers for view in asker.machine.requester.jobs)
        if ended != told:
            told = ended
            progress(ended, jobs)
        return ended == jobs and not world.chain.has_open_batches

    world.run(over, jobs * SECONDS_PER_JOB + PATIENCE_S)
    # Then the weather clears, so that everybody has heard how it ended.
    world.weather = replace(world.weather, crash=0.0, reorg=0.0)
    end_ms = world.now_ms + QUIET_MS
    world.run(lambda: world.now_ms > end_ms)


def _require_bills(world: World, askers: list[Node]) -> None:
    """The rest of every client is its deposit without the cost of its jobs."""
    contracts = world.chain.contracts
    for asker in askers:
        left = contracts.free[asker.address] + sum(
            lane.left for lane in contracts.lanes.values() if lane.client == asker.address
        )
        billed = sum(view.debit for view in asker.machine.requester.jobs)
        assert left == DEPOSIT - billed, f"{asker.name}: {DEPOSIT - billed - left} wei more gone than billed"


def _require_honest_unhurt(world: World) -> None:
    for node in world.nodes.values():
        assert node.work is not Work.HONEST or not _lost_stake(world, node), f"{node.name} is honest and lost stake"


def _lost_stake(world: World, node: Node) -> int:
    """The cost of its own work; a seat that the weather kept silent in another node's case is fined as well."""
    contracts = world.chain.contracts
    known = contracts.nodes.get(node.address)
    slashes = {event for event in world.told.get(ev.NodeSlashed, ()) if event.node == node.address}
    fines = (
        each.amount for each in slashes if contracts.cases[BatchId(each.batch_id)].batch.batch.node != node.address
    )
    return node.stake - known.stake - sum(fines) if known else 0
