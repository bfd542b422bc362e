"""Events: facts, past tense. Every event is either the answer to an effect of this node or a fact from outside.

Durable events are written to the journal before a role sees them; folding them again gives the same state, and so
every decision about a job rests on durable events alone. The others come again by themselves: beats, blocks, tokens.
"""

from protocol.events.audits import *
from protocol.events.batches import *
from protocol.events.containers import *
from protocol.events.court import *
from protocol.events.machine import *
from protocol.events.network import *
from protocol.events.peers import *
from protocol.events.sealing import *
from protocol.stages.assignment import Refuse
from protocol.stages.commitment import TokenFrame
from protocol.stages.offer import Offer

Durable = (
    DeadlinePassed
    | JobAsked
    | EffectFailed
    | RequestPublished
    | MessageReceived
    | HpkeKeyRotated
    | ModelAdded
    | NodeSeen
    | LaneSeen
    | AccountSeen
    | CalibrationSeen
    | BlobFetched
    | MessageSigned
    | KeySealed
    | InputOpened
    | ResultSealed
    | ResultOpened
    | SampleOpened
    | ContainerExited
    | SampleReplayed
    | TransactionMined
    | BatchMined
    | BatchSubmitted
    | SeedRevealed
    | CaseConvened
    | SeatAdded
    | SeatSilenced
    | SeatCommitted
    | SeatRevealed
    | CaseGrown
    | CaseDecided
    | DataDemanded
    | DataAnswered
    | CaseResolved
    | AuditConvened
    | AuditNotDrawn
    | AuditCommitted
    | AuditRevealed
    | AuditEnded
    | BatchSettled
    | BatchChallenged
    | BatchVoided
    | BatchRefunded
    | NodeSlashed
    | IntakeStopped
)
"""Journalled before they are handled."""

Fleeting = (
    Tick
    | DeviceReported
    | HeartbeatPublished
    | HeartbeatReceived
    | RequestReceived
    | OrderRefused
    | MessageSent
    | MessageUnanswered
    | FrameSealed
    | FrameOpened
    | TokensProduced
    | BlockSeen
)
"""Handled and forgotten; so are TokenFrame messages, and signed offers and refusals: they promise nothing."""

Event = Durable | Fleeting


def is_durable(event: Event) -> bool:
    """Whether the journal keeps it."""
    if isinstance(event, MessageReceived):
        return not isinstance(event.message, TokenFrame)
    if isinstance(event, MessageSigned):
        return not isinstance(event.message, Offer | Refuse)
    return isinstance(event, Durable)
