"""The cards of this machine as the driver tells them: what no stub can say of a real one."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from executor.cards.card_book import CardBook
from executor.cards.card_desk import CardDesk, CardReport, CardsReport
from executor.cards.care import FRESH, OwnerLimits, decide
from executor.cards.choice import CardWish
from executor.cards.nvml import NvmlClient

pytestmark = pytest.mark.gpu

MIB = 1 << 20


def told(field: str) -> list[str]:
    """What NVIDIA's own tool says of each card."""
    command = [shutil.which("nvidia-smi") or "nvidia-smi", f"--query-gpu={field}", "--format=csv,noheader,nounits"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip().splitlines()


def test_cards_are_read_as_nvidias_own_tool_reads_them() -> None:
    reading = NvmlClient().read()
    assert reading.fault is None
    whole = [card for card in reading.cards if not card.facts.parent_uuid]
    assert [card.uuid for card in whole] == told("uuid")
    assert [card.facts.model for card in whole] == told("name")
    assert {reading.driver} == set(told("driver_version"))
    assert [".".join(map(str, card.facts.compute_capability)) for card in whole] == told("compute_cap")
    for card, total in zip(whole, told("memory.total"), strict=True):
        assert abs(card.facts.total_bytes // MIB - int(total)) <= 1024
        assert card.temperature_c is not None
        assert 0 < card.temperature_c < 120
    assert re.fullmatch(r"\d+\.\d+", reading.cuda)


def test_a_cool_card_is_lent(tmp_path: Path) -> None:
    reading = NvmlClient().read()
    decisions = {card.uuid: decide(FRESH, card, (), (), OwnerLimits(), 0.0) for card in reading.cards}
    reports = tuple(CardReport(card, decisions[card.uuid].is_usable) for card in reading.cards)
    desk = CardDesk(book=CardBook(tmp_path / "book"), report=CardsReport(reports))
    lease = desk.lend(CardWish(256 * MIB))
    assert lease.uuids[0] in {card.uuid for card in reading.cards}
    lease.release()
