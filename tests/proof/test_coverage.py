"""Tests run nearly every line and branch of the contracts."""

from __future__ import annotations

import pytest

from scripts.solc import sources
from tests.proof import coverage
from tests.proof.coverage import Covered

REPORT = """\
TN:
SF:../contracts/court/Court.sol
DA:10,4
DA:11,0
BRDA:12,0,0,-
BRDA:12,0,1,3
LF:2
LH:1
BRF:2
BRH:1
end_of_record
TN:
SF:../tests/contracts/mocks/Mock.sol
LF:1
LH:1
BRF:0
BRH:0
end_of_record
TN:
SF:../tests/contracts/Fixture.sol
LF:1
LH:0
BRF:0
BRH:0
end_of_record
"""


def test_report_is_read_by_source_and_mocks_do_not_count() -> None:
    (court,) = coverage.read(REPORT)
    assert court == Covered("contracts/court/Court.sol", 2, 1, 2, 1, (11, 12))
    assert court.percents == (50, 50)
    assert coverage.whole([court, Covered("x", 8, 8, 0, 0)]).percents == (90, 50)


@pytest.mark.long
def test_nearly_all_of_the_contracts_is_covered() -> None:
    found = coverage.measured()
    code = {name for name, text in sources().items() if "\n    function " in text}
    code -= {name for name in code if "/interfaces/" in name}
    assert code <= {each.name for each in found}
    assert min(coverage.whole(found).percents) >= coverage.LEAST_PERCENT, coverage.table(found)
