"""Findings that block a deployment on a chain, and findings that are only reported."""

from dataclasses import replace

import pytest

from chain.contracts.network import Addresses
from chain.contracts.profiles import profiles
from chain.contracts.timelock import Governance
from chain.deploy.deployment import Creation, Plan, first_classes
from chain.deploy.survey import Survey, SurveyFinding, findings, refusals
from protocol.wire.ids import Wei, checksum

ADDRESS = checksum("0x" + "11" * 20)
GWEI = 10**9
GOOD = Survey(
    chain_id=11_155_111,
    client="geth",
    head=9_000_000,
    block_s=12.0,
    slowest_s=24.0,
    measured=128,
    proposers=90,
    base_fee=Wei(GWEI),
    tip=Wei(GWEI),
    has_history=True,
    runs_cancun=True,
    code_limit=24_576,
    balance=Wei(10**18),
)


def plan_of(profile: str, gas: int = 10**7) -> Plan:
    creation = Creation("VCoin", ADDRESS, b"", 1, gas, is_there=False)
    return Plan(
        chain_id=GOOD.chain_id,
        profile=profiles()[profile],
        governance=Governance((ADDRESS,), ADDRESS),
        deployer=ADDRESS,
        first_nonce=0,
        block=1,
        addresses=Addresses(*[ADDRESS] * 10),
        classes=first_classes(bytes(32)),
        rows=(),
        creations=(creation,),
    )


def found(seen: Survey, profile: str = "testnet") -> tuple[SurveyFinding, ...]:
    return findings(seen, plan_of(profile))


@pytest.mark.parametrize("profile", ["testnet", "main"])
def test_a_public_chain_with_money_is_good_enough(profile: str) -> None:
    assert found(GOOD, profile) == ()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"runs_cancun": False}, "lacks opcodes of the Cancun upgrade"),
        ({"code_limit": 0}, "refuses contracts as large as ours"),
        ({"base_fee": None}, "no EIP-1559"),
        ({"balance": Wei(0)}, "the deployment may cost 0.030000"),
        ({"base_fee": Wei(300 * GWEI), "balance": Wei(10**20)}, "gas costs 301.0 gwei"),
        ({"block_s": 300.0}, "a seed takes 7200 s of 300.0 s blocks"),
        ({"block_s": 0.05}, "a seed can be had for 410 s only"),
        ({"block_s": 2.0, "has_history": False}, "a seed can be had for 512 s only"),
    ],
)
def test_what_is_refused_says_what_to_do(change: dict[str, object], words: str) -> None:
    refused = refusals(found(replace(GOOD, **change)))  # type: ignore[arg-type]
    assert [words in each.what for each in refused] == [True], refused
    assert all(each.fix for each in refused)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"has_history": False}, "no EIP-2935"),
        ({"proposers": 1}, "one proposer made the last 129 blocks"),
        ({"block_s": None, "slowest_s": None, "measured": 0}, "too few blocks"),
    ],
)
def test_what_is_only_said(change: dict[str, object], words: str) -> None:
    (only,) = found(replace(GOOD, **change))  # type: ignore[arg-type]
    assert words in only.what
    assert not only.refused
    assert only.fix


def test_one_proposer_is_too_few_for_a_network_that_lives() -> None:
    (only,) = refusals(found(replace(GOOD, proposers=1), "main"))
    assert "it chooses every seed" in only.what


def test_the_local_profile_stays_at_home() -> None:
    assert "its stakes are free to leave after 600 s" in refusals(found(GOOD, "local"))[0].what
    assert refusals(found(replace(GOOD, chain_id=31_337, block_s=1.0, proposers=1), "local")) == ()


def test_a_rehearsal_at_home_is_told_and_allowed() -> None:
    at_home = replace(GOOD, chain_id=31_337, block_s=0.001, proposers=1, has_history=False)
    assert refusals(found(at_home, "main")) == ()
    assert any("is a rehearsal" in each.what for each in found(at_home, "main"))


def test_the_money_that_lacks_is_named_to_the_last_digit() -> None:
    plan = plan_of("testnet", gas=10**7)
    (only,) = findings(replace(GOOD, balance=Wei(10**16)), plan)
    # Ten million gas at twice one gwei and a tip of one.
    assert only.fix == f"send 0.020000 to {ADDRESS}"
    there = replace(plan, creations=(replace(plan.creations[0], is_there=True),))
    assert findings(replace(GOOD, balance=Wei(0)), there) == ()
