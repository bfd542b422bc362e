"""Money: accounts, lanes, stakes, and transactions before they are sent."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LaneView:
    """Money locked for one node: left, highest order settled, jobs settled.

    closes_at_s: of a closing lane, when its rest may be taken back, in seconds since 1970; 0 where that is not known.
    """

    node: str
    left_wei: int
    mark_wei: int
    jobs: int
    closing: bool
    closes_at_s: int = 0


@dataclass(frozen=True, slots=True)
class AccountView:
    """The client's money: free and in lanes at the contract; coins and gas money in its wallet."""

    client: str
    free_wei: int
    lanes: tuple[LaneView, ...]
    wallet_wei: int
    gas_wei: int


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
class PlanView:
    """A movement of money: simulated, and sent where `transactions` (hashes with 0x) is not empty."""

    sender: str
    calls: tuple[CallView, ...]
    fee_wei: int
    balances: tuple[BalanceView, ...]
    transactions: tuple[str, ...]
