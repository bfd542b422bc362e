"""Retention: keys, inputs and plaintext of jobs are deleted a day after the jobs have ended.

A seat may ask for a job's content until its batch is final, and a requester for its result for a day more.
"""

import logging
from pathlib import Path

import trio

from executor.workspace.folders import Workspace
from node.wallet.sealing import Sealing
from protocol.errors import AdapterError
from protocol.job import TERMINAL, JobState
from protocol.params import KEEP_AFTER_FINAL_MS
from protocol.roles.machine import Machine
from protocol.wire.ids import Cid

log = logging.getLogger(__name__)


class Retention:
    """Deletes content that no peer may ask for any more. `work` is the folder of all workspaces."""

    def __init__(self, machine: Machine, sealing: Sealing, work: Path) -> None:
        self._machine = machine
        self._sealing = sealing
        self._work = work

    async def sweep(self, now_ms: int) -> None:
        """Delete old content that is no longer needed; content that cannot be deleted now waits for the next sweep."""
        before_ms = now_ms - KEEP_AFTER_FINAL_MS
        try:
            requester, provider = self._machine.requester, self._machine.provider
            every = (*requester.jobs, *provider.jobs)
            inputs = frozenset(Cid(job.input_cid) for job in every if _is_needed(job, before_ms))
            wiped = await self._sealing.forget_before(before_ms, inputs)
            jobs = frozenset(job.job_id.hex() for job in provider.jobs if job.job_id and _is_needed(job, before_ms))
            # Read here: the thread must not look at what events change meanwhile.
            batches = self._machine.docket.batches
            pending = frozenset(name.hex() for name, batch in batches.items() if not batch.is_over)
            await trio.to_thread.run_sync(self._sweep_work, before_ms, jobs, pending)
        except (AdapterError, OSError) as error:
            log.warning("old content cannot be removed: %s", error)
        else:
            if wiped:
                log.info("old content removed", extra={"inputs": wiped})

    def _sweep_work(self, before_ms: int, needed: frozenset[str], pending: frozenset[str]) -> None:
        for folder in _older(self._work / "jobs", before_ms):
            if folder.name not in needed:
                Workspace(folder).discard()
        for folder in _older(self._work / "samples", before_ms):
            if folder.name.partition("-")[0] not in pending:
                Workspace(folder).discard()


def _is_needed(view: JobState, before_ms: int) -> bool:
    """A job that has not ended, or not long ago."""
    return view.stage not in TERMINAL or max((at_ms for _, at_ms in view.history), default=view.asked_ms) >= before_ms


def _older(root: Path, before_ms: int) -> list[Path]:
    if not root.is_dir():
        return []
    return [path for path in sorted(root.iterdir()) if path.stat().st_mtime_ns // 1_000_000 < before_ms]
