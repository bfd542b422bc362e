"""Answers of jobs in the words of OpenAI's interface: completions, chunks of a stream, embeddings, models."""

import base64
import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from node.api.embeddings import as_openai
from node.api.faults import vcn
from node.api.views import JobView, ModelView

OWNER = "vcoin"


@dataclass(frozen=True, slots=True)
class Envelope:
    """The parts that all chunks of one answer to a chat share. created_s: seconds since 1970."""

    id: str
    model: str
    created_s: int
    prompt_tokens: int
    NAMES: ClassVar[tuple[str, str]] = ("chat.completion", "chat.completion.chunk")
    """OpenAI's names of a whole answer and of a part."""

    def completion(self, jobs: Sequence[JobView]) -> dict[str, Any]:
        """A whole answer, a choice for each job."""
        choices = [
            {"index": index, **self._whole(job.text), "finish_reason": finish_reason(job), "logprobs": None}
            for index, job in enumerate(jobs)
        ]
        return self._object(self.NAMES[0], choices) | {"usage": self.usage(jobs)}

    def opening(self) -> dict[str, Any] | None:
        """The first part of a choice, before its text; None where there is none."""
        return {"delta": {"role": "assistant", "content": ""}}

    def part(self, text: str) -> dict[str, Any]:
        """A part of a choice with new text, none in the last one."""
        return {"delta": {"content": text} if text else {}}

    def chunk(self, index: int, part: dict[str, Any], finish: str | None, *, with_usage: bool) -> dict[str, Any]:
        """A part of one choice. Where the usage comes at the end, each chunk before says that it does not hold it."""
        choice = {"index": index, **part, "finish_reason": finish, "logprobs": None}
        return self._object(self.NAMES[1], [choice]) | ({"usage": None} if with_usage else {})

    def last_chunk(self, jobs: Sequence[JobView]) -> dict[str, Any]:
        """The chunk after all choices: their usage."""
        return self._object(self.NAMES[1], []) | {"usage": self.usage(jobs)}

    def _whole(self, text: str) -> dict[str, Any]:
        return {"message": {"role": "assistant", "content": text, "refusal": None}}

    def usage(self, jobs: Sequence[JobView]) -> dict[str, Any]:
        """Tokens, the jobs by their ids, and their cost with check and bonus, as far as it is known now."""
        made = sum(job.tokens for job in jobs)
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": made,
            "total_tokens": self.prompt_tokens + made,
            **cost(jobs),
        }

    def _object(self, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created_s, "model": self.model, "choices": choices}


@dataclass(frozen=True, slots=True)
class TextEnvelope(Envelope):
    """The same of a text that an answer goes on with."""

    NAMES: ClassVar[tuple[str, str]] = ("text_completion", "text_completion")

    def opening(self) -> dict[str, Any] | None:
        """A text has no role to begin with."""
        return None

    def part(self, text: str) -> dict[str, Any]:
        """New text, empty in the last part."""
        return {"text": text}

    def _whole(self, text: str) -> dict[str, Any]:
        return {"text": text}


def cost(jobs: Sequence[JobView]) -> dict[str, Any]:
    """The fields that the gateway adds to OpenAI's usage. Texts, because a float cannot hold an amount."""
    total_wei = sum(job.cost_wei for job in jobs)
    return {"cost_vcn": vcn(total_wei), "cost_wei": str(total_wei), "job_ids": [job.id for job in jobs]}


def finish_reason(job: JobView) -> str:
    """Why an answer ended: at the limit of its tokens, or by the model's choice; OpenAI has no word for a dead end."""
    return "length" if job.finish in ("length", "dead_end") else "stop"


def embeddings(job: JobView, *, as_base64: bool) -> dict[str, Any]:
    """The vectors of an answered job."""
    found = as_openai(job)
    if as_base64:
        for entry in found["data"]:
            vector = entry["embedding"]
            entry["embedding"] = base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
    found["usage"] |= cost([job])
    return found


def model(view: ModelView) -> dict[str, Any]:
    """A model; 0 for the time at which it was made, which the network does not know."""
    return {"id": view.name, "object": "model", "created": 0, "owned_by": OWNER}


def event(content: dict[str, Any]) -> bytes:
    """An object as one server-sent event."""
    return b"data: " + json.dumps(content).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"
"""The event after the last one."""
