"""Every decoder of the project, by name."""

from tests.fuzz import chain_targets, file_targets, peer_targets
from tests.fuzz.target import Target

TARGETS: dict[str, Target] = {
    target.name: target for target in (*peer_targets.TARGETS, *chain_targets.TARGETS, *file_targets.TARGETS)
}
