"""All rows, in the order of the page."""

from __future__ import annotations

from tests.adversaries import clients, providers, seats, strangers
from tests.adversaries.row import Row

ROWS: list[Row] = [*clients.ROWS, *seats.ROWS, *providers.ROWS, *strangers.ROWS]
"""Those that have to wait for something come first: others work meanwhile."""
