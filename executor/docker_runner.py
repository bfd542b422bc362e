"""Runs jobs and checks in containers of this machine's Docker Engine; blocking calls run in threads of their own."""

import contextlib
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import trio

from executor import devices
from executor.calls import BlockingCalls
from executor.cards.card_desk import CardsReport
from executor.cards.card_keeper import CardKeeper
from executor.cards.card_reader import CardReader
from executor.conversion import add_wheel
from executor.models import ModelStore
from executor.runs.context import SERVE, RunnerContext
from executor.runs.generation import Ended, Generation, PendingRun
from executor.runs.replay import Replay
from executor.scheduler.engine_host import DockerEngineHost
from executor.scheduler.engine_scheduler import CHECK_WAITS_S, EngineScheduler
from executor.scheduler.engine_use import EngineUse
from executor.scheduler.live_engine import OnTokens
from executor.scheduler.serving import EngineEnd, RunWatch, ServingReport, ServingTally
from executor.scheduler.slots import HostSlots
from executor.standing import StandingContainers
from executor.workspace.folders import STOP_ORDER_BIN, Workspaces
from protocol.effects import ReplaySample, ShortenRun
from protocol.errors import ExecutorError
from protocol.events import ContainerExited, ContainersHeld, DeviceReported, RunShortened, SampleReplayed
from protocol.stages.blob import ModelManifest
from protocol.stages.execution import Outcome, RunSpec, failed
from protocol.stages.heartbeat import DeviceStatus
from protocol.wire.bounded import Counted

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Capacity:
    """What the owner of a node gives: slots, containers of this node that work at once; host_slots, of the machine.

    at_once: answers side by side in an engine; with one, each job has a container of its own. memory_bytes, keep_s: of
    an engine, and how long it stays loaded without work; host_engines: how many may, over all nodes of the machine.
    starts_ahead: whether the most used engine that ended before its time is started again before a job comes.
    """

    slots: int
    host_slots: HostSlots
    host_engines: HostSlots = field(default_factory=lambda: HostSlots(Path(), 0))
    at_once: int = 1
    memory_bytes: int = 4 << 30
    keep_s: float = 0.0
    starts_ahead: bool = True


class DockerRunner:
    """A `Runner` for one node, for as long as it lives."""

    def __init__(
        self, context: RunnerContext, workspaces: Workspaces, capacity: Capacity, reader: CardReader | None = None
    ) -> None:
        """Args: reader, that of this machine's cards unless it has been made before."""
        self._context = context
        self._workspaces = workspaces
        self._capacity = capacity
        self._slots = trio.CapacityLimiter(capacity.slots)
        self._calls = BlockingCalls(capacity.slots)
        self._standing = StandingContainers(self._stand)
        # Jobs that a run or a check is under way for, and engines: the sweep keeps their containers.
        self._wanted: Counter[str] = Counter()
        self._host = DockerEngineHost(
            context,
            workspaces,
            capacity.memory_bytes,
            self._slot,
            self._slots,
            capacity.host_slots,
            capacity.host_engines,
            self._wanted,
        )
        self._use = EngineUse()
        self._scheduler = EngineScheduler(
            self._host, capacity.at_once, capacity.keep_s, self._use, capacity.starts_ahead
        )
        self._tally = ServingTally()
        self._keeper = CardKeeper(
            context.engine, context.desk, reader or CardReader(), is_held=lambda: self._standing.is_held
        )
        self._runs: dict[bytes, tuple[PendingRun, Generation | None]] = {}
        """The jobs at work, with the containers of those that have their own."""

    async def serve(self) -> None:
        """See Runner. Looks after the cards meanwhile."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._keeper.run)
            await self._scheduler.serve()

    def cards(self) -> CardsReport:
        """See Runner."""
        return self._context.desk.report

    async def card_news(self) -> None:
        """See Runner."""
        await self._keeper.news()

    async def recover(self) -> None:
        """See Runner.

        Containers whose time is not over stay: their runs are asked for again and take them over. The first `report`
        removes the others. Engines are removed now: their jobs join another one.
        """

        def sweep() -> None:
            self._context.engine.sweep(None, time.time(), lost_kinds=(SERVE,))
            self._workspaces.sweep(self._context.engine.outputs())
            self._use.load(self._workspaces.engine_use)

        try:
            await self._calls.quick(sweep)
        except ExecutorError as error:
            # The rest is removed when its job runs again, or when the Engine is back.
            log.warning("what an earlier run left behind cannot be removed yet: %s", error)

    async def run_job(self, spec: RunSpec, on_tokens: OnTokens) -> ContainerExited:
        """See Runner. Takes over a container that an earlier process of this node started for the job."""
        workspace = self._workspaces.of_job(spec.job_id)
        try:
            with (
                contextlib.ExitStack() as stack,
                Counted(self._wanted, spec.job_id.hex()),
                self._tally.watch(spec, on_tokens) as watch,
            ):
                run = await self._calls.quick(lambda: PendingRun(self._context, spec, workspace))
                stack.callback(self._runs.pop, spec.job_id, None)
                self._runs[spec.job_id] = (run, None)
                # A stop order may have come before the run could be found.
                await self._calls.quick(run.look_for_stop_order)
                ended = await self._calls.quick(run.earlier_result)
                if ended is None and self._capacity.at_once > 1 and not spec.is_alone and not run.is_begun():
                    ended = await self._scheduler.run(run, watch.hear, watch.begin)
                result, fingerprint = ended or await self._run_alone(run, watch)
        except ExecutorError as error:
            return ContainerExited(spec.job_id, failed(Outcome.PROVIDER, str(error)), b"")
        return ContainerExited(spec.job_id, result, fingerprint)

    async def shorten(self, effect: ShortenRun) -> RunShortened:
        """See Runner."""
        workspace = self._workspaces.of_job(effect.job_id)
        # On the disk first: a run that begins from now on finds it there.
        await self._calls.quick(lambda: workspace.put(STOP_ORDER_BIN, effect.signature))
        run, generation = self._runs.get(effect.job_id, (None, None))
        if run is not None and not run.is_shortened:
            run.is_shortened = True
            self._scheduler.shorten(run)
        if generation is not None:
            await self._calls.quick(generation.shorten)
        return RunShortened(effect.job_id)

    async def replay(self, effect: ReplaySample) -> SampleReplayed:
        """See Runner."""
        workspace = self._workspaces.of_sample(effect.batch_id, effect.leaf_index)
        watched = self._tally.watch(effect.spec, _unheard, is_check=True)
        with Counted(self._wanted, effect.spec.job_id.hex()), watched as watch:
            check = await self._calls.quick(lambda: Replay(self._context, effect.spec, workspace))
            checked = await self._calls.quick(check.earlier_result)
            if checked is None and self._capacity.at_once > 1 and not check.is_begun():
                checked = await self._scheduler.run(check, watch.hear, watch.begin)
            if checked is None:
                watch.wait()
                async with self._slot(is_check=True):
                    await self._scheduler.make_room(check)
                    watch.begin()
                    checked = await self._calls.to_the_end(check.run, check.stop)
        found, problem = checked
        return SampleReplayed(effect.batch_id, effect.leaf_index, found, problem)

    async def hold(self, *, is_held: bool) -> ContainersHeld:
        """See Runner. Limits of time go on: a job whose time is over meanwhile is ended."""
        return ContainersHeld(await self._standing.hold(is_held=is_held))

    async def _stand(self, is_held: bool) -> None:
        await self._calls.quick(lambda: self._context.engine.hold(is_held=is_held))

    def serving(self) -> ServingReport:
        """See Runner."""
        scheduler = self._scheduler
        return replace(
            self._tally.report(),
            engines=scheduler.count()[0],
            engine_starts=scheduler.starts,
            engine_ends=tuple((why, scheduler.ends[why]) for why in EngineEnd),
        )

    async def report(self) -> DeviceReported:
        """Measure this machine, and remove containers of jobs that are not under way.

        Raises: ExecutorError if it can run nothing now: the Engine is away, or the image gone.
        """
        slots, speed, context = self._capacity.slots, self._scheduler.ms_per_token, self._context
        cards = await self._keeper.look()

        def look() -> DeviceStatus:
            context.engine.sweep(self._wanted, time.time(), let_go=self._let_go)
            context.engine.require(context.image)
            self._use.save(self._workspaces.engine_use)
            return devices.measure(slots, speed, cards)

        status = await self._calls.quick(look)
        await self._standing.look()
        if not self._standing.is_held:
            self._scheduler.look()
        return DeviceReported(status)

    async def let_go(self, manifest: bytes) -> None:
        """See Runner."""
        await self._scheduler.let_go(manifest)

    def add_small_model(self, models: ModelStore) -> ModelManifest:
        """See Runner."""
        return add_wheel(self._context.engine, self._context.image, models)

    def close(self) -> None:
        """See Runner."""
        self._context.engine.close()

    async def _run_alone(self, run: PendingRun, watch: RunWatch) -> Ended:
        def pass_on(ids: tuple[int, ...]) -> None:
            trio.from_thread.run(watch.hear, ids)

        watch.wait()
        async with self._slot():
            await self._scheduler.make_room(run)
            watch.begin()
            began_s, left = trio.current_time(), frozenset[str]()
            while True:
                generation = await self._calls.quick(partial(Generation, self._context, run, left))
                self._runs[run.spec.job_id] = (run, generation)
                if run.is_shortened:
                    # Its order may have come while this was made.
                    await self._calls.quick(generation.shorten)
                result, fingerprint = await self._calls.to_the_end(partial(generation.run, pass_on), generation.stop)
                if not self._may_move(run, generation.left, left, trio.current_time() - began_s):
                    break
                left |= generation.left
                log.warning("a job moves to another card", extra={"job_id": run.spec.job_id, "from": ", ".join(left)})
        self._scheduler.learn(run.spec, result.new_tokens, generation.run_ms)
        return result, fingerprint

    def _may_move(self, run: PendingRun, now_left: AbstractSet[str], before: AbstractSet[str], took_s: float) -> bool:
        """Whether a job that was taken off its cards has a card of this machine to go to, and time for that.

        Else it is given back to the network, as this machine's failure.
        """
        usable = {report.card.uuid for report in self._context.desk.report.cards if report.is_usable}
        return bool(now_left and usable - now_left - before) and 2 * took_s * 1000 < run.spec.timeout_ms

    @contextlib.asynccontextmanager
    async def _slot(self, *, is_check: bool = False) -> AsyncIterator[None]:
        """Hold a slot of this node and one of the machine."""
        await self._standing.until_free()
        # The node's own slot first: it must not hold one of the machine while it waits for itself.
        async with self._slots, self._capacity.host_slots.hold(CHECK_WAITS_S if is_check else 0):
            yield

    def is_slot_wanted(self) -> bool:
        """Whether a run with a container of its own, an engine, or another node of the machine waits for a slot."""
        return self._host.is_wanted()

    def _let_go(self, output: Path) -> None:
        try:
            self._workspaces.let_go(output)
        except ExecutorError as error:
            log.warning("what a container left behind cannot be removed: %s", error)


async def _unheard(ids: tuple[int, ...]) -> None:
    """A check streams nothing."""
