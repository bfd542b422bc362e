"""A model in the content store."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ModelFileView:
    """A file of a model: its path inside the model, sha256 and size."""

    path: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class PullView:
    """A model on its way from peers. `left_s`: time left at this speed, -1 while that is not known."""

    manifest: str
    name: str
    done_bytes: int
    total_bytes: int
    bytes_per_s: int
    left_s: int
    is_done: bool


@dataclass(frozen=True, slots=True)
class ModelView:
    """A model in the content store; `calibrated` are the device classes with constants on chain.

    `embeds` and `classifies`: those with constants for these kinds of jobs, too. `state`: whole, description (no
    weights) or partial; `held_bytes` of its `size_bytes` are here. `in_use`: jobs or checks of this node need it.
    `used_ms`: last use. `files` are empty in a list. `adapter`: the hash of a LoRA adapter that it has; `base`: the
    model without it, if that is known here.
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
    state: str = "whole"
    held_bytes: int = 0
    used_ms: int = 0
    pinned: bool = False
    in_use: bool = False
    adapter: str = ""
    base: str = ""
    files: tuple[ModelFileView, ...] = ()

    def classes_for(self, kind: str) -> tuple[int, ...]:
        """The device classes with constants for a kind of jobs."""
        return {"embed": self.embeds, "classify": self.classifies}.get(kind, self.calibrated)
