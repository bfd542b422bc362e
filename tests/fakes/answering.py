"""A daemon in memory that answers its jobs by itself, a word at a time, for clients that a test does not hold up."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from node.api import views as views
from node.api.backend import JobAsk
from protocol.judging.reading import UNIT_TOKENS
from tests.fakes.backend import PROVIDER, VCN, FakeBackend

COST_WEI = VCN // 50
WORDS = ("The ", "sky ", "scatters ", "blue.")


@dataclass
class AnsweringBackend(FakeBackend):
    """Every chat is answered with WORDS, every text with a vector, each job for COST_WEI."""

    failure: views.Trouble | None = None
    is_held: bool = False
    """Whether the next answer stays at its first word."""

    async def ask_job(self, ask: JobAsk) -> str:
        job_id = await super().ask_job(ask)
        self.change(job_id, state="running", node=PROVIDER)
        if self.failure is not None:
            self.change(job_id, state="failed", failure=self.failure)
            return job_id
        if self.is_held:
            self.is_held = False
            self.say(job_id, WORDS[0])
            return job_id
        for word in WORDS if ask.kind == "generate" else ():
            self.say(job_id, word)
        self.change(job_id, **self._answer(ask, job_id))
        return job_id

    def _answer(self, ask: JobAsk, job_id: str) -> dict[str, Any]:
        done = {"state": "delivered", "finish": "eos", "charge_wei": COST_WEI, "cost_wei": COST_WEI}
        if ask.kind == "generate":
            return {**done, "tokens": len(WORDS), "text": self.held[job_id].text}
        lines = "".join(json.dumps([0.6, -0.8, float(place)]) + "\n" for place, _ in enumerate(ask.texts))
        return {**done, "tokens": -(-len(ask.texts) // UNIT_TOKENS), "text": lines}
