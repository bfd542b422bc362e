"""The error tree: whose fault something is decides who pays for it.

An assertion guards what only a bug can break. The driver alone catches it, and sets aside what led to it.
"""


class NodeError(Exception):
    """The root of every error this project raises on purpose."""


class ConfigError(NodeError):
    """The operator's input cannot be used; the text says what to change."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class ProtocolError(NodeError):
    """A rule of the protocol was broken."""


class LocalProtocolError(ProtocolError):
    """This node broke the protocol: a bug of ours, which ends what led to it."""


class RemoteProtocolError(ProtocolError):
    """A peer broke the protocol: it costs the peer, never the daemon.

    `penalty` is what the peer's score loses, in points (see `network.peers`).
    """

    penalty = 5.0


class Malformed(RemoteProtocolError):
    """Bytes that are no message: wrong type, shape, value or not canonical."""

    penalty = 50.0


class TooLarge(RemoteProtocolError):
    """A message over its size limit; refused before it is read."""

    penalty = 50.0


class BadSignature(RemoteProtocolError):
    """A signature that is not by the key it claims."""

    penalty = 20.0


class Stale(RemoteProtocolError):
    """Too old, or from a clock too far ahead; costs nothing, clocks drift."""

    penalty = 0.0


class OutOfTurn(RemoteProtocolError):
    """A well formed message that has no place in the conversation."""

    penalty = 5.0


class AdapterError(NodeError):
    """Something outside this process failed; `transient` says that trying again may help."""

    def __init__(self, message: str, *, transient: bool = False) -> None:
        super().__init__(message)
        self.transient = transient


class P2PError(AdapterError):
    """A dial, a stream or a peer failed."""


class ChainError(AdapterError):
    """The chain or its endpoint failed."""


class Reverted(ChainError):
    """A contract refused a call; the text is its decoded custom error."""


class ReorgedOut(ChainError):
    """A transaction was mined and then left the chain."""


class ExecutorError(AdapterError):
    """Docker, a device or a container failed."""


class ImageMissing(ExecutorError):
    """The runner image is not on this machine."""
