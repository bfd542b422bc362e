"""A machine whose state the views show."""

from node.daemon.views import Views
from tests.unit.node.daemon.worlds import Story


def views(story: Story, name: str) -> Views:
    return Views(story.node(name).machine)
