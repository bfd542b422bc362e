"""One card as it is now, in plain values. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class CardFault(StrEnum):
    """Why a card, or all of them, cannot be used or be read."""

    NO_DRIVER = "no_driver"
    """The library is here, and the kernel module of the driver is not."""
    OLD_DRIVER = "old_driver"
    NO_PERMISSION = "no_permission"
    HANGS = "hangs"
    LOST = "lost"
    MIG_HALF = "mig_half"
    """MIG is on, or about to be, and the card has no instance that a job could have."""
    UNREADABLE = "unreadable"


FIXES: dict[CardFault, str] = {
    CardFault.NO_DRIVER: "load the driver: sudo modprobe nvidia, then nvidia-smi",
    CardFault.OLD_DRIVER: "install driver 450 or a newer one, then restart the machine",
    CardFault.NO_PERMISSION: "let the daemon's user read /dev/nvidia*: ls -l /dev/nvidiactl",
    CardFault.HANGS: "look at dmesg for Xid; a card that hangs needs nvidia-smi --gpu-reset or a restart",
    CardFault.LOST: "look at dmesg for Xid 79, check power and slot of the card, then restart the machine",
    CardFault.MIG_HALF: "make instances: sudo nvidia-smi mig -cgi 19 -C, or turn MIG off: sudo nvidia-smi -mig 0",
    CardFault.UNREADABLE: "run nvidia-smi and look at what it says",
}
"""What an owner does about each."""


class Throttle(StrEnum):
    """Why the clocks of a card are lowered, of those reasons that an owner can do something about."""

    POWER_CAP = "power_cap"
    HEAT = "heat"
    HARDWARE = "hardware"
    """The hardware slows the card: heat, power supply, or its external brake."""


@dataclass(frozen=True, slots=True)
class CardFacts:
    """What does not change while the driver is loaded. parent_uuid: the card of a MIG instance, else empty."""

    uuid: str
    index: int
    model: str
    total_bytes: int = 0
    compute_capability: tuple[int, int] = (0, 0)
    parent_uuid: str = ""


@dataclass(frozen=True, slots=True)
class CardProcess:
    """A process that has memory of a card; used_bytes is None where the driver does not tell."""

    pid: int
    used_bytes: int | None


@dataclass(frozen=True, slots=True)
class Card:
    """A card now. Memory in bytes, temperature in C, utilisation in percent; None where the card has no such sensor.

    ecc_uncorrected: errors since the driver was loaded. A card with a fault has no values but its facts.
    """

    facts: CardFacts
    temperature_c: int | None = None
    used_bytes: int = 0
    utilisation: int | None = None
    power_mw: int | None = None
    power_limit_mw: int | None = None
    throttles: frozenset[Throttle] = frozenset()
    ecc_uncorrected: int | None = None
    processes: tuple[CardProcess, ...] = ()
    fault: CardFault | None = None

    @property
    def uuid(self) -> str:
        return self.facts.uuid

    @property
    def free_bytes(self) -> int:
        return max(0, self.facts.total_bytes - self.used_bytes)


@dataclass(frozen=True, slots=True)
class CardsReading:
    """All cards at one moment, with the versions of CUDA and driver. fault: why none could be read; words: of NVML."""

    cards: tuple[Card, ...] = ()
    cuda: str = ""
    driver: str = ""
    fault: CardFault | None = None
    words: str = ""

    @property
    def sound(self) -> tuple[Card, ...]:
        """The cards that could be read and can be used."""
        return tuple(card for card in self.cards if card.fault is None)

    def of(self, uuid: str) -> Card | None:
        """One card of this reading."""
        return next((card for card in self.cards if card.uuid == uuid), None)


NO_CARDS = CardsReading()
"""A machine without a card."""


def with_fault(facts: Iterable[CardFacts], fault: CardFault) -> tuple[Card, ...]:
    """Cards of which no more is known than that."""
    return tuple(Card(each, fault=fault) for each in facts)
