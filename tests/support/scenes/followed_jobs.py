"""Followers of a job at the control API."""

from __future__ import annotations

from node.api.backend import ChatMessage, JobAsk
from tests.fakes.backend import SMOL

ASK = JobAsk(SMOL.name, (ChatMessage("user", "hello"),), 64, 0, 120_000, 0, with_bonus=True, uncalibrated=False)
