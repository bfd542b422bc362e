"""How often each engine was asked for within the last hour; kept on the disk, so that a restart finds it."""

import json
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from executor.runs.context import EngineKey

MINUTES_KEPT = 60
MINUTE_S = 60
MAX_BYTES = 1 << 20
"""A file of more is no note of use."""


@dataclass(eq=False)
class EngineUse:
    """Uses by engine and minute. `now_s`: seconds since 1970."""

    now_s: Callable[[], float] = time.time
    _uses: dict[int, Counter[EngineKey]] = field(default_factory=dict)
    _is_saved: bool = True

    def note(self, key: EngineKey) -> None:
        """An engine is asked for."""
        self._forget()
        self._uses.setdefault(self._minute(), Counter())[key] += 1
        self._is_saved = False

    def ranking(self) -> tuple[EngineKey, ...]:
        """The engines of the last hour, the most used first."""
        self._forget()
        counts: Counter[EngineKey] = sum(self._uses.values(), Counter())
        return tuple(key for key, _ in counts.most_common())

    def save(self, path: Path) -> None:
        """Write it, if it has changed. Blocks. Raises: OSError."""
        if self._is_saved:
            return
        self._is_saved = True
        uses = [
            [minute, key.manifest.hex(), key.class_id, key.engine, count]
            for minute, counts in self._uses.copy().items()
            for key, count in counts.copy().items()
        ]
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        partial = path.with_name(path.name + ".partial")
        partial.write_text(json.dumps({"v": 1, "uses": uses}))
        partial.replace(path)

    def load(self, path: Path) -> None:
        """Read what an earlier process has saved. Blocks. A file that is absent or damaged says nothing."""
        try:
            if path.stat().st_size > MAX_BYTES:
                return
            for minute, manifest, class_id, engine, count in json.loads(path.read_bytes())["uses"]:
                self._uses.setdefault(int(minute), Counter())[
                    EngineKey(bytes.fromhex(manifest), int(class_id), str(engine))
                ] += int(count)
        except (OSError, ValueError, TypeError, KeyError):
            return
        self._forget()

    def _minute(self) -> int:
        return int(self.now_s() // MINUTE_S)

    def _forget(self) -> None:
        now = self._minute()
        for minute in [each for each in self._uses if not now - MINUTES_KEPT < each <= now]:
            del self._uses[minute]
