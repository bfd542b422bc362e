"""A proof beside the chain: whether its parts are what an endpoint tells of the same batch."""

from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from chain.contracts.network import Deployment, Network
from chain.read.batch_history import BatchHistory, has_operated, read_batch_history, read_noise
from node.cli.ui.contracts import with_network
from node.cli.ui.options import Common
from node.cli.ui.settings import config_of
from protocol.errors import ConfigError
from protocol.proof.check import Check, CheckOutcome, absent, compared
from protocol.proof.file import CasePaper, Listed, Proof
from protocol.wire.ids import BatchId, Cid


def confirmed(proof: Proof, rpc: str, deployment: Path | None, common: Common) -> tuple[Check, ...]:
    """The chain's answer to each part, by an endpoint. Raises: ConfigError, ChainError."""
    config = config_of(common.data_dir)
    chain = replace(config.chain, rpc_urls=(rpc,), deployment=deployment or config.chain.deployment)
    if chain.deployment is None:
        raise ConfigError("no deployment file is set", "--deployment names the network's addresses file")
    return tuple(with_network(replace(config, chain=chain), lambda network, found: _confirm(proof, network, found)))


async def _confirm(proof: Proof, network: Network, deployment: Deployment) -> list[Check]:
    head, place, worker = await network.ethereum.head(), proof.place, proof.worker
    profile = await network.params.profile()
    here = (deployment.chain_id, deployment.addresses.settlement, profile.epoch_blocks, profile.lag_blocks)
    known = await network.stakes.node_of(worker.node)
    signs = await has_operated(network, worker.node, worker.operator, deployment.block, head)
    row = await read_noise(network, Cid(proof.papers.details.manifest), proof.papers.offer.class_id)
    checks = [
        compared(
            "chain: network",
            here == (place.chain_id, place.settlement, place.epoch_blocks, place.lag_blocks),
            f"chain {place.chain_id}, settlement {place.settlement}",
            "the proof is of another network",
        ),
        compared(
            "chain: node",
            known is not None and known.owner == worker.owner and signs,
            f"{worker.node}, whose key {worker.operator} is or was",
            "it has another owner, or this was never its key",
        ),
    ]
    if proof.noise is not None:
        checks.append(_same("noise constants", proof.noise, row))
    if proof.batch is None:
        return [*checks, absent("chain: batch", "the proof names no batch")]
    history = await read_batch_history(network, BatchId(proof.batch.batch_id), deployment.block, head)
    if history is None:
        return [*checks, compared("chain: batch", False, "", "the chain has no such batch")]
    steps = proof.steps or ()
    if history.steps != steps and steps and history.steps[: len(steps)] == steps:
        more = len(history.steps) - len(steps)
        words = f"the chain has gone on since: {more} more logs; the batch's node or client can write it again"
        checks.append(Check("chain: since then", CheckOutcome.UNKNOWN, words))
        history = (
            await read_batch_history(network, BatchId(proof.batch.batch_id), deployment.block, steps[-1].block)
            or history
        )
    return [*checks, *_parts(proof, history)]


def _parts(proof: Proof, history: BatchHistory) -> list[Check]:
    listed = proof.case.verifiers if proof.case else None
    now = history.case.verifiers if history.case else None
    checks = [
        _same("batch", proof.batch, history.batch),
        _same("draw", proof.draw, history.draw),
        _same("case", _without_list(proof.case), _without_list(history.case)),
        _same("money", proof.pay, history.pay),
        _same("transactions", proof.steps, history.steps),
    ]
    if listed is not None:
        held = _is_list_of(listed, now or ())
        checks.append(
            compared("chain: verifiers", held, f"{len(listed)} on the list", "the chain has another list of verifiers")
        )
    return checks


def _without_list(case: CasePaper | None) -> CasePaper | None:
    return replace(case, verifiers=None) if case else None


def _is_list_of(listed: tuple[Listed, ...], now: tuple[Listed, ...]) -> bool:
    """Whether this was the list: since then nodes may have joined at its end, left, or changed hands."""
    places = [(each.node, each.from_block, each.weight_bps) for each in listed]
    return places == [(each.node, each.from_block, each.weight_bps) for each in now[: len(listed)]]


def _same(name: str, ours: Any, theirs: Any) -> Check:
    if ours is None and theirs is None:
        return absent(f"chain: {name}", "neither the proof nor the chain has it")
    where = _difference(ours, theirs)
    return compared(f"chain: {name}", not where, "as the chain tells it", f"the chain tells another {where}")


def _difference(ours: Any, theirs: Any, path: str = "") -> str:
    """The path of the first member that differs; empty if none does."""
    if ours == theirs:
        return ""
    if is_dataclass(ours) and type(ours) is type(theirs):
        for each in fields(ours):
            inner = f"{path}.{each.name}" if path else each.name
            if found := _difference(getattr(ours, each.name), getattr(theirs, each.name), inner):
                return found
    if isinstance(ours, tuple) and isinstance(theirs, tuple) and len(ours) == len(theirs):
        for number, (mine, other) in enumerate(zip(ours, theirs, strict=True)):
            if found := _difference(mine, other, f"{path}[{number}]"):
                return found
    return path or "one"
