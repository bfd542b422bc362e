"""Names and fields of everything that peers send and the journal keeps, as tests/vectors/layouts.json lists them.

A class goes by the name that it states, a part of one by the name of its class. Any change of the list changes the
bytes between nodes or on disk.
"""

from collections.abc import Iterator
from typing import Any, get_args

from protocol.effects import Effect
from protocol.events import Durable, Fleeting
from protocol.messages import Message, Signable
from protocol.network.frames import Batch, Content
from protocol.network.peer_exchange import PeerRecord, PeerRecords
from protocol.stages.heartbeat import Heartbeat
from protocol.stages.request import SignedRequest
from protocol.wire.names import name_of
from scripts.vectors.document import fields, parts

KINDS: dict[str, Any] = {
    "durable event": Durable,
    "fleeting event": Fleeting,
    "effect": Effect,
    "message": Message,
    "signed message": Signable,
    "gossip batch": Batch,
}
"""The places that tell classes apart by name."""
UNNAMED = (SignedRequest, Heartbeat, Content, PeerRecord, PeerRecords)
"""The text that stands alone in its place."""


def cases() -> Iterator[dict[str, Any]]:
    """Each class with its kinds and the name, type and limit of every field, in order."""
    roots = [cls for union in KINDS.values() for cls in get_args(union)]
    seen = dict.fromkeys(part for cls in (*roots, *UNNAMED) for part in parts(cls))
    for cls in seen:
        kinds = [kind for kind, union in KINDS.items() if cls in get_args(union)]
        yield {
            "name": name_of(cls) if kinds else cls.__name__,
            "kinds": kinds,
            "fields": [f"{name}: {form}" + ("" if limit == "-" else f", {limit}") for name, form, limit in fields(cls)],
        }
