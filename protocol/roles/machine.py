"""One node's machine: all of its roles over one view, fed one event at a time.

`handle` is a pure function of the events so far: the driver journals each durable one and can fold them again.
"""

from collections.abc import Mapping
from typing import Any

from protocol.court.docket import Docket
from protocol.effects import Effect
from protocol.events import Event, MessageReceived, Tick
from protocol.messages import Message
from protocol.params import ChainRules
from protocol.roles.client_money import ClientMoney
from protocol.roles.identity import Identity, Settings
from protocol.roles.member import Member
from protocol.roles.opening_responder import OpeningResponder
from protocol.roles.provider.provider import Provider
from protocol.roles.requester.requester import Requester
from protocol.roles.role import Role
from protocol.roles.settler.settler import Settler
from protocol.roles.verifier.audit_responder import AuditResponder
from protocol.roles.verifier.auditor import Auditor
from protocol.roles.verifier.verifier import Verifier
from protocol.wire import state
from protocol.wire.ids import PeerId, TimestampMs

STATE_VERSION = 3
"""Raised with every change after which state that was saved before means something else."""
_GIVEN = ("identity", "rules", "settings")


class Machine:
    """A member that plays the roles of its settings."""

    state_version = STATE_VERSION

    def __init__(self, identity: Identity, rules: ChainRules, settings: Settings) -> None:
        self.identity, self.rules, self.settings = identity, rules, settings
        self.docket = Docket()
        self.member = Member(identity, rules, settings, ClientMoney(identity, rules))
        self.settler = Settler(self.member, self.docket)
        self.requester = Requester(self.member, self.docket)
        self.provider = Provider(self.member, self.settler)
        self.opening_responder = OpeningResponder(self.member, self.docket, self.provider, self.settler)
        self.verifier = Verifier(self.member, self.docket)
        self.audit_responder = AuditResponder(self.member, self.verifier)
        self.auditor = Auditor(self.member, self.docket)

    def fresh(self) -> "Machine":
        """The same node before its first event."""
        return Machine(self.identity, self.rules, self.settings)

    def become(self, other: "Machine", *, keep_heard: bool) -> None:
        """Go on where `other` stands. `keep_heard`: with this one's own view of what no journal keeps."""
        if keep_heard:
            other.member.keep_heard(self.member)
        vars(self).update(vars(other))

    def save(self) -> bytes:
        """The state of the roles after the events so far, for `restore`."""
        return state.dump(*self._parts())

    def restore(self, saved: bytes) -> None:
        """Go on where a machine of this node stood when it was saved.

        Raises: Malformed if it was saved by a version whose state this one cannot read.
        """
        _, classes, given = self._parts()
        vars(self).update(state.load(saved, classes, given))

    def _parts(self) -> tuple[dict[str, Any], Mapping[str, type[Any]], dict[str, Any]]:
        given = {name: getattr(self, name) for name in _GIVEN}
        roles = {name: part for name, part in vars(self).items() if name not in given}
        kinds: Any = map(type, roles.values())
        return roles, state.classes_of(*kinds), given

    def start(self, now_ms: TimestampMs) -> tuple[Effect, ...]:
        """Effects at start-up beside those that the journal left open: a heartbeat, and a query for unfinished jobs."""
        asked = self.requester.start() if Role.REQUESTER in self.settings.roles else ()
        return *self.member.handle(Tick(), now_ms), *asked

    def judge(self, received: MessageReceived, now_ms: TimestampMs) -> Event | None:
        """Judge a message before it is journalled; changes nothing.

        Returns: the event that it is taken as, itself for what may matter to a role; None where nothing comes of it.
        Raises: RemoteProtocolError if its sender breaks a rule.
        """
        peer_id, message, roles = received.peer_id, received.message, self.settings.roles
        judged = self.provider.judge(received, now_ms) if Role.PROVIDER in roles else None
        if judged is not None:
            return judged
        expected = (
            self.opening_responder.expects(peer_id, message)
            or (Role.REQUESTER in roles and self.requester.expects(peer_id, message))
            or (Role.VERIFIER in roles and self._checks_expect(peer_id, message))
        )
        return received if expected else None

    def _checks_expect(self, peer_id: PeerId, message: Message) -> bool:
        checking = (self.verifier, self.audit_responder, self.auditor)
        return any(role.expects(peer_id, message) for role in checking)

    def handle(self, event: Event, now_ms: TimestampMs) -> tuple[Effect, ...]:
        """The effects that an event asks of this node.

        Raises: RemoteProtocolError if a peer's message breaks a rule; the role that raised has not changed.
        """
        effects = [*self.member.handle(event, now_ms)]
        if not self.docket.apply(event):
            # The chain told it before; no role need hear it again.
            return tuple(effects)
        if Role.PROVIDER in self.settings.roles:
            self.member.queue = self.provider.load
            effects += self.provider.handle(event, now_ms)
        # Batches and openings go on even where no new work is taken.
        effects += self.settler.handle(event, now_ms)
        effects += self.opening_responder.handle(event, now_ms)
        if Role.REQUESTER in self.settings.roles:
            effects += self.requester.handle(event, now_ms)
        if Role.VERIFIER in self.settings.roles:
            effects += self.verifier.handle(event, now_ms)
            effects += self.audit_responder.handle(event, now_ms)
            effects += self.auditor.handle(event, now_ms)
        return tuple(effects)
