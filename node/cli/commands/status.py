"""`vcoin status`, and `vcoin node status`: one snapshot of the daemon."""

from collections.abc import Iterator

from node.api.faults import Exit
from node.api.views import CardView, MachineView, ModelServedView, PeerView, ServingView, Snapshot, WatchedView, read
from node.cli.ui import output
from node.cli.ui.daemon_socket import client
from node.cli.ui.options import COMMON, Common, Flag
from node.cli.ui.phrases import BLANK, coins, held, left, points, short, size, span


def status(*, nodes: Flag = False, common: Common = COMMON) -> int:
    """Show what the node does, at a glance.

    Parameters
    ----------
    nodes
        List the other nodes that this one knows.
    """
    raw = client(common.data_dir).get("status")
    if common.json:
        output.as_json(raw["nodes"] if nodes else raw)
        return Exit.OK
    snapshot = read(Snapshot, raw)
    output.data(node_table(snapshot.nodes, snapshot.now_ms) if nodes else overview(snapshot))
    for trouble in snapshot.troubles:
        output.error(trouble.message, trouble.hint)
    return Exit.OK


def overview(view: Snapshot) -> list[str]:
    """The snapshot on one screen."""
    return output.pairs(_rows(view))


def _rows(view: Snapshot) -> Iterator[tuple[str, str]]:
    me, chain, machine, work = view.me, view.chain, view.machine, view.work
    yield "node", f"{view.state} for {span(view.now_ms - view.started_ms)}, {view.agent}, pid {view.pid}"
    for hold in view.holds.holds:
        yield "held", held(hold)
    if view.holds.holds:
        yield "", left(view.holds)
    yield "id", me.node_id
    yield "peer", me.peer_id
    yield "roles", ", ".join(me.roles)
    yield "stake", _stake(view)
    yield "score", f"{points(me.score)}, {me.rate_bps // 100} % of its jobs are drawn" if me.registered else ""
    reached = f"block {chain.head}, final {chain.final}" if chain.connected else "NOT REACHED"
    yield "chain", f"{chain.profile} ({chain.chain_id}) by {chain.rpc}: {reached}"
    yield "peers", f"{view.peers} connected, {sum(node.online for node in view.nodes)} nodes online"
    yield "machine", _machine(view) if machine.slots or machine.cards else "runs no containers"
    for card in machine.cards:
        yield "", _card(card)
        for trouble in card.troubles:
            yield "", f"  {trouble.kind.replace('_', ' ')}: {trouble.words}"
    yield "tasks", _tasks(view.watched)
    yield "serving", _serving(view.serving) if machine.slots else ""
    for model in view.serving.models:
        yield "", _served(model)
    if view.serving.engine_starts:
        yield "engines", _engines(view.serving)
    yield "watched", _watched(view.watched, machine)
    yield "models", ", ".join(view.models) or "none"
    yield (
        "jobs",
        f"{work.asked} asked, {work.provided} done for others, {work.failed} failed in 24 h; {work.running} now",
    )
    yield "open", f"{work.open_batches} batches, {work.open_cases} cases"
    lanes = sum(lane.left_wei for lane in view.account.lanes)
    yield "account", f"{coins(view.account.free_wei)} free, {coins(lanes)} in lanes" if view.account.client else ""
    yield "rewards", f"{coins(me.rewards_wei)} to claim" if me.rewards_wei else ""


def _stake(view: Snapshot) -> str:
    me = view.me
    if not me.registered:
        return "not registered: vcoin stake deposit"
    unbonding = f", {coins(me.unbonding_wei)} unbonding" if me.unbonding_wei else ""
    return f"{coins(me.stake_wei)}{unbonding}, {'active' if me.active else 'NOT ACTIVE'}"


def _machine(view: Snapshot) -> str:
    machine = view.machine
    engine = "Docker answers" if machine.engine else "Docker DOES NOT ANSWER"
    classes = ", ".join(str(class_id) for class_id in machine.class_ids) or "none"
    return f"{engine}, {machine.slots_busy} of {machine.slots} slots busy, device classes {classes}"


def _card(card: CardView) -> str:
    heat = f", {card.temperature_c} C" if card.temperature_c >= 0 else ""
    busy = f", {card.utilisation_percent} % busy" if card.utilisation_percent >= 0 else ""
    power = f", {card.power_watts} of {card.power_limit_watts} W" if card.power_watts >= 0 else ""
    memory = f"{size(card.used_bytes)} of {size(card.total_bytes)} in use"
    return f"card {card.index} {card.model}, {card.state.upper()}: {memory}{heat}{busy}{power}"


def _tasks(watched: WatchedView) -> str:
    ended = sum(each.count for each in watched.tasks)
    failed = f"{watched.failure_percent} % of the last 50 failed"
    return f"{ended} since the start, {span(watched.mean_task_ms)} in the mean, {failed}"


def _serving(serving: ServingView) -> str:
    waiting = f"{serving.jobs_waiting} jobs and {serving.checks_waiting} checks wait"
    longest = f", the longest wait {span(serving.longest_wait_ms)}" if serving.longest_wait_ms else ""
    return f"{serving.streams} streams, {serving.tokens_per_s_milli / 1000:.1f} tokens a second, {waiting}{longest}"


def _served(model: ModelServedView) -> str:
    speed = f"{model.stream_tokens_per_s_milli / 1000:.1f} tokens a second in a stream"
    first = f"first token after {span(model.mean_first_token_ms)}"
    return f"{model.name}: {model.answers} answers, {model.tokens} tokens, {first}, {speed}"


def _engines(serving: ServingView) -> str:
    ends = ", ".join(f"{each.count} {each.kind.replace('_', ' ')}" for each in serving.engine_ends if each.count)
    evictions = f"; {serving.model_evictions} models evicted" if serving.model_evictions else ""
    return f"{serving.engines} loaded, {serving.engine_starts} started, ended: {ends or 'none'}{evictions}"


def _watched(watched: WatchedView, machine: MachineView) -> str:
    heat = f"GPU {watched.temperature_c} C, " if machine.gpus else ""
    memory = f"memory {size(watched.memory_used_bytes)} in use, {size(watched.daemon_bytes)} by the daemon"
    passed = f"{watched.pass_percent} % of {sum(each.count for each in watched.cases)} cases passed"
    return f"{heat}{memory}, peers answer in {span(watched.delay_ms)}, {passed}"


def node_table(nodes: tuple[PeerView, ...], now_ms: int) -> list[str]:
    """The nodes of the network, best score first."""
    head = ("node", "state", "score", "stake VCN", "VCN/1000", "slots", "queue", "classes", "models", "heard", "delay")
    ordered = sorted(nodes, key=lambda node: (-node.score, -node.stake_wei, node.node_id))
    return output.table(head, [_node_row(node, now_ms) for node in ordered])


def _node_row(node: PeerView, now_ms: int) -> tuple[str, ...]:
    return (
        short(node.node_id),
        _node_state(node),
        points(node.score),
        coins(node.stake_wei).removesuffix(" VCN"),
        coins(node.price_wei).removesuffix(" VCN"),
        str(node.slots),
        str(node.queue),
        ",".join(str(class_id) for class_id in node.class_ids) or BLANK,
        ",".join(node.models) or BLANK,
        span(now_ms - node.heard_ms) if node.heard_ms else "never",
        span(node.delay_ms),
    )


def _node_state(node: PeerView) -> str:
    if not node.active:
        return "inactive"
    if not node.online:
        return "offline"
    return "paused" if node.paused else "draining" if node.draining else "online"
