"""The node's driver without a journal: events go to the machine at once, and what the machine wants is kept."""

from dataclasses import dataclass, field

from protocol.effects import Effect
from protocol.events import Event
from protocol.roles.machine import Machine
from protocol.wire.ids import TimestampMs


@dataclass
class MachineInbox:
    """Implements p2p.adapter.Inbox over one machine."""

    machine: Machine
    now_ms: TimestampMs
    events: list[Event] = field(default_factory=list)
    wanted: list[Effect] = field(default_factory=list)

    async def report(self, event: Event) -> None:
        await self.deliver(event)

    async def deliver(self, event: Event) -> None:
        self.events.append(event)
        self.wanted += self.machine.handle(event, self.now_ms)
