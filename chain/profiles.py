"""The numbers that a network chooses when it is deployed: a profile for a laptop, one for a public test, one for use.

Windows follow from each other: a bond must outlive every dispute about work that it backed, and rules may change only
after every bond that was placed under them could leave. Params refuses a profile that breaks such a relation.
"""

from dataclasses import astuple, dataclass, replace
from typing import Any

from protocol.params import FAST_HEARTBEAT_INTERVAL_MS, HEARTBEAT_INTERVAL_MS, VCN

_HOUR = 3_600
_DAY = 24 * _HOUR


@dataclass(frozen=True, slots=True)
class Profile:
    """The fields of the contract's Profile, in its order. Seconds unless the name says blocks; amounts in wei."""

    name: str
    epoch_blocks: int
    lag_blocks: int
    seat_seconds: int
    challenge_seconds: int
    data_seconds: int
    convene_seconds: int
    starved_seconds: int
    appeal_seconds: int
    arbiter_seconds: int
    lane_close_seconds: int
    unbonding_seconds: int
    jail_seconds: int
    timelock_seconds: int
    min_stake: int
    recommended_stake: int
    min_deposit: int
    min_burn: int
    court_value: int
    verifier_min_score: int
    verifier_min_age_seconds: int
    verifier_weight_floor_bps: int
    slash_bps: int

    def to_chain(self) -> tuple[Any, ...]:
        """As the constructor of Params takes it."""
        return (self.name.encode().ljust(32, b"\0"), *astuple(self)[1:])

    @classmethod
    def from_chain(cls, values: tuple[Any, ...]) -> "Profile":
        """As Params shows it."""
        name, *numbers = values
        return cls(name.rstrip(b"\0").decode(errors="replace"), *numbers)


LOCAL = Profile(
    name="local",
    epoch_blocks=4,
    lag_blocks=2,
    seat_seconds=60,
    challenge_seconds=5,
    data_seconds=20,
    convene_seconds=30,
    starved_seconds=120,
    appeal_seconds=20,
    arbiter_seconds=60,
    lane_close_seconds=60,
    unbonding_seconds=600,
    jail_seconds=120,
    timelock_seconds=900,
    min_stake=1_000 * VCN,
    recommended_stake=10_000 * VCN,
    min_deposit=10 * VCN,
    min_burn=VCN // 20,
    court_value=VCN,
    verifier_min_score=0,
    verifier_min_age_seconds=0,
    # A handful of nodes with fresh scores judge each other: no draw may starve by bad luck.
    verifier_weight_floor_bps=5_000,
    slash_bps=5_000,
)

TESTNET = replace(
    LOCAL,
    name="testnet",
    epoch_blocks=16,
    lag_blocks=8,
    seat_seconds=600,
    challenge_seconds=_HOUR,
    data_seconds=_HOUR,
    convene_seconds=2 * _HOUR,
    starved_seconds=12 * _HOUR,
    appeal_seconds=_HOUR,
    arbiter_seconds=12 * _HOUR,
    lane_close_seconds=6 * _HOUR,
    unbonding_seconds=3 * _DAY,
    jail_seconds=_DAY,
    timelock_seconds=4 * _DAY,
    court_value=100 * VCN,
    verifier_min_score=4_000,
    verifier_min_age_seconds=_DAY,
    verifier_weight_floor_bps=100,
)

MAIN = replace(
    TESTNET,
    name="main",
    epoch_blocks=32,
    lag_blocks=32,
    seat_seconds=_HOUR // 2,
    challenge_seconds=_DAY,
    data_seconds=_DAY,
    convene_seconds=6 * _HOUR,
    starved_seconds=72 * _HOUR,
    appeal_seconds=12 * _HOUR,
    arbiter_seconds=48 * _HOUR,
    lane_close_seconds=_DAY,
    unbonding_seconds=14 * _DAY,
    jail_seconds=7 * _DAY,
    timelock_seconds=16 * _DAY,
    verifier_min_score=7_000,
    verifier_min_age_seconds=14 * _DAY,
    verifier_weight_floor_bps=1,
    # Shadow mode: verdicts are reached and shown, and nobody is slashed before the noise is measured on real hardware.
    slash_bps=0,
)

PROFILES = {profile.name: profile for profile in (LOCAL, TESTNET, MAIN)}

FINAL_DEPTH = {"local": 2, "testnet": 8, "main": 32}
"""Blocks on top of one that counts as final."""
POLL_S = {"local": 0.5, "testnet": 4.0, "main": 4.0}
"""How often a node asks for new blocks, in seconds."""
HEARTBEAT_MS = {
    "local": FAST_HEARTBEAT_INTERVAL_MS,
    "testnet": HEARTBEAT_INTERVAL_MS,
    "main": HEARTBEAT_INTERVAL_MS,
}
