"""Whether a job can be taken at all, from what the node already knows: the user hears at once what would fail later.

The requester's role applies the same rules again to real offers. Here they give words and a way out.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from node.api.backend import JobAsk
from node.api.faults import Fault, no_able_node, no_deposit, price_over_cap, prompt_too_long, unknown_model
from node.api.prefix import PLUS, SHORTEST
from node.api.views import AccountView, ModelView, PeerView
from protocol.params import PRICE_PER_STAKE
from protocol.stages.assignment import order_total
from protocol.stages.execution import GGUF_DTYPES, runs_dtype
from protocol.stages.offer import price_of
from protocol.wire.ids import Wei


@dataclass(frozen=True, slots=True)
class Market:
    """The node's knowledge when it is asked: the other nodes, the client's money, the least deposit in wei.

    `owner` is this node's owner: its own nodes are never hired.
    """

    nodes: tuple[PeerView, ...]
    account: AccountView
    min_deposit_wei: int
    owner: str


def find_model(name: str, models: tuple[ModelView, ...]) -> ModelView:
    """The model that is meant by its name, the beginning of its name in any case, or the beginning of its id.

    MODEL+ADAPTER is a model with a LoRA adapter, which is meant by its name, or by the beginning of its hash.
    Raises: Fault unknown_model, ambiguous.
    """
    exact = [model for model in models if model.name == name]
    base, plus, adapter = name.partition(PLUS)
    if plus and not exact:
        return _with_adapter(find_model(base, models), adapter, models)
    plain = [model for model in models if not model.adapter]
    begun = [model for model in plain if name and model.name.lower().startswith(name.lower())]
    by_id = [model for model in models if len(name) >= SHORTEST and model.manifest.startswith(name.lower())]
    found = exact or begun or by_id
    if len(found) > 1:
        ids = ", ".join(f"{model.manifest[:12]} ({model.name})" for model in found)
        raise Fault("ambiguous", f"{name!r} may be {len(found)} models", f"give an id: {ids}")
    if not found:
        raise unknown_model(name, tuple(model.name for model in models))
    return found[0]


def _with_adapter(base: ModelView, adapter: str, models: tuple[ModelView, ...]) -> ModelView:
    """Raises: Fault unknown_model, ambiguous."""
    adapted = [model for model in models if model.base == base.manifest]
    found = [
        model
        for model in adapted
        if model.name == f"{base.name}{PLUS}{adapter}"
        or (len(adapter) >= SHORTEST and model.adapter.startswith(adapter.lower()))
    ]
    if len(found) > 1:
        ids = ", ".join(f"{model.manifest[:12]} ({model.name})" for model in found)
        raise Fault("ambiguous", f"{base.name} has {len(found)} adapters {adapter!r}", f"give the id of one: {ids}")
    if not found:
        there = ", ".join(sorted(model.name for model in adapted)[:8])
        hint = f"one of: {there}" if there else "vcoin model add PATH --base MODEL, or the id of the model with it"
        raise Fault("unknown_model", f"no adapter {adapter!r} of {base.name} is known here", hint)
    return found[0]


def admit(ask: JobAsk, model: ModelView, prompt_tokens: int, market: Market) -> int:
    """Check a job against the model's context, the nodes that are there and the client's money.

    Args: prompt_tokens, of the whole chat by the model's own template, or of the longest text that is to be read.
    Returns: the mask of device classes to ask for: those with constants for this model and kind, or all if
    `uncalibrated` and not a GGUF file.
    Raises: Fault prompt_too_long, no_able_node, price_over_cap, no_deposit.
    """
    to_come = ask.max_new_tokens if ask.kind == "generate" else 0
    if prompt_tokens + to_come > model.context:
        raise prompt_too_long(prompt_tokens, to_come, model.context)
    able = able_nodes(ask, model, market.nodes, market.owner)
    prices = {node.node_id: price_of(Wei(node.price_wei), ask.max_new_tokens) for node in able}
    cheapest = min(prices.values())
    if ask.max_price_wei and cheapest > ask.max_price_wei:
        raise price_over_cap(cheapest, ask.max_price_wei)
    _require_money(ask, prices, market)
    return _mask(ask, model)


def _mask(ask: JobAsk, model: ModelView) -> int:
    # A GGUF file is sold only by constants of its own.
    every = ask.uncalibrated and model.dtype not in GGUF_DTYPES
    classes = range(32) if every else model.classes_for(ask.kind)
    return sum(1 << each for each in classes if runs_dtype(each, model.dtype))


def able_nodes(ask: JobAsk, model: ModelView, nodes: Iterable[PeerView], owner: str) -> list[PeerView]:
    """The nodes that could do a job, by one rule after the other; never those of this node's owner.

    Raises: Fault no_able_node, with the rule that leaves none as the reason.
    """
    left = [node for node in nodes if node.owner != owner]
    if not left:
        raise no_able_node("no other node has been heard of yet")
    classes = {class_id for class_id in range(32) if _mask(ask, model) >> class_id & 1}
    if not classes:
        kind = "" if ask.kind == "generate" else f" for {ask.kind}"
        message = f"{model.name} has no constants{kind} on this chain, so its results cannot be judged"
        if model.dtype in GGUF_DTYPES:
            hint = "a GGUF file is sold only by constants of its own: ask for the model as safetensors"
            raise Fault("no_able_node", f"no able node: {message}", hint)
        raise Fault("no_able_node", f"no able node: {message}", "--uncalibrated: always checked, never slashed")
    rules = (
        ("none is online", lambda node: node.online and node.active),
        ("all are draining or paused", lambda node: not node.draining and not node.paused and node.slots > 0),
        (f"none runs {model.name} on an accepted device class", lambda node: not classes.isdisjoint(node.class_ids)),
        (f"none has {ask.min_reputation} points of reputation", lambda node: node.score >= ask.min_reputation * 100),
        ("none has the stake for a job of this price", lambda node: _stake_covers(node, ask.max_new_tokens)),
    )
    for reason, holds in rules:
        left = [node for node in left if holds(node)]
        if not left:
            raise no_able_node(reason)
    return left


def _stake_covers(node: PeerView, max_new_tokens: int) -> bool:
    return node.stake_wei >= PRICE_PER_STAKE * price_of(Wei(node.price_wei), max_new_tokens)


def _require_money(ask: JobAsk, prices: dict[str, Wei], market: Market) -> None:
    """Somebody must be payable: with free money and what is left in the lane to that node."""
    account = market.account
    lanes = {lane.node: lane.left_wei for lane in account.lanes if not lane.closing}
    held = account.free_wei + sum(lanes.values())
    if held < market.min_deposit_wei:
        raise no_deposit(held, market.min_deposit_wei)
    missing = []
    for node, price in prices.items():
        if ask.max_price_wei and price > ask.max_price_wei:
            continue
        needed = order_total(price, with_bonus=ask.with_bonus, checked=bool(ask.checked))
        if account.free_wei + lanes.get(node, 0) >= needed:
            return
        missing.append((needed - lanes.get(node, 0), needed))
    raise no_deposit(account.free_wei, min(missing)[0])
