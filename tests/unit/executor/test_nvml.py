"""The client of NVML, driven by a stub of the library: what it reads, and what it says of faults."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from executor.cards.card import NO_CARDS, CardFault, Throttle
from executor.cards.card_reader import CardReader
from executor.cards.nvml import NvmlClient, NvmlFault
from tests.support.nvml_stub import (
    ABSENT,
    DRIVER_NOT_LOADED,
    GIB,
    HW_SLOWDOWN,
    LOST,
    NO_PERMISSION,
    POWER_CAP,
    UNKNOWN,
    NvmlStub,
    library,
)

READ_IN_A_PROCESS = """
import trio
from executor.cards.card_reader import CardReader
print(trio.run(CardReader().read))
"""
HANG_MS, BACK_S = 60_000, 10


@pytest.fixture
def stub(tmp_path: Path) -> Iterator[NvmlStub]:
    made = NvmlStub(tmp_path / "nvml", count=2)
    made.show()
    yield made
    # What hangs comes back.
    made.state.hang_ms = 0
    for card in made.state.card:
        card.hang_ms = 0


def read_in_a_process(folder: Path, state: Path) -> str:
    env = {**os.environ, "LD_LIBRARY_PATH": str(folder), "NVML_STUB_STATE": str(state)}
    done = subprocess.run(
        [sys.executable, "-c", READ_IN_A_PROCESS], env=env, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_a_card_is_read_whole(stub: NvmlStub) -> None:
    stub[1].run((4711, 3 * GIB), (4712, 2 * GIB))
    stub[1].temperature, stub[1].utilisation, stub[1].ecc = 71, 93, 2
    stub[1].throttles = POWER_CAP | HW_SLOWDOWN
    reading = NvmlClient().read()
    assert (reading.cuda, reading.driver, reading.fault) == ("12.4", "550.54.15", None)
    first, card = reading.cards
    assert (first.facts.index, first.uuid, first.ecc_uncorrected, first.processes) == (0, "GPU-00000000", None, ())
    assert (card.facts.model, card.facts.total_bytes) == ("NVIDIA Stub 24GB", 24 * GIB)
    assert card.facts.compute_capability == (8, 9)
    assert (card.temperature_c, card.utilisation, card.ecc_uncorrected) == (71, 93, 2)
    assert (card.used_bytes, card.free_bytes) == (5 * GIB, 19 * GIB)
    assert (card.power_mw, card.power_limit_mw) == (60_000, 300_000)
    assert card.throttles == {Throttle.POWER_CAP, Throttle.HARDWARE}
    assert [(each.pid, each.used_bytes) for each in card.processes] == [(4711, 3 * GIB), (4712, 2 * GIB)]


def test_a_sensor_that_a_card_has_not_is_no_fault(stub: NvmlStub) -> None:
    for name in ("temperature", "utilisation", "power_mw", "limit_mw"):
        setattr(stub[0], name, ABSENT)
    card = NvmlClient().read().cards[0]
    assert card.fault is None
    assert (card.temperature_c, card.utilisation, card.power_mw, card.power_limit_mw) == (None,) * 4


def test_facts_are_read_once_and_cards_side_by_side(stub: NvmlStub) -> None:
    stub.state.count = 8
    client = NvmlClient()
    client.read()
    stub.state.calls, stub.state.delay_ms = 0, 2
    started = time.monotonic()
    assert len(client.read().sound) == 8
    took_ms = (time.monotonic() - started) * 1000
    # The count, and eight values of each card: one after the other they would take 130 ms.
    assert stub.state.calls == 1 + 8 * 8
    assert took_ms < 100
    assert stub.state.inits == 1


def test_a_lost_card_leaves_the_others(stub: NvmlStub) -> None:
    client = NvmlClient()
    client.read()
    stub[0].error = LOST
    first, second = client.read().cards
    assert (first.uuid, first.fault) == ("GPU-00000000", CardFault.LOST)
    assert (second.fault, second.temperature_c) == (None, 40)


def test_a_card_that_is_lost_before_the_first_reading_is_named(stub: NvmlStub) -> None:
    stub[0].error = LOST
    faults = {card.facts.index: card.fault for card in NvmlClient().read().cards}
    assert faults == {0: CardFault.LOST, 1: None}


@pytest.mark.parametrize(
    ("error", "fault"), [(NO_PERMISSION, CardFault.NO_PERMISSION), (UNKNOWN, CardFault.UNREADABLE)]
)
def test_a_card_that_cannot_be_read_says_why(stub: NvmlStub, error: int, fault: CardFault) -> None:
    client = NvmlClient()
    client.read()
    stub[0].error = error
    assert client.read().cards[0].fault is fault


@pytest.mark.parametrize(
    ("error", "fault"), [(DRIVER_NOT_LOADED, CardFault.NO_DRIVER), (NO_PERMISSION, CardFault.NO_PERMISSION)]
)
def test_a_driver_that_cannot_be_opened_is_a_fault_of_all_cards(stub: NvmlStub, error: int, fault: CardFault) -> None:
    client = NvmlClient()
    client.read()
    stub.state.init_error = error
    reading = client.read()
    assert reading.fault is fault
    assert [card.fault for card in reading.cards] == [fault, fault]
    stub.state.init_error = 0
    assert [card.fault for card in client.read().cards] == [None, None]


def test_a_machine_without_the_library_has_no_card(tmp_path: Path) -> None:
    # A file that is no library hides the real one, where there is one.
    (tmp_path / "libnvidia-ml.so.1").write_bytes(b"no library")
    assert read_in_a_process(tmp_path, tmp_path) == repr(NO_CARDS)


def test_an_old_driver_is_named(tmp_path: Path) -> None:
    NvmlStub(tmp_path / "nvml")
    said = read_in_a_process(library("-DOLD_DRIVER").parent, tmp_path / "nvml")
    assert "fault=<CardFault.OLD_DRIVER: 'old_driver'>" in said
    assert "Function Not Found" in said


def test_instances_of_mig_are_cards_with_the_heat_of_their_card(stub: NvmlStub) -> None:
    stub.split(0, instances=2, each_bytes=10 * GIB)
    stub[0].temperature = 77
    stub[0].run((9, 4 * GIB), instance=1)
    first, second, whole = NvmlClient().read().cards
    assert [card.uuid for card in (first, second)] == ["MIG-00000000-0", "MIG-00000000-1"]
    assert (second.facts.parent_uuid, second.facts.total_bytes) == ("GPU-00000000", 10 * GIB)
    assert (first.used_bytes, second.used_bytes, second.processes[0].pid) == (0, 4 * GIB, 9)
    assert (first.temperature_c, second.temperature_c, first.utilisation) == (77, 77, None)
    assert whole.uuid == "GPU-00000001"


@pytest.mark.parametrize(("mig", "pending", "instances"), [(1, 1, 0), (0, 1, 0), (1, 0, 2)])
def test_half_a_mig_is_named_and_no_job_has_the_card(stub: NvmlStub, mig: int, pending: int, instances: int) -> None:
    stub[0].mig, stub[0].mig_pending, stub[0].instances = mig, pending, instances
    half, whole = NvmlClient().read().cards
    assert (half.uuid, half.fault, whole.fault) == ("GPU-00000000", CardFault.MIG_HALF, None)


def test_a_power_cap_stays_within_what_the_card_allows(stub: NvmlStub) -> None:
    client = NvmlClient()
    client.read()
    stub[0].may_cap = 1
    client.cap_power("GPU-00000000", 200)
    assert stub[0].limit_mw == 200_000
    client.cap_power("GPU-00000000", 20)
    assert stub[0].limit_mw == 100_000
    with pytest.raises(NvmlFault, match="Permissions"):
        client.cap_power("GPU-00000001", 200)


def hung() -> list[threading.Thread]:
    """The threads that wait for a card."""
    return [thread for thread in threading.enumerate() if thread.name == "nvml"]


async def test_a_library_that_hangs_costs_a_deadline_and_one_thread(stub: NvmlStub) -> None:
    reader = CardReader(deadline_s=0.2)
    assert (await reader.read()).fault is None
    before, stub.state.hang_ms = threading.active_count(), HANG_MS
    started = time.monotonic()
    reading = await reader.read()
    assert [card.fault for card in reading.cards] == [CardFault.HANGS] * 2
    assert reading.cards[0].uuid == "GPU-00000000"
    for _ in range(5):
        reading = await reader.read()
        assert reading.fault is CardFault.HANGS
        assert "has not come back" in reading.words
    assert time.monotonic() - started < 5
    assert threading.active_count() <= before + 1
    stub.state.hang_ms = 0
    with trio.fail_after(BACK_S):
        while (await reader.read()).fault is not None:
            await trio.lowlevel.checkpoint()
    assert [card.fault for card in reader.newest.cards] == [None] * 2


async def test_a_card_that_hangs_blinds_no_other_and_comes_back(stub: NvmlStub) -> None:
    reader = CardReader(NvmlClient(card_deadline_s=0.2))
    await reader.read()
    stub[0].hang_ms = HANG_MS
    for _ in range(5):
        reading = await reader.read()
        assert [card.fault for card in reading.cards] == [CardFault.HANGS, None]
    (only,) = hung()
    stub[0].hang_ms = 0
    only.join()
    assert [card.fault for card in (await reader.read()).cards] == [None, None]
