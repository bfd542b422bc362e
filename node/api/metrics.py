"""The snapshot's numbers under Prometheus' names, in its text format.

Every name begins with vcoin_ and ends in its unit; counters end in _total. A label holds one of few words that this
node chose: an outcome, a verdict, a rule, the model of a card, one of few models that it serves; never a job, a peer or
a client.
"""

from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric, SummaryMetricFamily

from node.api.views import CardView, CountView, ServingView, Snapshot
from protocol.events import Hold

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
MAX_CARDS = 16
ALERTS = ("hot", "failing", "slow")


def exposition(view: Snapshot) -> bytes:
    """The numbers of a snapshot as a scrape answers them."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Numbers(view))
    return generate_latest(registry)


class _Numbers:
    """A collector of one snapshot."""

    def __init__(self, view: Snapshot) -> None:
        self._view = view

    def collect(self) -> Iterator[Metric]:
        """Every number, in a fixed order."""
        view, watched = self._view, self._view.watched
        release = [(view.agent, 1)]
        yield _labelled(GaugeMetricFamily, "vcoin_node_info", "This node's release; always 1.", "agent", release)
        ready = int(view.state == "ready")
        yield _gauge("vcoin_node_ready", "Whether the node takes part: 1, or 0 while it starts or is paused.", ready)
        yield _gauge(
            "vcoin_node_start_time_seconds", "When the daemon was started, since 1970.", view.started_ms / 1000
        )
        yield from _tasks(view)
        yield from _serving(view.serving)
        yield from _models(view.serving)
        yield from _cards(view)
        yield from _each_card(view.machine.cards)
        yield _gauge("vcoin_memory_bytes", "Memory of this machine.", view.machine.memory_bytes)
        yield _gauge("vcoin_memory_used_bytes", "Memory in use on this machine.", watched.memory_used_bytes)
        yield _gauge("vcoin_daemon_memory_bytes", "Memory that the daemon itself holds.", watched.daemon_bytes)
        yield _gauge("vcoin_peer_delay_seconds_mean", "Mean of the last round trips to peers.", watched.delay_ms / 1000)
        yield _counts("vcoin_cases", "Cases by verdict.", "verdict", watched.cases)
        yield _gauge(
            "vcoin_case_pass_ratio", "Cases that ended in a pass; 1 before the first.", watched.pass_percent / 100
        )
        alerts = ((rule, int(rule in watched.alerts)) for rule in ALERTS)
        meaning = "Whether a rule that acts by itself does so now."
        yield _labelled(GaugeMetricFamily, "vcoin_alert", meaning, "rule", alerts)
        held = {each.hold for each in view.holds.holds}
        meaning = "Whether new work is held back for a reason: 1, or 0."
        yield _labelled(GaugeMetricFamily, "vcoin_hold", meaning, "hold", ((hold, int(hold in held)) for hold in Hold))
        yield from _network(view)


def _tasks(view: Snapshot) -> Iterator[Metric]:
    watched = view.watched
    well = sum(each.count for each in watched.tasks if each.kind == "ok")
    yield _counts("vcoin_tasks", "Containers by how they ended.", "outcome", watched.tasks)
    summary = SummaryMetricFamily("vcoin_task_seconds", "Time of the tasks that ended well.")
    summary.add_metric([], well, watched.task_ms / 1000)
    yield summary
    yield _gauge(
        "vcoin_task_seconds_mean",
        "Mean time of a task that ended well; 0 before the first.",
        watched.mean_task_ms / 1000,
    )
    yield _gauge("vcoin_task_failure_ratio", "Failed of the last 50 tasks.", watched.failure_percent / 100)


def _serving(serving: ServingView) -> Iterator[Metric]:
    rate = serving.tokens_per_s_milli / 1000
    yield _gauge("vcoin_tokens_per_second", "Tokens a second of all streams in the last minute.", rate)
    yield _gauge("vcoin_streams", "Answers that are written now.", serving.streams)
    waiting = (("job", serving.jobs_waiting), ("check", serving.checks_waiting))
    yield _labelled(GaugeMetricFamily, "vcoin_waiting", "Jobs and checks that wait for an engine.", "kind", waiting)
    yield _gauge(
        "vcoin_longest_wait_seconds",
        "Longest wait of the jobs that wait, and of those that began within the last minute.",
        serving.longest_wait_ms / 1000,
    )
    yield _gauge("vcoin_engines", "Warm engines that are loaded.", serving.engines)
    yield _counter("vcoin_engine_starts", "Warm engines that were started.", serving.engine_starts)
    yield _counts("vcoin_engine_ends", "Warm engines by why they ended.", "reason", serving.engine_ends)
    yield _counter("vcoin_model_evictions", "Models that left a full store.", serving.model_evictions)


def _models(serving: ServingView) -> Iterator[Metric]:
    """Two models may have one name, so the manifest stands beside it; the executor bounds how many there are."""
    labels = ["model", "manifest"]
    tokens = CounterMetricFamily("vcoin_tokens", "Tokens of answers for other nodes.", labels=labels)
    first = SummaryMetricFamily(
        "vcoin_first_token_seconds", "From a job's arrival at this machine to its first token.", labels=labels
    )
    rate = GaugeMetricFamily(
        "vcoin_stream_tokens_per_second", "Tokens a second of one stream in the mean.", labels=labels
    )
    for model in serving.models:
        values = [model.name, model.manifest]
        tokens.add_metric(values, model.tokens)
        first.add_metric(values, model.answers, model.first_token_ms / 1000)
        rate.add_metric(values, model.stream_tokens_per_s_milli / 1000)
    return iter((tokens, first, rate))


def _cards(view: Snapshot) -> Iterator[Metric]:
    """Groups of equal cards; a machine without one has the names and no numbers."""
    heat = GaugeMetricFamily("vcoin_gpu_temperature_celsius", "Hottest card of a group.", labels=["gpu", "model"])
    total = GaugeMetricFamily("vcoin_gpu_memory_bytes", "Memory of a card.", labels=["gpu", "model"])
    used = GaugeMetricFamily("vcoin_gpu_memory_used_bytes", "Most memory in use on a card.", labels=["gpu", "model"])
    busy = GaugeMetricFamily("vcoin_gpu_utilisation_ratio", "Mean use of the cards.", labels=["gpu", "model"])
    for number, gpu in enumerate(view.machine.gpus[:MAX_CARDS]):
        labels = [str(number), gpu.model]
        heat.add_metric(labels, gpu.temperature_c)
        total.add_metric(labels, gpu.total_bytes)
        used.add_metric(labels, gpu.total_bytes - gpu.free_bytes)
        busy.add_metric(labels, gpu.utilisation_percent / 100)
    return iter((heat, total, used, busy))


def _each_card(cards: tuple[CardView, ...]) -> Iterator[Metric]:
    """Each card by its UUID, also one that cannot be used; a sensor that it does not have has no number."""
    labels = ["card"]
    ready = GaugeMetricFamily("vcoin_card_ready", "Whether new jobs may have the card.", labels=labels)
    paused = GaugeMetricFamily("vcoin_card_paused", "Whether containers on the card are paused.", labels=labels)
    heat = GaugeMetricFamily("vcoin_card_temperature_celsius", "Of the card.", labels=labels)
    used = GaugeMetricFamily("vcoin_card_memory_used_bytes", "Memory in use on the card.", labels=labels)
    power = GaugeMetricFamily("vcoin_card_power_watts", "What the card draws.", labels=labels)
    errors = GaugeMetricFamily("vcoin_card_ecc_errors", "Errors that could not be corrected.", labels=labels)
    trouble = GaugeMetricFamily("vcoin_card_trouble", "Always 1, while a card has it.", labels=["card", "kind"])
    for card in cards[:MAX_CARDS]:
        ready.add_metric([card.uuid], int(card.state == "ready"))
        paused.add_metric([card.uuid], int(card.state == "paused"))
        known = ((heat, card.temperature_c), (power, card.power_watts), (errors, card.ecc_uncorrected))
        for family, value in (*known, (used, card.used_bytes)):
            if value >= 0:
                family.add_metric([card.uuid], value)
        for each in card.troubles:
            trouble.add_metric([card.uuid, each.kind], 1)
    return iter((ready, paused, heat, used, power, errors, trouble))


def _network(view: Snapshot) -> Iterator[Metric]:
    work, chain = view.work, view.chain
    yield _gauge("vcoin_peers", "Peers that are connected.", view.peers)
    yield _gauge("vcoin_nodes_online", "Other nodes whose beats are heard.", sum(node.online for node in view.nodes))
    yield _gauge("vcoin_chain_connected", "Whether the chain answers.", int(chain.connected))
    yield _gauge("vcoin_chain_head_block", "Newest block that was seen.", chain.head)
    yield _gauge("vcoin_chain_final_block", "Newest block that is final.", chain.final)
    yield _gauge("vcoin_slots", "Containers that may run at the same time.", view.machine.slots)
    yield _gauge("vcoin_slots_busy", "Containers that run.", view.machine.slots_busy)
    yield _gauge("vcoin_jobs_running", "Jobs that a node works on, on either side.", work.running)
    yield _gauge("vcoin_batches_open", "Batches of this node that are not final.", work.open_batches)
    yield _gauge("vcoin_cases_open", "Cases before a court.", work.open_cases)
    yield _gauge("vcoin_reputation_points", "This node's reputation, at most 100.", view.me.score / 100)


def _gauge(name: str, meaning: str, value: float) -> Metric:
    return GaugeMetricFamily(name, meaning, value=value)


def _counter(name: str, meaning: str, value: int) -> Metric:
    return CounterMetricFamily(name, meaning, value=value)


def _labelled(
    kind: type[GaugeMetricFamily | CounterMetricFamily],
    name: str,
    meaning: str,
    label: str,
    numbers: Iterable[tuple[str, int]],
) -> Metric:
    family = kind(name, meaning, labels=[label])
    for word, number in numbers:
        family.add_metric([word], number)
    return family


def _counts(name: str, meaning: str, label: str, counts: tuple[CountView, ...]) -> Metric:
    return _labelled(CounterMetricFamily, name, meaning, label, ((each.kind, each.count) for each in counts))
