"""Events: facts, past tense. Every event is either the answer to an effect of this node or a fact from outside.

Durable events are written to the journal before a role sees them; folding them again gives the same state, and so
every decision about a job rests on durable events alone. The others come again by themselves: beats, blocks, tokens.
"""

from protocol.events.audits import *
from protocol.events.batches import *
from protocol.events.containers import *
from protocol.events.court import *
from protocol.events.holds import *
from protocol.events.machine import *
from protocol.events.network import *
from protocol.events.peers import *
from protocol.events.sealing import *
from protocol.stages.assignment import Refuse
from protocol.stages.commitment import TokenFrame
from protocol.stages.offer import Offer

FromContainers = ContainerExited | SampleReplayed
FromUser = JobAsked | JobStopAsked
FromOwner = HoldBegun | HoldEnded
FromMachine = (
    DeadlinePassed | FromUser | FromOwner | EffectFailed | HpkeKeyRotated | ModelAdded | ModelRemoved | FromContainers
)
FromPeers = RequestPublished | MessageReceived | BlobFetched
FromKeys = MessageSigned | KeySealed | InputOpened | ResultSealed | ResultOpened | SampleOpened
FromNetwork = (
    NodeSeen | LaneSeen | LaneTried | LaneConfirmed | AccountSeen | CalibrationSeen | NodeSlashed | IntakeStopped
)
FromBatches = TransactionMined | BatchMined | BatchSubmitted | SeedRevealed | BatchChallenged | MoneyEvent
Durable = FromMachine | FromPeers | FromKeys | FromNetwork | FromBatches | CaseEvent | AuditEvent | AuditNotDrawn
"""Journalled before they are handled."""

Passing = HeartbeatPublished | HeartbeatReceived | RequestReceived | OrderRefused | MessageSent | MessageUnanswered
FromRuns = TokensProduced | RunShortened | ContainersHeld
Fleeting = Tick | DeviceReported | RoomReported | BlockSeen | FrameSealed | FrameOpened | FromRuns | Passing
"""Handled and forgotten; so are TokenFrame messages, and signed offers and refusals: they promise nothing."""

Event = Durable | Fleeting


def is_durable(event: Event) -> bool:
    """Whether the journal keeps it."""
    if isinstance(event, MessageReceived):
        return not isinstance(event.message, TokenFrame)
    if isinstance(event, MessageSigned):
        return not isinstance(event.message, Offer | Refuse)
    return isinstance(event, Durable)
