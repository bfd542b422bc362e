"""The gateway of a whole node: the official client, real offers, lanes and batches; a played container."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import openai
import pytest
import trio

from node.api.gateway import job_desk
from node.api.gateway.keys import GatewayKey
from node.api.views import ANSWERED
from protocol.params import VCN
from protocol.stages.assignment import charge_of
from tests.support.scenes.daemon_jobs import ANSWER, MODEL, Played, heard, network, until
from tests.support.scenes.daemon_jobs import place as place
from tests.support.scenes.daemons import Place
from tests.support.scenes.gateways import kept_key, make_key
from tests.support.scenes.tokenizers import encode

pytestmark = [pytest.mark.anvil, pytest.mark.libp2p, pytest.mark.slow]

STOP = "over"
PIECE = 7
"""Tokens that a played container says at once."""
CHAT: dict[str, Any] = {
    "model": MODEL.name,
    "messages": [{"role": "user", "content": "jump"}],
    "max_tokens": 64,
    "stream": True,
    "stream_options": {"include_usage": True},
}


def free_address() -> str:
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{door.getsockname()[1]}"


async def settled_key(directory: Path, key: GatewayKey) -> GatewayKey:
    """The key once nothing is reserved any more."""
    with trio.fail_after(60):
        while (found := await trio.to_thread.run_sync(kept_key, directory, key)).reserved_wei:
            pass
    return found


async def talk(at: str, shown: str, played: Played) -> tuple[list[str], str, list[str]]:
    """Streamed chats, a text and embeddings: the texts, the words about a missing model, the jobs.

    The first answer goes on as its pieces are read.
    """
    read_pieces = played.read_pieces = trio.Semaphore(0)

    def ask() -> tuple[list[str], str, list[str]]:
        with openai.OpenAI(api_key=shown, base_url=f"http://{at}/v1", max_retries=0, timeout=60) as client:
            chunks = []
            for chunk in client.chat.completions.create(**CHAT):
                chunks.append(chunk)
                if chunk.choices and chunk.choices[0].delta.content:
                    trio.from_thread.run_sync(read_pieces.release)
            played.read_pieces = None
            stopped = list(client.chat.completions.create(**CHAT, stop=["never", STOP], seed=7, top_p=0.9))
            text = client.completions.create(model=MODEL.name, prompt="the quick", stop=STOP, max_tokens=64)
            read = client.embeddings.create(model=MODEL.name, input=["jump", "over"])
            with pytest.raises(openai.NotFoundError) as caught:
                client.chat.completions.create(**CHAT | {"model": "other"})
        told = ["".join(chunk.choices[0].delta.content or "" for chunk in each[:-1]) for each in (chunks, stopped)]
        assert [stopped[-2].choices[0].finish_reason, text.choices[0].finish_reason] == ["stop"] * 2
        assert [len(entry.embedding) for entry in read.data] == [MODEL.hidden] * 2
        usages = [each.usage.model_extra for each in (chunks[-1], stopped[-1], text, read)]
        return (
            [*told, text.choices[0].text],
            caught.value.message,
            [job_id for usage in usages for job_id in usage["job_ids"]],
        )

    return await trio.to_thread.run_sync(ask)


async def leave(at: str, shown: str, played: Played) -> str:
    """A streamed chat whose client leaves after the first piece, which the provider waits for. Returns: its job."""
    played.read_pieces = trio.Semaphore(0)

    def ask() -> str:
        with openai.OpenAI(api_key=shown, base_url=f"http://{at}/v1", max_retries=0, timeout=60) as client:
            with client.chat.completions.create(**CHAT) as chunks:
                heard = next(chunk for chunk in chunks if chunk.choices and chunk.choices[0].delta.content)
            return heard.id.removeprefix("chatcmpl-")

    return await trio.to_thread.run_sync(ask)


async def test_program_with_a_key_is_answered_and_charged(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_desk, "SETTLE_S", 0.5)
    at = free_address()
    async with network(place, gateway__listen=at) as cast:
        await heard(cast.asker, 1)
        played = cast.provider.parts.runner
        assert isinstance(played, Played)
        directory = cast.asker.parts.config.node.data_dir
        shown, key = make_key(directory, budget_wei=20 * VCN, models=(MODEL.name,))
        left = await leave(at, shown, played)
        stopped = await until(cast.asker, left, lambda view: view.state in ANSWERED, 60)
        assert (stopped.finish, ANSWER.startswith(stopped.text)) == ("stop_order", True)
        assert (stopped.tokens, len(encode(stopped.text)), stopped.bonus_wei) == (PIECE, PIECE, 0)
        assert stopped.charge_wei == charge_of(stopped.price_wei, PIECE, CHAT["max_tokens"])
        texts, missing, jobs = await talk(at, shown, played)
        jobs.append(left)
        before = ANSWER[: ANSWER.index(STOP)]
        assert texts == [ANSWER, before, before]
        assert "unknown model 'other'" in missing
        chat = await cast.asker.backend.job(jobs[0])
        assert (chat.tokens, chat.temperature_milli) == (len(encode(ANSWER)), 1_000)
        ruled = await cast.asker.backend.job(jobs[1])
        assert (ruled.finish, ruled.text, ruled.temperature_milli) == ("stop", before, 1_000)
        assert len(encode(before)) <= ruled.tokens < chat.tokens
        ended = [await until(cast.asker, job, lambda view: view.ended, 120) for job in jobs]
        assert [job.state for job in ended] == ["spendable"] * 5
        spent = await settled_key(directory, key)
        assert spent.spent_wei == sum(job.cost_wei for job in ended)
