"""The devices that a machine reports."""

from __future__ import annotations

import pytest

from executor.cards.card import Card, CardFacts, CardFault
from executor.cards.card_desk import CardReport, CardsReport
from executor.devices import cpu_classes, group, memory_of
from protocol.errors import ExecutorError

CPUINFO = "processor\t: 0\nmodel name\t: A CPU\nflags\t\t: fpu sse2 {}\nbugs\t\t: none\n"


@pytest.mark.parametrize(
    ("flags", "classes"),
    [
        ("avx2", (1, 3)),
        ("avx512f avx512_bf16", (2, 1, 3)),
        ("amx_bf16 amx_tile", (2, 1, 3)),
        ("avx512_bf16x", (1, 3)),
    ],
)
def test_bfloat16_class_needs_it_in_hardware(flags: str, classes: tuple[int, ...]) -> None:
    assert cpu_classes(CPUINFO.format(flags)) == classes


def test_processor_that_names_no_flags_computes_in_float32() -> None:
    assert cpu_classes("Processor\t: ARMv8\n") == (1,)


def test_memory() -> None:
    assert memory_of("MemTotal:       24000000 kB\nMemAvailable: 1 kB\n", "MemTotal") == 24_000_000 * 1024
    with pytest.raises(ExecutorError):
        memory_of("", "MemTotal")


def card(model: str, temperature_c: int, free_bytes: int, utilisation: int, fault: CardFault | None = None) -> Card:
    total_bytes = 24 << 30
    facts = CardFacts(f"GPU-{model}-{free_bytes}", 0, model, total_bytes)
    return Card(facts, temperature_c, total_bytes - free_bytes, utilisation, fault=fault)


def told_of(*cards: Card) -> CardsReport:
    return CardsReport(tuple(map(CardReport, cards)), "12.4", "550.54")


def test_cards_of_one_model_are_one_line_with_the_worst_of_each() -> None:
    cards = (card("B", 60, 8 << 30, 10), card("A", 50, 4 << 30, 0), card("B", 80, 2 << 30, 90))
    a, b = group(told_of(*cards))
    assert (a.model, a.count, a.temperature_c, a.free_bytes) == ("A", 1, 50, 4 << 30)
    assert (b.model, b.count, b.temperature_c, b.free_bytes, b.utilisation) == ("B", 2, 80, 2 << 30, 50)
    assert (b.cuda, b.driver, b.total_bytes) == ("12.4", "550.54", 24 << 30)


def test_a_card_at_fault_is_not_told_to_others() -> None:
    (told,) = group(told_of(card("A", 50, 1 << 30, 0), card("A", 0, 0, 0, CardFault.LOST)))
    assert (told.count, told.temperature_c, told.free_bytes) == (1, 50, 1 << 30)


def test_heartbeat_holds_four_models_at_most() -> None:
    assert len(group(told_of(*(card(str(n), 1, 1, 1) for n in range(9))))) == 4


def test_no_card_is_no_line() -> None:
    assert group(CardsReport()) == ()
