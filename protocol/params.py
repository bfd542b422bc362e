"""The constants of the protocol, each with its unit and reason.

What a deployment may choose (windows in seconds, stakes) is not here: it stands in the Params contract and comes in
as `ChainRules`.
"""

from dataclasses import dataclass

from protocol.wire.ids import Address, Wei

VCN = 10**18
"""One VCN in wei."""

PROTOCOL_LOWEST = 1
PROTOCOL_HIGHEST = 1

# --- liveness -------------------------------------------------------------------------------------------------------
HEARTBEAT_INTERVAL_MS = 30_000
FAST_HEARTBEAT_INTERVAL_MS = 5_000
OFFLINE_AFTER_MS = 300_000
"""A node silent for so long takes no new work and loses what it has in flight."""
PAUSE_ABOVE_C = 85
RESUME_BELOW_C = 75
DELAY_ALERT_MS = 10_000
"""A mean round trip above this lowers a node's place in the ranking."""

# --- requests and offers --------------------------------------------------------------------------------------------
OFFER_WINDOW_MS = 150
"""Offers are collected for the whole window, so that the fastest answer does not beat the best one."""
WIDE_OFFER_WINDOW_MS = 450
FIRST_RANKS = 16
"""Nodes that rank themselves lower than this stay silent until a request comes again with `wide`."""
OFFER_VALID_S = 30
MAX_CLOCK_SKEW_MS = 60_000
DEFAULT_PRICE_WEI = Wei(10 * VCN)
"""Price of 1,000 output tokens."""
DEFAULT_LANE_WEI = Wei(20 * VCN)
"""The amount that a requester locks for a node at a time, so that most jobs find their lane open."""
TOKENS_PER_PRICE = 1_000

# --- assignment and execution ---------------------------------------------------------------------------------------
ACCEPT_WITHIN_MS = 2_000
MISS_MS = 3_600_000
MISS_LONGEST_MS = 7 * 24 * 3_600_000
"""A node that failed a requester is hired by it for an hour only if no other is able, and twice as long each further
time, up to a week."""
WITHDRAW_WITHIN_MS = 5_000
"""So long after its promise a node lets go of a job without pay; later its work has begun to be worth something."""
INPUT_BYTES_PER_MS = 1_000
"""The slowest that an input may travel."""
MAX_RETRIES = 3
"""Nodes tried in all, attempts 0 to 2."""
INFERENCE_TIMEOUT_MS = 120_000
"""Container start to its manifest."""
TIMEOUT_PER_TOKEN_MS = 250
"""Allowed for a token where a user names no time limit and the answer is long: a node offers for half of the limit."""
READ_BYTES_PER_STEP = 32
"""Of a chat, what is read in the time of one token: 8 tokens of 4 bytes."""
TIMEOUT_CEILING_MS = 3_600_000
DEADLINE_GRACE_MS = 10_000
RETRY_AFTER_DEADLINE_S = 120
"""After details.deadline + this the silent node's payment order is dead, so another node may be paid."""
MINE_WITHIN_MS = 90_000
"""A job without a receipt is due so long before that: longer than a node rests between two tries."""
MAX_INLINE_BYTES = 32_768
"""A sealed input or result up to this size travels inside its message; a larger one as a blob."""
MAX_FINGERPRINT_BYTES = 72 * 1024
"""A fingerprint of MAX_NEW_TOKENS tokens."""
MAX_ANSWER_BYTES = 16 * 1024
"""The data that a node may show a seat on chain."""
MAX_INPUT_BYTES = 8 * 2**20
MAX_OUTPUT_BYTES = 64 * 2**20
MAX_MEMORY = 24 * 2**30
"""Bytes that a request allows its model unless the job itself needs more."""
MAX_MEMORY_CEILING = 2**50
"""More than any machine has."""
MAX_NEW_TOKENS = 8_192
MAX_UNITS = 2_048
"""Of 32 tokens each, that one job may have read: a seat reads them again within a part of its turn."""
MAX_TEMPERATURE_MILLI = 2_000
"""Thousandths. The most that chat interfaces offer; honest noise was measured up to there."""
KEEP_AFTER_FINAL_MS = 86_400_000
"""Content keys and sealed blobs are kept this long after settlement."""

# --- batches --------------------------------------------------------------------------------------------------------
BATCH_JOBS = 100
"""A batch is sent when so many jobs wait."""
BATCH_AGE_MS = {"local": 1_000, "testnet": 600_000, "main": 600_000}
"""... or when its oldest has waited this long."""
MAX_BATCH_LEAVES = 2_560
PROBATION_JOBS = 20
"""A node starts with so many checked jobs, and a batch of it has at most so many leaves until then."""
MAX_SKIPPED_ORDERS = PROBATION_JOBS - 1
"""Orders in a row that a node need not have seen; they and the next one fit a batch on probation."""
BATCH_SLOTS = 64

# --- money, in basis points -----------------------------------------------------------------------------------------
BPS = 10_000
BURN_BPS = 1_000
VERIFY_FEE_DIVISOR = 20
CHECKED_FEE_DIVISOR = 2
"""Of a job whose client pays for its check: what seats get for a drawn job at the rate of a tenth."""
CONVENE_DIVISOR = 5
COURT_FEE = VCN // 20
"""Of what a case pays, in wei, so much is the seats' alone; of the rest a fifth goes to the convening account."""
BONUS_PERCENT = 9
"""10% of the base, the base being 90% of the price."""
BONUS_BELOW_PERCENT = 80
"""The bonus is earned below this share of the expected time."""
MIN_CHARGE_DIVISOR = 10
PRICE_PER_STAKE = 40
"""A price is at most stake / 40: a cheat loses money even when half of the checks miss."""
OPEN_VALUE_PER_STAKE = 2

# --- verdicts -------------------------------------------------------------------------------------------------------
PASS_ABOVE_BPS = 9_500
REVIEW_ABOVE_BPS = 8_500
SPREAD_MAX_BPS = 1_000
"""Honest seats differ by noise; where they differ by more, one of them is wrong and the case grows."""
FULL_BENCH = 3
LARGEST_BENCH = 7
AUDIT_RATE_BPS = 500
"""Of the cases that passed so many are checked once more, and with them their seats."""
AUDITORS = 3
AUDIT_LATEST_EPOCHS = 32
"""An audit is convened within so many epochs of the verdict, or never."""
NO_SHOW_BPS = 50
"""Of its stake, what a seat that stays silent loses."""

# --- reputation, in hundredths of a point ---------------------------------------------------------------------------
SCORE_MAX = 10_000
FRESH_SCORE_JOBS = 20
FRESH_SCORE_DAYS = 7
PENALTY_LIGHT = 500
PENALTY_MEDIUM = 1_500
PENALTY_SEVERE = 3_000
FAILURE_RING = 50


@dataclass(frozen=True, slots=True)
class ChainRules:
    """The choices of one deployment; read from its Params contract when the node starts.

    Times in seconds, stakes in wei, `epoch` and `lag` in blocks.
    """

    profile: str
    chain_id: int
    settlement: Address
    stake_manager: Address
    epoch: int
    lag: int
    final_depth: int
    seat_window_s: int
    challenge_window_s: int
    starved_s: int
    court_value: int
    min_stake: int
    recommended_stake: int
    min_deposit: int
    heartbeat_ms: int
