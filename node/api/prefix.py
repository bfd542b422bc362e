"""Short ids: any prefix that only one id begins with will do."""

from collections.abc import Iterable

from node.api.faults import Fault, not_found

SHORTEST = 3
"""Fewer characters than this would match by accident."""
SHOWN = 5
PLUS = "+"
"""Between the name of a model and that of its LoRA adapter."""


def complete(prefix: str, ids: Iterable[str], kind: str) -> str:
    """The one of `ids` that `prefix` begins, in any case, with or without 0x.

    Args: kind, what the ids name (job, case, node), for the words.
    Raises: Fault bad_request for a prefix that is too short, not_found, ambiguous.
    """
    wanted = _bare(prefix)
    if len(wanted) < SHORTEST:
        raise Fault("bad_request", f"{prefix!r} is too short for a {kind}", f"give at least {SHORTEST} characters")
    found = sorted({name for name in ids if _bare(name).startswith(wanted)})
    exact = [name for name in found if _bare(name) == wanted]
    if len(found) == 1 or exact:
        return (exact or found)[0]
    if not found:
        raise not_found(kind, prefix)
    more = ", ..." if len(found) > SHOWN else ""
    shown = ", ".join(name[: len(prefix) + 6] for name in found[:SHOWN])
    raise Fault("ambiguous", f"{prefix!r} begins {len(found)} {kind}s", f"one of: {shown}{more}")


def _bare(name: str) -> str:
    return name.lower().removeprefix("0x")
