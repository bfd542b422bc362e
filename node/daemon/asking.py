"""A job as it was asked for: admitted by what the node knows, measured, and its input sealed and stored."""

import json
import secrets
from dataclasses import replace
from typing import Any

from chain.rpc.clock import HINT
from node.api import views as api
from node.api.admission import Market, admit
from node.api.asks import default_timeout_ms
from node.api.backend import JobAsk, Measure
from node.api.faults import Fault
from node.daemon.answers import Answers
from node.daemon.parts import Parts
from node.daemon.shelf import ModelShelf
from node.daemon.views import Views
from protocol import params
from protocol.events import JobAsked
from protocol.judging.reading import MAX_NUMBERS, units_of
from protocol.roles.requester.hiring import why_stopped
from protocol.roles.role import Role
from protocol.stages.blob import ModelManifest
from protocol.stages.memory import allowed_bytes, tokens_of
from protocol.stages.offer import FETCH_MS
from protocol.stages.request import GENERATE, KINDS
from protocol.stages.token_rules import signed_temperature
from protocol.wire.ids import ZERO_ADDRESS, TimestampMs


async def admitted(
    ask: JobAsk, parts: Parts, views: Views, shelf: ModelShelf, answers: Answers, account: api.AccountView
) -> JobAsked:
    """The event for the requester's role.

    Args: account, the client's money as it is shown.
    Raises: Fault, as Backend.ask_job, but not_ready.
    """
    machine, member = parts.machine, parts.machine.member
    client, now = machine.identity.client, TimestampMs(parts.clock())
    if ask.checked is None:
        ask = replace(ask, checked=parts.config.node.checked)
    if client is None or Role.REQUESTER not in machine.settings.roles:
        raise Fault("preflight", "this node asks for no jobs", "node.roles needs requester, and a client key")
    if trouble := parts.chain.clock.trouble:
        raise Fault("preflight", trouble, HINT)
    if member.is_intake_stopped(now):
        hint = "ask again then: vcoin treasury show says more of it"
        raise Fault("unavailable", why_stopped(member), hint)
    manifest = await shelf.find(ask.model)
    nodes = views.nodes(now)
    record = member.record
    market = Market(
        nodes,
        # The final balance, because lanes can be opened from that alone.
        replace(account, free_wei=member.money.accounts.get(client, 0)),
        machine.rules.min_deposit,
        # Without a node of its own the client has no owner whose nodes it must not hire.
        record.owner if record else ZERO_ADDRESS,
    )
    ask, count = await _measured(ask, manifest, answers)
    classes = admit(ask, views.model(manifest), count, market)
    timeout_ms = ask.timeout_ms or default_timeout_ms(ask.max_new_tokens)
    await parts.remover.touch(manifest.cid)
    stored = await parts.sealing.store_input(input_of(ask))
    tokens = tokens_of(KINDS.index(ask.kind), len(stored.sealed), ask.max_new_tokens, manifest.context)
    return JobAsked(
        ask_id=secrets.token_bytes(16),
        manifest=manifest.cid,
        kind=KINDS.index(ask.kind),
        max_new_tokens=ask.max_new_tokens,
        temperature=signed_temperature(ask.temperature_milli, ruled=ask.is_ruled),
        input_cid=stored.input_cid,
        input_bytes=len(stored.sealed),
        content_key_hash=stored.content_key_hash,
        max_price=ask.max_price_wei or _dearest(nodes, ask.max_new_tokens),
        max_memory=signed_memory(manifest, classes, tokens),
        classes=classes,
        timeout_ms=timeout_ms,
        deadline=now // 1000 + _seconds_for(timeout_ms),
        min_reputation=ask.min_reputation,
        with_bonus=ask.with_bonus,
        uncalibrated=ask.uncalibrated,
        checked=bool(ask.checked),
        nonce=secrets.randbits(63),
        sealed_input=stored.sealed if len(stored.sealed) <= params.MAX_INLINE_BYTES else b"",
    )


async def measured(ask: JobAsk, shelf: ModelShelf, answers: Answers) -> Measure:
    """The size of a job, as Backend.measure."""
    manifest = await shelf.find(ask.model)
    sized, _ = await _measured(ask, manifest, answers)
    written = [message.content for message in ask.messages] or list(ask.texts) or [ask.prompt]
    return Measure(await answers.count_tokens(manifest, written), sized.max_new_tokens)


def signed_memory(manifest: ModelManifest, classes: int, tokens: int) -> int:
    """The `max_memory` of a request, in bytes. Raises: Fault bad_model for a manifest that states more than can be."""
    needed = allowed_bytes(manifest, classes, tokens, params.MAX_MEMORY)
    if needed > params.MAX_MEMORY_CEILING:
        most = f"{params.MAX_MEMORY_CEILING} are the most that a request may allow"
        raise Fault("bad_model", f"{manifest.name} needs {needed} bytes of memory: {most}", "vcoin model list")
    return needed


async def _measured(ask: JobAsk, manifest: ModelManifest, answers: Answers) -> tuple[JobAsk, int]:
    """The ask with its price filled in, and the tokens that the model must hold at once.

    Raises: Fault prompt_too_long where more is to be read than was allowed for.
    """
    if ask.prompt:
        return ask, max(await answers.count_reading(manifest, [ask.prompt], ()))
    if ask.kind == KINDS[GENERATE]:
        return ask, await answers.count_prompt(manifest, [message.content for message in ask.messages])
    counts = await answers.count_reading(manifest, ask.texts, ask.labels)
    units, most = units_of(counts), ask.max_new_tokens or params.MAX_UNITS
    if units > most:
        raise Fault("prompt_too_long", f"the texts are up to {units} units of 32 tokens, {most} may be asked for")
    width = len(ask.labels) or manifest.hidden
    if len(ask.texts) * width > MAX_NUMBERS:
        raise Fault("too_large", f"{len(ask.texts)} texts are too many: {MAX_NUMBERS // width} fit one job")
    return replace(ask, max_new_tokens=ask.max_new_tokens or units), max(counts)


def input_of(ask: JobAsk) -> bytes:
    """input.json of a job."""
    said: dict[str, Any]
    if ask.prompt:
        said = {"prompt": ask.prompt}
    elif ask.kind == KINDS[GENERATE]:
        said = {"messages": [{"role": message.role, "content": message.content} for message in ask.messages]}
    else:
        said = {"texts": ask.texts} | ({"labels": ask.labels} if ask.labels else {})
    if ask.is_ruled:
        said |= {"v": 2, "rules": ask.rules.plain}
    plain = {"v": 1, "salt": secrets.token_hex(16), **said}
    return json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()


def _dearest(nodes: tuple[api.PeerView, ...], max_new_tokens: int) -> int:
    """A cap that no present node would exceed: a job without a cap takes any hired node."""
    prices = [node.price_wei for node in nodes if node.online and node.active]
    return -(-max(prices, default=0) * max_new_tokens // params.TOKENS_PER_PRICE)


def _seconds_for(timeout_ms: int) -> int:
    """Until when all attempts together must have ended: each may take its whole time and then stay silent."""
    attempt_ms = FETCH_MS + 2 * timeout_ms + params.DEADLINE_GRACE_MS
    return params.MAX_RETRIES * (attempt_ms // 1000 + params.RETRY_AFTER_DEADLINE_S)
