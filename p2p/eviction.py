"""Which models leave a full store: a pure plan, so that every rule of it can be tested with numbers."""

from collections.abc import Iterable
from dataclasses import dataclass

from protocol.wire.ids import Cid


@dataclass(frozen=True, slots=True)
class HeldModel:
    """A model in the store: the bytes that its removal frees, its last use in s since 1970, and whether it must stay.

    A model stays if it is pinned, needed by a job or a check, or named by the operator.
    """

    cid: Cid
    freed_bytes: int
    used_s: float
    stays: bool


@dataclass(frozen=True, slots=True)
class EvictionPlan:
    """Models to remove, in this order. `missing_bytes`: what would still be too much, and then none is removed."""

    victims: tuple[Cid, ...]
    missing_bytes: int


def plan_eviction(held: Iterable[HeldModel], *, total_bytes: int, wanted_bytes: int, limit_bytes: int) -> EvictionPlan:
    """Choose the least recently used models, no more than needed, until what is wanted fits beside the rest.

    Args: total_bytes, all that the store holds, also what is not evicted; wanted_bytes, of what is to come;
    limit_bytes, the quota, 0 for none.
    """
    over = total_bytes + wanted_bytes - limit_bytes
    if not limit_bytes or over <= 0:
        return EvictionPlan((), 0)
    victims: list[Cid] = []
    for model in sorted(held, key=lambda each: (each.used_s, each.cid)):
        if over <= 0:
            break
        if not model.stays and model.freed_bytes > 0:
            victims.append(model.cid)
            over -= model.freed_bytes
    # Removing models does not help if what is wanted does not fit even then.
    return EvictionPlan(tuple(victims), 0) if over <= 0 else EvictionPlan((), over)
