"""A model in the content store."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ModelView:
    """A model in the content store; `calibrated` are the device classes with constants on chain.

    `embeds` and `classifies`: those with constants for these kinds of jobs, too.
    """

    manifest: str
    name: str
    size_bytes: int
    needs_bytes: int
    context: int
    dtype: str
    calibrated: tuple[int, ...]
    embeds: tuple[int, ...] = ()
    classifies: tuple[int, ...] = ()

    def classes_for(self, kind: str) -> tuple[int, ...]:
        """The device classes with constants for a kind of jobs."""
        return {"embed": self.embeds, "classify": self.classifies}.get(kind, self.calibrated)
