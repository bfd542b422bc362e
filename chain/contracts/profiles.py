"""The numbers that a network chooses when it is deployed: a profile for a laptop, one for a public test, one for use.

Windows follow from each other: a bond must outlive every dispute about work that it backed, and rules may change only
after every bond that was placed under them could leave. Params refuses a profile that breaks such a relation.
"""

import functools
import json
from dataclasses import astuple, dataclass, fields
from importlib.resources import files
from typing import Any

from protocol.params import FAST_HEARTBEAT_INTERVAL_MS, HEARTBEAT_INTERVAL_MS


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


_NUMBERS = fields(Profile)[1:]


@functools.cache
def profiles() -> dict[str, Profile]:
    """The profiles of this release by name, from the file that the tests of the contracts read too."""
    plain = json.loads((files("chain") / "abi" / "profiles.json").read_text(encoding="utf-8"))
    return {
        name: Profile(name, *(int(numbers[camel(each.name)]) for each in _NUMBERS)) for name, numbers in plain.items()
    }


FINAL_DEPTH = {"local": 2, "testnet": 8, "main": 32}
"""Blocks on top of one that counts as final."""
POLL_S = {"local": 0.5, "testnet": 4.0, "main": 4.0}
"""How often a node asks for new blocks, in seconds."""
HEARTBEAT_MS = {
    "local": FAST_HEARTBEAT_INTERVAL_MS,
    "testnet": HEARTBEAT_INTERVAL_MS,
    "main": HEARTBEAT_INTERVAL_MS,
}


def camel(name: str) -> str:
    """A name of ours as Solidity and the vectors write it."""
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)
