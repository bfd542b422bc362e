"""Lines for the owner: each hold as it begins and as it ends."""

import logging

import pytest

from node.daemon.owner_log import OwnerLog
from protocol.events import Event, Hold, HoldBegun, HoldEnded
from protocol.wire.ids import TimestampMs
from tests.simulation.node import Node
from tests.simulation.world import World


class Owner:
    """An owner who reads the log of one node."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO)
        self._caplog = caplog
        world = World()
        self.node: Node = world.add("provider", {"provider"}, 20_000)
        self.log = OwnerLog(self.node.machine)

    def see(self, *events: Event) -> list[tuple[str, str]]:
        """The lines that these events make, with their levels."""
        self._caplog.clear()
        for event in events:
            self.node.machine.handle(event, TimestampMs(0))
            self.log.observe(event)
        return [(each.levelname, each.getMessage()) for each in self._caplog.records]


@pytest.fixture
def owner(caplog: pytest.LogCaptureFixture) -> Owner:
    return Owner(caplog)


def test_holds_are_told_with_what_is_left_of_them(owner: Owner) -> None:
    assert owner.see(
        HoldBegun(Hold.DRAIN, 0), HoldBegun(Hold.HOURS, 0), HoldEnded(Hold.DRAIN), HoldEnded(Hold.HOURS)
    ) == [
        ("INFO", "no new jobs: drained by the owner"),
        ("INFO", "no new jobs: outside of the owner's hours"),
        ("INFO", "no longer drained by the owner: still outside of the owner's hours"),
        ("INFO", "no longer outside of the owner's hours: jobs are taken again"),
    ]


def test_a_hold_that_was_kept_over_a_restart_is_told_at_the_start(
    owner: Owner, caplog: pytest.LogCaptureFixture
) -> None:
    owner.see(HoldBegun(Hold.DRAIN, 0))
    caplog.clear()
    OwnerLog(owner.node.machine)
    assert [each.getMessage() for each in caplog.records] == ["no new jobs: drained by the owner"]
