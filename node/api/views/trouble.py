"""A trouble of a node or a job, as it is shown."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that keeps the node or a job from its work: a code of node.api.faults, what, and what to do."""

    code: str
    message: str
    hint: str
