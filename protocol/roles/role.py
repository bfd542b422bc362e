"""The roles that a node may play, as its configuration names them."""

from enum import StrEnum


class Role(StrEnum):
    """Any number of them together."""

    REQUESTER = "requester"
    PROVIDER = "provider"
    VERIFIER = "verifier"
