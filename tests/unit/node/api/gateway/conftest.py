"""Gateways over a daemon that the test drives, and over one that answers by itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.fakes.answering import AnsweringBackend
from tests.fakes.backend import FakeBackend
from tests.support.scenes.gateways import Gateway, open_gateway


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Gateway]:
    """Its jobs are answered by the test."""
    async with open_gateway(tmp_path, FakeBackend()) as opened:
        yield opened


@pytest.fixture
async def answering(tmp_path: Path) -> AsyncIterator[Gateway]:
    """Its jobs are answered at once."""
    async with open_gateway(tmp_path, AnsweringBackend()) as opened:
        yield opened
