"""What the daemon shows of itself: one snapshot that `vcoin status`, `--json` and the metrics all read.

Plain frozen views without behaviour, so that the command line can read them without the core. Amounts in wei, in JSON
as decimal strings because a float cannot hold them; names end in their unit. Ids are hex without 0x, addresses
checksummed. 0 or "" stands for what is not known yet.
"""

import dataclasses
import functools
import types
from dataclasses import dataclass
from typing import Any, TypeVar, cast, get_args, get_origin, get_type_hints

from node.api.faults import OTHER_VERSION, Fault

T = TypeVar("T")

JOB_STATES = (
    "requested",
    "offered",
    "assigned",
    "running",
    "delivered",
    "in_batch",
    "drawn",
    "passed",
    "review",
    "failed",
    "spendable",
    "refunded",
)
"""Where a job is, as both of its sides see it. `failed` without a batch: no node delivered it."""
ANSWERED = frozenset({"delivered", "in_batch", "drawn", "passed", "review", "spendable"})
"""The client has its answer; only the money is still under way."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that keeps the node or a job from its work: a code of node.api.faults, what, and what to do."""

    code: str
    message: str
    hint: str


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
class MachineView:
    """What this machine can run: `engine` says whether Docker answers."""

    engine: bool
    class_ids: tuple[int, ...]
    memory_bytes: int
    slots: int
    slots_busy: int
    gpus: tuple[GpuView, ...]


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
class AccountView:
    """The client's money: free and in lanes at the contract; coins and gas money in its wallet."""

    client: str
    free_wei: int
    lanes: tuple["LaneView", ...]
    wallet_wei: int
    gas_wei: int


@dataclass(frozen=True, slots=True)
class LaneView:
    """Money locked for one node: left, highest order settled, jobs settled.

    closes_at: of a closing lane, when its rest may be taken back, in seconds since 1970; 0 where that is not known.
    """

    node: str
    left_wei: int
    mark_wei: int
    jobs: int
    closing: bool
    closes_at: int = 0


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
    account: AccountView
    peers: int
    nodes: tuple[PeerView, ...]
    models: tuple[str, ...]
    troubles: tuple[Trouble, ...]


@dataclass(frozen=True, slots=True)
class StepView:
    """One step of a job: when it was reached, or the latest moment by which it should be (both ms since 1970)."""

    state: str
    reached_ms: int
    at_most_ms: int


@dataclass(frozen=True, slots=True)
class JobView:
    """A job from this node's side (`requester` or `provider`); its id is the request's. Temperature in thousandths.

    `text` is the answer so far (for its requester only); of a kind that only reads it is a line of JSON for each text,
    and the tokens are units of 32 tokens read. `checked`: its client pays to have it checked, whatever the draw;
    scores_bps: what seats have found of it. most_wei is what it may cost, check and bonus included; cost_wei is
    charge, fee and bonus as far as they are known, and what attempts cost beside that were given up.
    """

    id: str
    side: str
    state: str
    model: str
    manifest: str
    node: str
    job_id: str
    batch_id: str
    attempt: int
    kind: str
    max_new_tokens: int
    temperature_milli: int
    checked: bool
    scores_bps: tuple[int, ...]
    tokens: int
    finish: str
    text: str
    max_price_wei: int
    price_wei: int
    most_wei: int
    charge_wei: int
    fee_wei: int
    bonus_wei: int
    cost_wei: int
    asked_ms: int
    actual_ms: int
    steps: tuple[StepView, ...]
    failure: Trouble | None

    @property
    def ended(self) -> bool:
        """Whether nothing will change any more: paid, given back, or never delivered by anybody."""
        return self.state in ("spendable", "refunded") or (self.state == "failed" and not self.batch_id)


@dataclass(frozen=True, slots=True)
class JobUpdate:
    """One line of a followed job.

    kind `state`: `job` is the newest view, with all of the text so far. kind `text`: `text` follows what came before,
    produced by attempt `attempt`; where that number changes another node has begun again.
    """

    kind: str
    job: JobView | None = None
    text: str = ""
    attempt: int = 0


@dataclass(frozen=True, slots=True)
class SeatView:
    """A seat of a case: drawn, committed, revealed or silent; its scores in basis points, one a drawn leaf."""

    seat: int
    node: str
    state: str
    commitment: str
    scores: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class CaseView:
    """A court over a batch, and where its money went. verdict: "", pass, review, severe, short, starved, withheld."""

    id: str
    node: str
    slot: int
    class_id: int
    state: str
    leaf_count: int
    drawn: tuple[int, ...]
    seats: tuple[SeatView, ...]
    verdict: str
    median_bps: int
    price_wei: int
    burned_wei: int
    reward_wei: int
    bonus_wei: int
    pooled_wei: int
    refunded_wei: int
    slashed_wei: int
    jobs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TokenView:
    """A token of an answer, and by how much a seat would have chosen another one, in ppm of a nat; -1: not known."""

    text: str
    margin_ppm: int


@dataclass(frozen=True, slots=True)
class TermView:
    """A term of a seat's score: its distance, up to where it passes and from where it fails, in ppm, and its score."""

    name: str
    distance_ppm: int
    pass_ppm: int
    fail_ppm: int
    score_bps: int


@dataclass(frozen=True, slots=True)
class LeafView:
    """What this node holds of a drawn leaf, as a seat, as the node that did the job, or as its client.

    asked and answer: input.json and result.json as they are; question and text for people. terms, stop_margin_ppm and
    score_bps as this node has computed them on its seat, -1 for what it has not. seed: of the choice of tokens, in hex.
    """

    leaf: int
    holder: str
    kind: str
    job_id: str
    manifest: str
    model: str
    class_id: int
    temperature_milli: int
    max_new_tokens: int
    timeout_ms: int
    seed: str
    asked: str
    answer: str
    question: str
    text: str
    finish: str
    tokens: tuple[TokenView, ...]
    stop_margin_ppm: int
    terms: tuple[TermView, ...]
    score_bps: int
    problem: str


@dataclass(frozen=True, slots=True)
class LeavesView:
    """The drawn leaves of a case that this node holds anything of; the others are not here."""

    id: str
    leaves: tuple[LeafView, ...]


@dataclass(frozen=True, slots=True)
class ModelView:
    """A model in the content store; `calibrated` are the device classes with constants on chain.

    `embeds` and `classifies`: those with constants for these kinds of jobs, too.
    """

    manifest: str
    name: str
    size_bytes: int
    needs_bytes: int
    context: int
    dtype: str
    calibrated: tuple[int, ...]
    embeds: tuple[int, ...] = ()
    classifies: tuple[int, ...] = ()

    def classes_for(self, kind: str) -> tuple[int, ...]:
        """The device classes with constants for a kind of jobs."""
        return {"embed": self.embeds, "classify": self.classifies}.get(kind, self.calibrated)


@dataclass(frozen=True, slots=True)
class CallView:
    """A decoded contract call: `arguments` as (name, value) for people."""

    contract: str
    address: str
    function: str
    arguments: tuple[tuple[str, str], ...]
    gas: int


@dataclass(frozen=True, slots=True)
class BalanceView:
    """A balance before and after; `unit` is VCN or ETH, amounts in wei."""

    name: str
    unit: str
    before_wei: int
    after_wei: int


@dataclass(frozen=True, slots=True)
class MoveView:
    """A movement of money: simulated, and sent where `transactions` (hashes with 0x) is not empty."""

    sender: str
    calls: tuple[CallView, ...]
    fee_wei: int
    balances: tuple[BalanceView, ...]
    transactions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ChangeView:
    """One change of a node's record on the chain, and what is behind it; points in hundredths.

    cause: batch, case, seat (it was silent on one), classes, offline, check_in, absence, audit, release (from jail).
    batch_id: the batch and its case, or "". jobs: those in it that this node knows. counted and lost: jobs that count
    as passed and as failed. response_ms: what the counted took together. penalty: added, below 0 where some healed.
    score: after it, 0 where only a day or the stake changed. day: the one that was counted, since 1970.
    """

    block: int
    transaction: str
    cause: str
    batch_id: str
    jobs: tuple[str, ...]
    verdict: str
    seat: int
    counted: int
    lost: int
    response_ms: int
    penalty: int
    lost_wei: int
    score: int
    day: int


@dataclass(frozen=True, slots=True)
class ScoreView:
    """A node's score and what it is made of: terms and score in hundredths of a point.

    penalised and healed: all that was ever added to the penalty and taken from it. changes: every one that hurt, and
    the newest of the others, oldest first; left_out: how many older ones are not among them.
    """

    node_id: str
    score: int
    success: int
    speed: int
    uptime: int
    stake: int
    penalty: int
    successes: int
    total: int
    response_ms: int
    check_in_days: int
    days_active: int
    stake_wei: int
    recommended_stake_wei: int
    rate_bps: int
    samples_left: int
    recent_failures: int
    penalised: int
    healed: int
    changes: tuple[ChangeView, ...]
    left_out: int


@dataclass(frozen=True, slots=True)
class StakeView:
    """What stands behind a node, on what terms others stake on it, what one of them has; times in seconds, 0: none."""

    node_id: str
    owner: str
    operator: str
    payout: str
    state: str
    own_stake_wei: int
    delegated_wei: int
    commission_bps: int
    next_commission_bps: int
    commission_at: int
    next_payout: str
    payout_at: int
    staker: str
    staked_wei: int
    unbonding_wei: int
    unlock_at: int
    rewards_wei: int


def plain(view: Any) -> Any:
    """A view as JSON can hold it: amounts (`*_wei`) as decimal strings, tuples as lists."""
    if dataclasses.is_dataclass(view) and not isinstance(view, type):
        return {
            field.name: _amount_or_plain(field.name, getattr(view, field.name)) for field in dataclasses.fields(view)
        }
    if isinstance(view, tuple | list):
        return [plain(item) for item in view]
    return view


def read(cls: type[T], raw: Any) -> T:
    """The view that `plain` gave. Fields that this version does not know are left out.

    Raises: Fault internal if a field is missing or of another kind: client and daemon are of different versions.
    """
    try:
        return cast(T, _read(cls, raw))
    except (KeyError, TypeError, ValueError) as error:
        message = f"the daemon's answer is not a {cls.__name__}: {error!s:.200}"
        raise Fault("internal", message, OTHER_VERSION) from error


def _amount_or_plain(name: str, value: Any) -> Any:
    return str(value) if name.endswith("_wei") else plain(value)


@functools.cache
def _hints(cls: Any) -> dict[str, Any]:
    return get_type_hints(cls)


def _read(hint: Any, raw: Any) -> Any:
    if dataclasses.is_dataclass(hint):
        return cast(Any, hint)(
            **{
                name: int(raw[name]) if name.endswith("_wei") else _read(kind, raw[name])
                for name, kind in _hints(cast(Any, hint)).items()
            }
        )
    origin, args = get_origin(hint), get_args(hint)
    if origin is tuple and args[-1] is Ellipsis:
        return tuple(_read(args[0], item) for item in raw)
    if origin is tuple:
        return tuple(_read(kind, item) for kind, item in zip(args, raw, strict=True))
    if origin is types.UnionType:
        return None if raw is None else _read(args[0], raw)
    if type(raw) is not hint:
        raise TypeError(f"expected {hint}, not {raw!r}")
    return raw
