"""A case's drawn leaves in the clear, as this node holds them: as a seat, as the node of the jobs, as their client."""

import json
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import trio

from executor.workspace.folders import INPUT_JSON, RESULT_JSON, Workspaces
from node.api import views as api
from node.daemon.answers import Answers
from node.daemon.parts import Parts
from node.daemon.readings import lines_of
from node.daemon.text import TextStream, Tokenizer
from node.wallet.home import Home
from protocol.errors import AdapterError
from protocol.roles.verifier.leaf import DrawnLeaf
from protocol.stages.assignment import JobDetails, kind_of
from protocol.stages.execution import sampling_seed
from protocol.stages.request import GENERATE, KINDS
from protocol.stages.token_rules import draw_seed, milli_of, rules_of
from protocol.stages.verification import distances, margins_of, terms
from protocol.wire.ids import BatchId, Cid

UNKNOWN = -1
MOST_LEAVES = 64
"""Shown at once; of a larger case the first ones."""


@dataclass(frozen=True, slots=True)
class Held:
    """A leaf as it lies here: asked and answer are the files' bytes, empty where they are not here."""

    leaf: int
    holder: str
    job_id: bytes
    details: JobDetails
    class_id: int
    timeout_ms: int
    asked: bytes
    answer: bytes
    seen: DrawnLeaf | None = None


class Leaves:
    """Reads what is here; changes nothing."""

    def __init__(self, parts: Parts, answers: Answers) -> None:
        self._parts = parts
        self._machine = parts.machine
        self._answers = answers
        self._workspaces = Workspaces(Home(parts.config.node.data_dir).work)

    async def of_case(self, batch_id: BatchId) -> tuple[api.LeafView, ...]:
        """Every drawn leaf that this node holds anything of, once, by what it computed itself where it sat."""
        held: dict[int, Held] = {}
        bought = [each async for each in self._bought(batch_id)]
        for each in (*bought, *self._sold(batch_id), *self._judged(batch_id)):
            held[each.leaf] = each
        return tuple([await self._view(held[leaf]) for leaf in sorted(held)[:MOST_LEAVES]])

    # --- where it may lie -------------------------------------------------------------------------------------------
    def _judged(self, batch_id: BatchId) -> Iterable[Held]:
        sitting = self._machine.verifier.sitting(batch_id)
        if sitting is None:
            return
        for index, leaf in {**sitting.own.kept, **sitting.own.leaves}.items():
            job = leaf.opening.entry.job if leaf.opening else None
            if job is None:
                continue
            workspace = self._workspaces.of_sample(batch_id, index)
            files = workspace.get(INPUT_JSON) or b"", workspace.get(RESULT_JSON) or b""
            yield Held(index, "seat", job.job_id, job.details, sitting.class_id, 0, *files, leaf)

    def _sold(self, batch_id: BatchId) -> Iterable[Held]:
        batch, case = self._machine.settler.batch(batch_id), self._machine.docket.case(batch_id)
        if batch is None or case is None:
            return
        for index in case.drawn:
            job_id = batch.job_ids[index] if index < len(batch.job_ids) else None
            job = self._machine.provider.job(job_id) if job_id else None
            if job is None:
                continue
            workspace = self._workspaces.of_job(job.job_id)
            files = workspace.get(INPUT_JSON) or b"", workspace.get(RESULT_JSON) or b""
            order = job.order
            class_id, timeout_ms = order.offer.offer.class_id, order.request.request.timeout_ms
            yield Held(index, "node", job.job_id, order.details, class_id, timeout_ms, *files)

    async def _bought(self, batch_id: BatchId) -> AsyncIterator[Held]:
        batch = self._machine.docket.batch(batch_id)
        drawn = batch.drawn if batch else ()
        for view in self._machine.requester.jobs:
            job = self._machine.requester.job(view.job_id) if view.job_id else None
            if job is None or job.batch_id != batch_id or job.position not in drawn:
                continue
            if job.details is None or job.chosen is None or job.job_id is None:
                continue
            try:
                shown = await self._parts.sealing.show(job.job_id, job.ask.input_cid, job.delivery)
            except AdapterError:
                continue
            class_id = job.chosen.offer.class_id
            files = shown.asked, shown.answer or b""
            yield Held(job.position, "client", job.job_id, job.details, class_id, job.ask.timeout_ms, *files)

    # --- how it is shown --------------------------------------------------------------------------------------------
    async def _view(self, held: Held) -> api.LeafView:
        manifest = self._parts.known.get(Cid(held.details.manifest))
        asked, answer = _plain(held.asked), _plain(held.answer)
        ids, finish = _ids_of(answer), answer.get("finish")
        check = held.seen.check if held.seen else None
        margins = _margins(check, len(ids))
        pieces: list[str] = []
        if manifest is not None and ids:
            with suppress(AdapterError):
                pieces = await trio.to_thread.run_sync(_pieces, await self._answers.tokenizer(manifest), ids)
        tokens = tuple(
            api.TokenView(pieces[at] if pieces else str(token), margins[at] if margins else UNKNOWN)
            for at, token in enumerate(ids)
        )
        seen = held.seen
        return api.view_of(
            api.LeafView,
            held,
            held.details,
            kind=KINDS[kind] if (kind := kind_of(held.details)) < len(KINDS) else str(kind),
            job_id=held.job_id.hex(),
            manifest=held.details.manifest.hex(),
            model=manifest.name if manifest else held.details.manifest.hex()[:12],
            temperature_milli=milli_of(held.details.temperature),
            seed=draw_seed(rules_of(held.asked), sampling_seed(held.job_id, held.details.seed_nonce)).hex(),
            asked=_text(held.asked),
            answer=_text(held.answer),
            question=_question(asked),
            text="".join(pieces) or _lines(answer),
            finish=finish if isinstance(finish, str) else "",
            tokens=tokens,
            stop_margin_ppm=margins[-1] if margins else UNKNOWN,
            terms=self._terms(held, len(ids)),
            score_bps=seen.score if seen is not None and seen.score is not None else UNKNOWN,
            problem=seen.problem if seen else "",
        )

    def _terms(self, held: Held, count: int) -> tuple[api.TermView, ...]:
        seen = held.seen
        if seen is None or not seen.check or not seen.fingerprint or kind_of(held.details) != GENERATE:
            return ()
        calibration = self._machine.member.calibration(Cid(held.details.manifest), held.class_id)
        try:
            found = distances(seen.fingerprint, seen.check, count)
        except ValueError:
            return ()
        return tuple(
            api.TermView(term.name, term.distance, term.tolerance.d0, term.tolerance.d1, term.score)
            for term in terms(found, count, calibration)
        )


def _margins(check: bytes | None, count: int) -> tuple[int, ...]:
    if not check:
        return ()
    try:
        return margins_of(check, count)
    except ValueError:
        return ()


def _pieces(tokenizer: Tokenizer, ids: list[int]) -> list[str]:
    """The text of each token; half a character comes with the one that ends it."""
    stream = TextStream(tokenizer)
    pieces = [stream.push([token]) for token in ids]
    pieces[-1] += stream.finish()
    return pieces


def _plain(raw: bytes) -> dict[str, Any]:
    try:
        plain = json.loads(raw)
    except (ValueError, RecursionError):
        return {}
    return plain if isinstance(plain, dict) else {}


def _ids_of(answer: dict[str, Any]) -> list[int]:
    ids = answer.get("output_token_ids")
    return ids if isinstance(ids, list) and all(type(token) is int and token >= 0 for token in ids) else []


def _lines(answer: dict[str, Any]) -> str:
    """A reading as lines of text; empty for what is none."""
    try:
        return lines_of(answer)
    except (KeyError, TypeError, ValueError):
        return ""


def _question(asked: dict[str, Any]) -> str:
    """The last thing that was said to the model, or all texts that it was to read."""
    texts = asked.get("texts")
    if isinstance(texts, list):
        return " / ".join(text for text in texts if isinstance(text, str))
    messages = asked.get("messages")
    last = messages[-1] if isinstance(messages, list) and messages else None
    content = last.get("content") if isinstance(last, dict) else None
    return content if isinstance(content, str) else ""


def _text(raw: bytes) -> str:
    """As it is; empty where it is no text that could be given back byte for byte."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return ""
