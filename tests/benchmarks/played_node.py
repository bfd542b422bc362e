"""A node with played containers as a process of its own, which can be told over a pipe when it is to die.

It is forked from a server that has imported everything already: a node that was killed is back within a second.
"""

from __future__ import annotations

import hashlib
import json
import logging
import multiprocessing
import os
import signal
import struct
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import trio

from executor.adapter import Runner
from executor.workspace.folders import INPUT_JSON
from node.config import load
from node.daemon.node import Node
from node.daemon.process import keep_what_stays, run
from node.daemon.runner import Site
from node.journal import SentTransaction
from protocol.effects import Effect
from protocol.events import ContainerExited, Event
from protocol.job import Stage, verdict_stage
from protocol.stages.execution import CHUNK_TOKENS, RunSpec
from protocol.wire.ids import TimestampMs
from tests.simulation.scene import Work
from tests.support.scenes.daemon_jobs import ANSWER, Played

READY, ARMED = "ready", "armed"
OTHER_ANSWER = " ".join(reversed(ANSWER.split()))
"""As many words in another order: a cheat claims it and has the fingerprint of the right one."""
DOUBTFUL_SCALE = 1.034
"""Fingerprints so much larger are too far off to pass, and too near to be fraud."""
_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload([__name__])


class Moment(Enum):
    """When a node dies that has come to a stage.

    At the very event by which it did, which is in the journal, while nothing is done of what the machine wants for it;
    or with the next transaction: when that is in the journal and not sent, or sent and the answer was not heard.
    """

    AT_ONCE = "at once"
    WRITTEN = "written"
    SENT = "sent"


@dataclass(frozen=True)
class Death:
    """When a node is to kill itself: once it sees a job of this client, not asked for before, at this stage.

    `role`: as what it sees it.
    """

    role: str
    stage: Stage
    client: str
    moment: Moment


class PlayedProcess:
    """A running node. `voice` says `READY` once it is up, `ARMED` to each Death or None sent to it."""

    def __init__(self, flags: Mapping[str, object], work_s: float, log: Path) -> None:
        self.voice, theirs = _PROCESSES.Pipe()
        self._process: BaseProcess = _PROCESSES.Process(
            target=main, args=(dict(flags), work_s, theirs, str(log)), daemon=True
        )
        self._process.start()
        theirs.close()

    @property
    def sentinel(self) -> int:
        """A file that can be read once the process has ended."""
        return self._process.sentinel

    def poll(self) -> int | None:
        """How it ended; None while it runs, a negative number for the signal that ended it."""
        return self._process.exitcode

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()

    def wait(self) -> int | None:
        """How it ended, once it has."""
        self._process.join()
        self.voice.close()
        return self._process.exitcode


class Playing(Played):
    """Takes its time, and works as well as the first message of the job says, if that is a kind of work."""

    def __init__(self, site: Site, work_s: float) -> None:
        super().__init__(site)
        self._site = site
        self._work_s = work_s

    async def run_job(self, spec: RunSpec, on_tokens: Callable[[tuple[int, ...]], Awaitable[None]]) -> ContainerExited:
        """See Runner."""
        await trio.sleep(self._work_s)
        chat = json.loads(self._site.workspaces.of_job(spec.job_id).get(INPUT_JSON) or b"{}")
        word = chat["messages"][0]["content"]
        claims = OTHER_ANSWER if word == Work.DISHONEST.value else None
        ended = await Played(self._site, claims=claims).run_job(spec, on_tokens)
        return _doubtful(ended) if word == Work.DOUBTFUL.value else ended


def _doubtful(ended: ContainerExited) -> ContainerExited:
    fingerprint = bytearray(ended.fingerprint)
    for start in range(0, len(fingerprint), struct.calcsize(f"<e{8 * CHUNK_TOKENS}b")):
        struct.pack_into("<e", fingerprint, start, DOUBTFUL_SCALE)
    result = replace(ended.result, fingerprint_hash=hashlib.sha256(fingerprint).digest())
    return replace(ended, result=result, fingerprint=bytes(fingerprint))


class Mortal:
    """Ends its process at the moment that it was told."""

    def __init__(self, node: Node, voice: Connection) -> None:
        self._node = node
        self._voice = voice
        machine, journal, ethereum = node.parts.machine, node.parts.journal, node.parts.chain.network.ethereum
        self._machine_handle = machine.handle
        self._journal_record = journal.record_transaction
        self._ethereum_broadcast = ethereum.broadcast
        self._death: Death | None = None
        self._known: frozenset[bytes] = frozenset()
        machine.handle = self._handle  # type: ignore[method-assign]
        journal.record_transaction = self._record  # type: ignore[method-assign]
        ethereum.broadcast = self._broadcast  # type: ignore[method-assign]

    async def obey(self) -> None:
        """Take orders until no sender is left."""
        while True:
            try:
                death: Death | None = await trio.to_thread.run_sync(self._voice.recv, abandon_on_cancel=True)
            except EOFError:
                return
            self._death = death
            self._known = frozenset(_seen(self._node, death) if death else ())
            self._voice.send(ARMED)

    def _handle(self, event: Event, now_ms: TimestampMs) -> tuple[Effect, ...]:
        effects = self._machine_handle(event, now_ms)
        self._die_if_it_is_time(Moment.AT_ONCE)
        return effects

    async def _record(self, sent: SentTransaction) -> None:
        await self._journal_record(sent)
        self._die_if_it_is_time(Moment.WRITTEN)

    async def _broadcast(self, raw: bytes) -> None:
        await self._ethereum_broadcast(raw)
        self._die_if_it_is_time(Moment.SENT)

    def _die_if_it_is_time(self, moment: Moment) -> None:
        death = self._death
        if death is None or death.moment is not moment:
            return
        if any(stage is death.stage for job, stage in _seen(self._node, death).items() if job not in self._known):
            os.kill(os.getpid(), signal.SIGKILL)


def _seen(node: Node, death: Death) -> dict[bytes, Stage]:
    """The stages of a client's jobs for a node in a role, by a name that stays; for a seat, those of a batch."""
    machine = node.parts.machine
    match death.role:
        case "requester":
            return {view.ask_id: view.stage for view in machine.requester.jobs if view.client == death.client}
        case "provider":
            views = machine.provider.jobs
            return {view.job_id: view.stage for view in views if view.job_id and view.client == death.client}
    return _seen_from_a_seat(node, death.client)


def _seen_from_a_seat(node: Node, client: str) -> dict[bytes, Stage]:
    me, seen = node.parts.machine.identity.node_id, {}
    for batch_id, batch in node.parts.machine.docket.batches.items():
        submitted, case = batch.submitted, batch.case
        if submitted.node == me or client not in (debit.client for debit in submitted.contents.debits):
            continue
        if case is None and not batch.is_over:
            # No seat is taken yet, and this node may take one.
            seen[bytes(batch_id)] = Stage.IN_BATCH
        elif case is not None and any(seat.node == me for seat in case.sitting.values()):
            seen[bytes(batch_id)] = Stage.DRAWN if case.is_open else verdict_stage(case.verdict)
    return seen


async def live(flags: Mapping[str, object], work_s: float, voice: Connection) -> None:
    """Until it is killed, or no reader is left."""

    async def find(site: Site) -> tuple[Runner | None, str]:
        return (None, "") if site.config.node.roles == ("requester",) else (Playing(site, work_s), "")

    async with trio.open_nursery() as nursery:
        node = await nursery.start(run, load({}, flags), find)
        keep_what_stays()
        mortal = Mortal(node, voice)
        voice.send(READY)
        await mortal.obey()
        nursery.cancel_scope.cancel()


def main(flags: Mapping[str, object], work_s: float, voice: Connection, log: str) -> None:
    """The main function of the process."""
    # Its output and its traceback go to the log, too.
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(file, stream.fileno())
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s", force=True)
    trio.run(live, flags, work_s, voice)
