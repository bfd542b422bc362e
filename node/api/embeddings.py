"""OpenAI's embeddings endpoint over a job: one request, one job, one answer once it is there."""

import json
from typing import Any

from node.api.backend import Backend, JobAsk
from node.api.faults import KINDS, Fault
from node.api.views import ANSWERED, JobView
from protocol.judging.reading import UNIT_TOKENS


async def answer(backend: Backend, ask: JobAsk) -> dict[str, Any]:
    """Have a job done and show its vectors, of length one, as OpenAI does. The tokens of `usage` are those paid for.

    Raises: Fault, as Backend.ask_job, or job_failed if no node did it.
    """
    return as_openai(await answered(backend, await backend.ask_job(ask)))


def as_openai(job: JobView) -> dict[str, Any]:
    """The vectors of an answered job."""
    vectors = [json.loads(line) for line in job.text.splitlines()]
    used = job.tokens * UNIT_TOKENS
    return {
        "object": "list",
        "model": job.model,
        "data": [{"object": "embedding", "index": index, "embedding": vector} for index, vector in enumerate(vectors)],
        "usage": {"prompt_tokens": used, "total_tokens": used},
    }


async def answered(backend: Backend, job_id: str) -> JobView:
    """Wait for the answer of a job. Raises: Fault of the job, job_failed if it ended without one."""
    async with backend.follow(job_id) as updates:
        async for update in updates:
            job = update.job
            if job is None:
                continue
            if job.failure is not None:
                code = job.failure.code if job.failure.code in KINDS else "job_failed"
                raise Fault(code, job.failure.message, job.failure.hint)
            if job.state in ANSWERED:
                return job
    raise Fault("job_failed", "the job ended without an answer", f"vcoin job show {job_id[:8]}")
