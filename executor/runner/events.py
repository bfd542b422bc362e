"""What the container says while it runs: one JSON object a line on stdout, at most ten lines a second."""

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
    """Gathers token ids, so that a fast model still keeps to the line rate; the first token leaves at once."""

    def __init__(self) -> None:
        self._waiting: list[int] = []
        self._last = 0.0

    def add(self, token: int) -> None:
        self._waiting.append(token)
        if time.monotonic() - self._last >= MIN_INTERVAL_S or len(self._waiting) >= MAX_IDS_PER_LINE:
            self.flush()

    def flush(self) -> None:
        if self._waiting:
            emit("tokens", ids=self._waiting)
            self._waiting = []
            self._last = time.monotonic()
