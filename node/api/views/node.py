"""A node at a glance: itself, its machine, its chain, its work and its neighbours."""

from dataclasses import dataclass

from node.api.views.hold import HoldsView
from node.api.views.money import AccountView
from node.api.views.trouble import Trouble


@dataclass(frozen=True, slots=True)
class SelfView:
    """This node: its names, its roles, and what the chain knows of it. Score in hundredths of a point."""

    node_id: str
    peer_id: str
    client: str
    owner: str
    roles: tuple[str, ...]
    addresses: tuple[str, ...]
    registered: bool
    active: bool
    stake_wei: int
    unbonding_wei: int
    rewards_wei: int
    score: int
    rate_bps: int


@dataclass(frozen=True, slots=True)
class ChainView:
    """The chain as the watcher sees it; `block_ms` is when its newest block was seen."""

    chain_id: int
    profile: str
    rpc: str
    connected: bool
    head: int
    final: int
    block_ms: int
    settlement: str
    stake_manager: str


@dataclass(frozen=True, slots=True)
class GpuView:
    """A group of equal cards; memory in bytes."""

    model: str
    count: int
    temperature_c: int
    free_bytes: int
    total_bytes: int
    utilisation_percent: int


@dataclass(frozen=True, slots=True)
class CardTroubleView:
    """What is wrong with a card, what is done about it, and what its owner can do."""

    kind: str
    words: str
    fix: str


@dataclass(frozen=True, slots=True)
class CardView:
    """One card. state: ready, paused, or out where no new job has it. Memory in bytes; -1 where there is no sensor."""

    uuid: str
    index: int
    model: str
    compute_capability: str
    parent_uuid: str
    state: str
    temperature_c: int
    used_bytes: int
    total_bytes: int
    utilisation_percent: int
    power_watts: int
    power_limit_watts: int
    ecc_uncorrected: int
    processes: int
    troubles: tuple[CardTroubleView, ...]


@dataclass(frozen=True, slots=True)
class MachineView:
    """Capacity of this machine: `engine` says whether Docker answers; `gpus` are groups of the `cards`."""

    engine: bool
    class_ids: tuple[int, ...]
    memory_bytes: int
    slots: int
    slots_busy: int
    gpus: tuple[GpuView, ...]
    cards: tuple[CardView, ...] = ()


@dataclass(frozen=True, slots=True)
class WorkView:
    """Counts: jobs of the last 24 hours by side, what is open now."""

    asked: int
    provided: int
    failed: int
    running: int
    open_batches: int
    open_cases: int


@dataclass(frozen=True, slots=True)
class CountView:
    """How many of a kind there were since the daemon was started."""

    kind: str
    count: int


@dataclass(frozen=True, slots=True)
class WatchedView:
    """The numbers that are watched, since the daemon was started.

    tasks: containers by how they ended. task_ms: of those that ended well, all together; mean_task_ms of one.
    failure_percent: of the last 50 tasks. temperature_c: of the hottest card. Memory in bytes: in use on this machine,
    and by the daemon itself. delay_ms: mean of the last round trips to peers. cases: by verdict. pass_percent: of the
    cases. alerts: the rules that act by themselves and do so now: hot, failing, slow.
    """

    tasks: tuple[CountView, ...]
    task_ms: int
    mean_task_ms: int
    failure_percent: int
    temperature_c: int
    memory_used_bytes: int
    daemon_bytes: int
    delay_ms: int
    cases: tuple[CountView, ...]
    pass_percent: int
    alerts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ModelServedView:
    """Answers of one model for other nodes, since the daemon was started; further models stand together as `other`.

    first_token_ms: of all answers together, mean_first_token_ms of one, from a job's arrival in the queue of this
    machine. later_tokens, writing_ms: tokens after the first ones of each answer, and the time that they took.
    stream_tokens_per_s_milli: thousandths of a token a second, of one stream in the mean.
    """

    manifest: str
    name: str
    answers: int
    tokens: int
    first_token_ms: int
    mean_first_token_ms: int
    later_tokens: int
    writing_ms: int
    stream_tokens_per_s_milli: int


@dataclass(frozen=True, slots=True)
class ServingView:
    """How this machine serves. Counts are since the daemon was started.

    tokens_per_s_milli: of all streams in the last minute. streams: answers that are written now. longest_wait_ms: of
    the jobs that wait, and of those that began within the last minute. engines: loaded now; engine_ends: by reason.
    """

    tokens_per_s_milli: int
    streams: int
    jobs_waiting: int
    checks_waiting: int
    longest_wait_ms: int
    engines: int
    engine_starts: int
    engine_ends: tuple[CountView, ...]
    model_evictions: int
    models: tuple[ModelServedView, ...]


@dataclass(frozen=True, slots=True)
class PeerView:
    """Another node as this one knows it: its chain record and its last beat; price of 1,000 output tokens."""

    node_id: str
    peer_id: str
    owner: str
    active: bool
    online: bool
    heard_ms: int
    class_ids: tuple[int, ...]
    models: tuple[str, ...]
    price_wei: int
    stake_wei: int
    score: int
    slots: int
    queue: int
    paused: bool
    draining: bool
    delay_ms: int
    agent: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything at a glance. `state`: starting, ready, draining, paused; `peers` counts connections."""

    agent: str
    pid: int
    data_dir: str
    state: str
    started_ms: int
    now_ms: int
    me: SelfView
    chain: ChainView
    machine: MachineView
    work: WorkView
    watched: WatchedView
    serving: ServingView
    account: AccountView
    peers: int
    nodes: tuple[PeerView, ...]
    models: tuple[str, ...]
    troubles: tuple[Trouble, ...]
    holds: HoldsView
