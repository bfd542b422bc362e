"""Nothing in the contracts is of high or medium impact to slither, but what is accepted with a reason."""

from __future__ import annotations

from pathlib import Path

from scripts.setup.cache import REPOSITORY
from scripts.solc import sources
from tests.proof import slither
from tests.proof.slither import Finding, Rule

FAULTY = Path(__file__).with_name("planted") / "Faulty.sol"


def test_only_accepted_findings_and_the_planted_one() -> None:
    ours = sources()
    found = slither.findings({**ours, FAULTY.relative_to(REPOSITORY).as_posix(): FAULTY.read_text()})
    planted = [each for each in found if "Faulty." in each.words]
    assert "reentrancy-eth" in {each.check for each in planted}
    open_, stale = slither.judged([each for each in found if each not in planted])
    assert not open_, "\n".join(f"{each.check}: {each.words}" for each in open_)
    assert not stale


def test_rule_accepts_its_own_check_and_code_only() -> None:
    rule = Rule("unused-return", r"\.keysOf\(", "why")
    finding = Finding("unused-return", "Medium", "words", ("(owner,None) = _stakes.keysOf(node)",))
    assert rule.accepts(finding)
    assert not rule.accepts(Finding("unused-return", "Medium", "words", ("_coin.transfer(to,amount)",)))
    assert not rule.accepts(Finding("reentrancy-eth", "High", "words", finding.code))
