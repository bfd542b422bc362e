"""Gains and losses of each player, computed from the rules that are deployed; the tables of docs/economics.md.

    python -m scripts.economics [--profile NAME] [--json] [--write]

Nothing here is chosen: amounts come from protocol.params and the profile, splits and scores from the functions that the
contracts' vectors check. Each assumption is an argument, and stands in its table.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from chain.contracts.profiles import Profile, profiles
from protocol import params
from protocol.stages.assignment import bonus_cap, verify_fee
from protocol.stages.reputation import ReputationRecord, score_terms
from protocol.stages.settlement import split
from scripts import pages

PAGE = Path(__file__).resolve().parent.parent / "docs" / "economics.md"
PROFILE = "testnet"
RATES_BPS = (1_000, 5_000, 10_000)
"""A node that has proven itself, one with failures, one on probation."""
CATCHES = (0.5, 0.7, 0.9, 0.99)
SHARES = (0.05, 0.1, 0.2, 0.3, 0.4)
COLLUSION_CATCH = 0.9
SEAT_STAKE_FACTOR = 5
"""The least stake of a seat, in least stakes."""
LIE_DIVISOR = 10
LIE_PAYS = 40
"""A seat that an audit catches loses a tenth of what fraud costs, and at least so many times its pay."""
CASES = (1, 10, 100, 1_000)
"""The cost of a batch's jobs that a lazy seat lets pass, in VCN."""
CHECKED_CASES = (1, 10, 100, 660)
"""... and of one whose clients pay for its check. The last is all that goes into one batch: see Settler."""
PROVEN = 9_000
COUNTED_A_DAY = 20
QUICK_MS = 1_000
"""The time that a farmed job claims."""
DAY_MS = 86_400_000


@dataclass(frozen=True)
class Table:
    """Rows under heads; `gains`: what an attack brings in each cell, as a part of the price or the stake."""

    heads: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    gains: tuple[float, ...] = ()

    def markdown(self) -> str:
        """As it stands on the page."""
        return pages.markdown((self.heads, *self.rows))


# --- bills ----------------------------------------------------------------------------------------------------------
def client_bill(profile: Profile) -> Table:
    """The cost of a job of 10 VCN to its client, by its speed and its provider."""
    price = 10 * params.VCN
    fee, bonus = verify_fee(price), bonus_cap(price)
    rows = [
        ("price, all tokens delivered", _coins(price)),
        ("for checks, a twentieth on top", _coins(fee)),
        ("bonus, if it took less than 80 % of the time that was offered", f"at most {_coins(bonus)}"),
        ("locked while it runs", _coins(price + fee + bonus)),
        ("refused, failed, late, or found wrong", _coins(0)),
        (
            "checked for certain: half of the price on top, in place of a twentieth",
            _coins(verify_fee(price, checked=True)),
        ),
        ("locked while that runs", _coins(price + verify_fee(price, checked=True) + bonus)),
    ]
    return Table(("a job of 10 VCN", "its client pays"), rows)


def operator_bill(profile: Profile) -> Table:
    """The part of a job of 10 VCN that reaches its node, by its score; the rest."""
    price, rows = 10 * params.VCN, []
    nodes = (
        ("fresh, least stake", _fresh(profile, profile.min_stake)),
        ("fresh, stake as recommended", _fresh(profile, profile.recommended_stake)),
        ("proven", PROVEN),
        ("flawless", params.SCORE_MAX),
    )
    for words, score in nodes:
        paid = split(price, verify_fee(price), bonus_cap(price), score)
        amounts = (paid.reward, paid.bonus, paid.burned, paid.pooled)
        rows.append((words, f"{score / 100:.0f}", *map(_coins, amounts)))
    return Table(("node", "score", "reward", "bonus at most", "burned", "pool for checks"), rows)


# --- attacks --------------------------------------------------------------------------------------------------------
def wash_trade(profile: Profile) -> Table:
    """Client, node and a share q of the seats in one hand: what comes back of 100 VCN paid, fee and bonus beside."""
    return _wash(profile, checked=False)


def wash_checked(profile: Profile) -> Table:
    """The same with jobs that their client pays to have checked, with what own auditors of own seats bring."""
    return _wash(profile, checked=True)


def _wash(profile: Profile, *, checked: bool) -> Table:
    price, rows, gains, shares = 100 * params.VCN, [], [], (0.0, 0.4, 1.0)
    fee, bonus = verify_fee(price, checked=checked), bonus_cap(price)
    # The pool pays auditors what the seats had, one case in twenty.
    seats = 1 + params.AUDIT_RATE_BPS / params.BPS if checked else 1
    for score in (_fresh(profile, profile.recommended_stake), PROVEN, params.SCORE_MAX):
        paid = split(price, fee, bonus, score)
        found = [paid.reward + paid.bonus + seats * share * fee - price - fee - bonus for share in shares]
        gains += [gain / price for gain in found]
        rows.append((f"{score / 100:.0f}", *map(_signed, found)))
    if checked:
        rows.append(("void for a doubt", *(_signed(share * fee - fee) for share in shares)))
    return Table(("score", "no seat", "40 % of the seats", "every seat"), rows, tuple(gains))


def cheat(profile: Profile) -> Table:
    """One false job, as dear as the contract allows, in a batch of its own: what it brings on average."""
    stake, slash = profile.min_stake, profile.slash_bps
    price = stake // params.PRICE_PER_STAKE
    rows = [
        (f"{rate / 100:.0f} %", [cheat_gain(price, stake, slash, rate / params.BPS * catch) for catch in CATCHES])
        for rate in RATES_BPS
    ]
    return _by_catch("drawn", rows, price)


def cheat_gain(price: int, stake: int, slash_bps: int, caught: float) -> float:
    """The gain of a false job at best: all of its reward, with the full bonus, and no work done for it; in wei."""
    best = split(price, 0, bonus_cap(price), params.SCORE_MAX)
    return (1 - caught) * (best.reward + best.bonus) - caught * stake * slash_bps / params.BPS


def break_even(profile: Profile) -> Table:
    """How dear a false job must be to bring a gain, as a part of the stake, beside what the contract allows."""
    rows = []
    for catch in CATCHES:
        caught = RATES_BPS[0] / params.BPS * catch
        part = (
            caught * profile.slash_bps / params.BPS / ((1 - caught) * (9_000 + 100 * params.BONUS_PERCENT) / params.BPS)
        )
        rows.append((f"{catch:.0%}", f"stake / {1 / part:.1f}" if part else "any", f"stake / {params.PRICE_PER_STAKE}"))
    return Table(("caught, of what is drawn", "a cheat would need", "the contract allows"), rows)


def whole_stake(profile: Profile) -> Table:
    """As many false jobs at once as the open value of a stake allows, in one batch or in many."""
    stake, slash, rate = profile.min_stake, profile.slash_bps, RATES_BPS[0] / params.BPS
    open_value = stake // params.OPEN_VALUE_PER_STAKE * 100 // (105 + params.BONUS_PERCENT)
    # A severe verdict on one batch jails its node, and all others are then drawn in full.
    rows = [
        (f"{jobs}", [cheat_gain(open_value, stake, slash, 1 - (1 - rate * catch) ** jobs) for catch in CATCHES])
        for jobs in (20, 100, 1_000)
    ]
    return _by_catch("false jobs", rows, stake)


def _by_catch(head: str, rows: Sequence[tuple[str, Sequence[float]]], whole: int) -> Table:
    """Gains in wei by the rate at which a drawn fraud is caught, and as parts of `whole`."""
    heads = (head, *(f"caught {catch:.0%}" for catch in CATCHES))
    gains = tuple(gain / whole for _, found in rows for gain in found)
    return Table(heads, [(name, *map(_signed, found)) for name, found in rows], gains)


def collusion(profile: Profile) -> Table:
    """How often a fraud is found, and what a job at the cap brings, where a share of all seats is the cheat's own.

    An honest seat finds what it checks as often as COLLUSION_CATCH says; what other seats let pass may be audited.
    """
    stake, slash = profile.min_stake, profile.slash_bps
    price, rows, gains = stake // params.PRICE_PER_STAKE, [], []
    for share in SHARES:
        found = (found_by_one(share), found_by_three(share))
        drawn = RATES_BPS[0] / params.BPS
        brought = [
            cheat_gain(price, stake, slash, drawn * COLLUSION_CATCH * each)
            - drawn * (1 - each) * audit_loss(profile, share, seats)
            for each, seats in zip(found, (1, params.FULL_BENCH), strict=True)
        ]
        gains += [gain / price for gain in brought]
        rows.append((f"{share:.0%}", *(f"{each:.4f}" for each in found), *map(_signed, brought)))
    heads = ("seats colluding", "found, one seat", "found, three seats", "one seat", "three seats")
    return Table(heads, rows, tuple(gains))


def audit_loss(profile: Profile, share: float, seats: int) -> float:
    """The mean cost by audits of a fraud that the cheat's own seats let pass; `share` of auditors are its own.

    Two honest auditors catch the seats, three the node, whose batch is not final yet.
    """
    three = (1 - share) ** params.AUDITORS
    two = three + params.AUDITORS * share * (1 - share) ** 2
    seat = profile.slash_bps / params.BPS / LIE_DIVISOR * SEAT_STAKE_FACTOR * profile.min_stake
    node = profile.slash_bps / params.BPS * profile.min_stake
    return params.AUDIT_RATE_BPS / params.BPS * (two * seats * seat + three * node)


def laziness(profile: Profile) -> Table:
    """A seat that computes nothing and says yes: its pay, and its loss by audits, by what the jobs of a case cost."""
    return _laziness(profile, CASES, checked=False)


def laziness_checked(profile: Profile) -> Table:
    """The same where its clients pay for the check, up to the most that an honest node puts into one such batch."""
    return _laziness(profile, CHECKED_CASES, checked=True)


def _laziness(profile: Profile, cases: Sequence[int], *, checked: bool) -> Table:
    stake, slash = SEAT_STAKE_FACTOR * profile.min_stake, profile.slash_bps / params.BPS
    rows, gains = [], []
    for price in cases:
        pay = verify_fee(price * params.VCN, checked=checked) / params.FULL_BENCH
        fine = min(max(slash / LIE_DIVISOR * stake, LIE_PAYS * pay), slash * stake)
        lost = params.AUDIT_RATE_BPS / params.BPS * fine
        gains.append((pay - lost) / stake)
        rows.append((f"{price:,} VCN", _coins(pay), _coins(lost), _signed(pay - lost)))
    return Table(("jobs of the case", "pay of a seat", "lost to audits, on average", "left"), rows, tuple(gains))


def found_by_three(share: float) -> float:
    """Three seats of one mind decide; where they quarrel, or the cheat appeals, seven others do."""
    return (1 - share**params.FULL_BENCH) * found_by_seven(share)


def found_by_one(share: float) -> float:
    """One seat may only pass; where it is honest it finds the fraud, and more seats come."""
    return (1 - share) * found_by_seven(share)


def found_by_seven(share: float) -> float:
    """The median of seven decides: a fraud passes where four of them are the cheat's."""
    return sum(_binomial(params.LARGEST_BENCH, bad, share) for bad in range(params.LARGEST_BENCH // 2 + 1))


def farming(profile: Profile) -> Table:
    """Reputation bought by trading with oneself: the score at best, and what it cost."""
    stake, rows = profile.recommended_stake, []
    for days in (1, 7, 30, 90, 365):
        jobs = days * COUNTED_A_DAY
        terms = score_terms(
            ReputationRecord(jobs, jobs, jobs * QUICK_MS, days, days, 0), stake, profile.recommended_stake
        )
        price = profile.min_burn * 10
        paid = split(price, verify_fee(price), 0, terms.score)
        lost = jobs * (price + verify_fee(price) - paid.reward)
        rows.append((f"{days}", f"{jobs}", f"{terms.score / 100:.1f}", _coins(jobs * profile.min_burn), _coins(lost)))
    return Table(("days", "jobs that count", "score at best", "burned", "lost in all"), rows)


def stalling(profile: Profile) -> Table:
    """How often one node can keep one client waiting: it is barred after each time, twice as long as before."""
    rows = []
    for days in (1, 7, 30, 365):
        count, at_ms = 0, 0
        while at_ms < days * DAY_MS:
            at_ms += min(params.MISS_LONGEST_MS, params.MISS_MS << min(count, 16))
            count += 1
        rows.append((f"{days}", f"{count}", _coins(params.MAX_RETRIES * profile.min_stake)))
    return Table(("days", "stalls", f"stake of the {params.MAX_RETRIES} nodes that can end a job so"), rows)


_TABLES: tuple[Callable[[Profile], Table], ...] = (
    client_bill,
    operator_bill,
    wash_trade,
    wash_checked,
    cheat,
    break_even,
    whole_stake,
    collusion,
    laziness,
    laziness_checked,
    farming,
    stalling,
)
TABLES = {make.__name__: make for make in _TABLES}


def refreshed(page: str, profile: Profile) -> str:
    """The page with every table as the rules make it. Raises: KeyError for one that is nowhere."""
    return pages.refreshed(page, lambda name: TABLES[name](profile).markdown())


def _fresh(profile: Profile, stake: int) -> int:
    """The score of a node on its first day, in hundredths."""
    return score_terms(ReputationRecord(0, 0, 0, 0, 0, 0), stake, profile.recommended_stake).score


def _binomial(count: int, hits: int, share: float) -> float:
    return math.comb(count, hits) * share**hits * (1 - share) ** (count - hits)


def _coins(wei: float) -> str:
    return f"{wei / params.VCN:,.4f}".rstrip("0").rstrip(".") + " VCN"


def _signed(wei: float) -> str:
    return f"{wei / params.VCN:+,.2f} VCN"


def _text(profile: Profile) -> Iterator[str]:
    for name, make in TABLES.items():
        yield f"{name}: {(make.__doc__ or '').splitlines()[0]}"
        yield make(profile).markdown()


def main(arguments: list[str] | None = None) -> int:
    """Exit code: 0."""
    parser = argparse.ArgumentParser(prog="economics", description="What each player gains or loses by the rules.")
    parser.add_argument("--profile", choices=sorted(profiles()), default=PROFILE, help="default: %(default)s")
    parser.add_argument("--json", action="store_true", help="one object: table > rows")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/economics.md")
    chosen = parser.parse_args(arguments)
    profile = profiles()[chosen.profile]
    if chosen.write:
        PAGE.write_text(refreshed(PAGE.read_text("utf-8"), profiles()[PROFILE]), "utf-8")
    elif chosen.json:
        tables = {name: make(profile) for name, make in TABLES.items()}
        rows = {
            name: [dict(zip(table.heads, row, strict=True)) for row in table.rows] for name, table in tables.items()
        }
        print(json.dumps(rows))
    else:
        print("\n".join(_text(profile)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
