"""What the container says while it runs: one JSON object a line on stdout; a job alone, at most ten lines a second."""

import json
import sys
import time

# Half the contract's 4 KiB a line, which leaves room for ids of any size.
MAX_IDS_PER_LINE = 256
MIN_INTERVAL_S = 0.1


def emit(event: str, **facts: object) -> None:
    sys.stdout.write(json.dumps({"ev": event, **facts}, separators=(",", ":")) + "\n")
    sys.stdout.flush()


class TokenStream:
    """Gathers token ids, so that a fast model still keeps to the line rate; the first token leaves at once.

    Those of a job by itself are told as `ids`; of jobs side by side as `jobs`, a list of ids under each one's number.
    """

    def __init__(self, interval_s: float = MIN_INTERVAL_S) -> None:
        self._interval_s = interval_s
        self._waiting: dict[int | None, list[int]] = {}
        self._last = 0.0

    def add(self, token: int, job: int | None = None) -> None:
        self._waiting.setdefault(job, []).append(token)
        is_full = sum(map(len, self._waiting.values())) >= MAX_IDS_PER_LINE
        if is_full or time.monotonic() - self._last >= self._interval_s:
            self.flush()

    def drop(self, job: int) -> None:
        """Say nothing more of a job."""
        self._waiting.pop(job, None)

    def flush(self) -> None:
        if not self._waiting:
            return
        if None in self._waiting:
            emit("tokens", ids=self._waiting[None])
        else:
            emit("tokens", jobs={str(job): ids for job, ids in self._waiting.items()})
        self._waiting = {}
        self._last = time.monotonic()
