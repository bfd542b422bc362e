"""A machine whose state the views show."""

from pathlib import Path

from node.daemon.known import KnownModels
from node.daemon.views import Views
from p2p.store import ContentStore
from protocol.roles.machine import Machine
from tests.unit.node.daemon.worlds import Story


def views(story: Story, name: str) -> Views:
    return views_of(story.node(name).machine)


def views_of(machine: Machine) -> Views:
    """The views of a machine whose store is empty."""
    return Views(machine, KnownModels(machine, ContentStore(Path("no-store"))))
