"""A model that the user has fetched from peers: how fast it comes, and when it will be here."""

from collections import deque
from dataclasses import dataclass, field

from node.api.views import PullView
from protocol.stages.blob import ModelManifest

SAMPLES = 20
"""Looks over which the speed is averaged."""


@dataclass(slots=True)
class PullProgress:
    """Progress of one pull, from looks at it. What had come before the pull does not count as speed."""

    manifest: ModelManifest
    _looks: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=SAMPLES))

    @property
    def total_bytes(self) -> int:
        """All files of the model."""
        return sum(file.size for file in self.manifest.files)

    def look(self, now_s: float, done_bytes: int | None) -> PullView:
        """The view of a moment. Args: done_bytes, None while the pull waits for its turn or its first byte."""
        speed = 0
        if done_bytes is not None:
            self._looks.append((now_s, done_bytes))
            since_s, before_bytes = self._looks[0]
            speed = round(max(done_bytes - before_bytes, 0) / (now_s - since_s)) if now_s > since_s else 0
        left = self.total_bytes - (done_bytes or 0)
        return self._view(done_bytes or 0, speed, -(-left // speed) if speed else -1, is_done=False)

    def end(self) -> PullView:
        """The view of a model that is whole and checked."""
        return self._view(self.total_bytes, 0, 0, is_done=True)

    def _view(self, done_bytes: int, bytes_per_s: int, left_s: int, *, is_done: bool) -> PullView:
        return PullView(
            manifest=self.manifest.cid.hex(),
            name=self.manifest.name,
            done_bytes=done_bytes,
            total_bytes=self.total_bytes,
            bytes_per_s=bytes_per_s,
            left_s=left_s,
            is_done=is_done,
        )
