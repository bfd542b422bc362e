"""The faults of a simulated world, and their rates."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Weather:
    """Chances are of one message, or of one second of one node or of the chain."""

    loss: float = 0.0
    """A message does not arrive, and its sender knows; or it arrives, and the sender believes it did not."""
    duplicate: float = 0.0
    """A message arrives twice."""
    delay_ms: int = 20
    """The longest that a message travels."""
    crash: float = 0.0
    """A node is killed; it comes back within `away_s`."""
    away_s: int = 20
    reorg: float = 0.0
    """The chain loses blocks that were not final."""


FAIR = Weather()
HURRICANE = Weather(loss=0.1, duplicate=0.1, delay_ms=600, crash=0.006, away_s=90, reorg=0.1)
STORM = Weather(loss=0.03, duplicate=0.03, delay_ms=200, crash=0.002, reorg=0.05)
WEATHERS = {"fair": FAIR, "storm": STORM, "hurricane": HURRICANE}
