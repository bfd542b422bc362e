"""Chats of several jobs in one container, answered side by side: several times as many tokens a second as in turns.

Each job has its own input, seed, memory and limits there, and is settled as soon as its own answer is complete. What
the container does not settle, because it has no memory for it or has itself come to an end, says nothing about any job:
it is run by itself then, and what happens to it there is its own.
"""

import hashlib
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from executor.containers.ending import Intent
from executor.containers.transcript import Answered, Declined, Said, Tokens
from executor.runs.container_run import Finish
from executor.runs.context import Station
from executor.runs.generation import MAX_RESULT_BYTES, QueuedRun
from executor.workspace.folders import INPUT_JSON, PROOF_BIN, RESULT_JSON, Workspace
from executor.workspace.io_volume import IoVolume
from executor.workspace.outputs import Outputs
from protocol.params import MAX_PROOF_BYTES
from protocol.stages.execution import Outcome, RunResult, RunSpec, failed

KIND = "together"


class Listener(Protocol):
    """Hears of the jobs by their places in the list that was given."""

    def tokens(self, place: int, ids: tuple[int, ...]) -> None:
        """What goes on an answer."""
        ...

    def settled(self, place: int, result: RunResult, proof: bytes) -> None:
        """How a job has ended; once for each that ends here."""
        ...


class Together:
    """One container for several orders of one model and class. `run` blocks; `stop` may come from another thread."""

    def __init__(self, station: Station, orders: Sequence[QueuedRun], workspaces: Callable[[bytes], Workspace]) -> None:
        """Args: workspaces, that of a shared container by its id. Raises: ExecutorError if the model is not here."""
        self._orders = orders
        self.id = shared_id([order.spec for order in orders])
        self._workspace = workspaces(self.id)
        inputs = {f"{place}.{INPUT_JSON}": order.input for place, order in enumerate(orders)}
        self._attempt = station.shared_attempt(KIND, self.id, [order.spec for order in orders], inputs)
        self._outputs = Outputs(IoVolume(self._workspace.exchange, self._attempt.limits).output, self._attempt.limits)

    def run(self, listener: Listener) -> Finish:
        """Answer as many as it can. Returns: how the container ended, which is no job's end."""
        began = time.monotonic()
        settled: set[int] = set()

        def settle(place: int) -> tuple[RunResult, bytes]:
            order = self._orders[place]
            for name, limit in ((PROOF_BIN, MAX_PROOF_BYTES), (RESULT_JSON, MAX_RESULT_BYTES)):
                self._outputs.take(f"{place}.{name}", order.workspace.home / name, limit)
            return order.settle(round((time.monotonic() - began) * 1000))

        def hear(said: Said) -> None:
            place = getattr(said, "job", None)
            # After a restart of the Engine all that was said before is said again.
            if place is None or place in settled or place >= len(self._orders):
                return
            match said:
                case Tokens(ids):
                    if news := self._orders[place].news(ids):
                        listener.tokens(place, news)
                case Answered():
                    settled.add(place)
                    listener.settled(place, *settle(place))
                case Declined(error=error):
                    settled.add(place)
                    listener.settled(place, failed(Outcome.CLIENT, f"{error.code}: {error.message}"), b"")
                case _:
                    pass

        try:
            return self._attempt.run(self._workspace.exchange, self._workspace.home, hear)
        finally:
            self._workspace.discard()

    def stop(self) -> None:
        self._attempt.stop(Intent.CANCELLED)


def shared_id(specs: Sequence[RunSpec]) -> bytes:
    """What a container of these jobs is known by: 32 bytes."""
    return hashlib.sha256(b"together" + b"".join(spec.job_id for spec in specs)).digest()
