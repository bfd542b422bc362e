"""The fixtures that give each conformance test both the fake and the real adapter."""

from tests.support.scenes.ledgers import open_ledger as open_ledger
from tests.support.scenes.sandboxes import bench as bench
