"""A control API with a backend behind it."""

from __future__ import annotations

from typing import Any

import pytest

from node.api.faults import Fault
from tests.unit.node.api.conftest import Door


async def fault(door: Door, *path: str, body: dict[str, Any] | None = None) -> Fault:
    with pytest.raises(Fault) as caught:
        await (door.get(*path) if body is None else door.post(*path, body=body))
    return caught.value
