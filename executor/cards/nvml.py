"""The driver's library, NVML: facts of each card once, and its values at each reading. Every call here may block.

A card is read in a thread of its own, so that eight cards take as long as one and one that hangs blinds no other. A
thread that hangs is left alone: its card is read by no second one until it has come back.
"""

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import pynvml

from executor.cards.card import NO_CARDS, Card, CardFacts, CardFault, CardProcess, CardsReading, Throttle, with_fault
from protocol.errors import ExecutorError

T = TypeVar("T")
nvml: Any = pynvml

_FAULTS = {
    nvml.NVML_ERROR_DRIVER_NOT_LOADED: CardFault.NO_DRIVER,
    nvml.NVML_ERROR_FUNCTION_NOT_FOUND: CardFault.OLD_DRIVER,
    nvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH: CardFault.OLD_DRIVER,
    nvml.NVML_ERROR_NO_PERMISSION: CardFault.NO_PERMISSION,
    nvml.NVML_ERROR_TIMEOUT: CardFault.HANGS,
    nvml.NVML_ERROR_GPU_IS_LOST: CardFault.LOST,
    nvml.NVML_ERROR_GPU_NOT_FOUND: CardFault.LOST,
    nvml.NVML_ERROR_RESET_REQUIRED: CardFault.LOST,
}
_ABSENT = {nvml.NVML_ERROR_NOT_SUPPORTED, nvml.NVML_ERROR_NO_DATA, nvml.NVML_ERROR_FUNCTION_NOT_FOUND}
"""A sensor that this card or this driver does not have."""
_THROTTLES = (
    (nvml.nvmlClocksThrottleReasonSwPowerCap, Throttle.POWER_CAP),
    (nvml.nvmlClocksThrottleReasonSwThermalSlowdown | nvml.nvmlClocksThrottleReasonHwThermalSlowdown, Throttle.HEAT),
    (nvml.nvmlClocksThrottleReasonHwSlowdown | nvml.nvmlClocksThrottleReasonHwPowerBrakeSlowdown, Throttle.HARDWARE),
)
CARD_DEADLINE_S = 2.0
AGAIN_S = 60.0
"""How often a card that cannot be used is looked for again: it may have been reset, or have got its MIG instances."""


class NvmlFault(ExecutorError):
    """NVML refused a call; `fault` says what that means."""

    def __init__(self, fault: CardFault, words: str) -> None:
        super().__init__(f"NVML: {words}", transient=True)
        self.fault = fault


class LibraryAbsent(ExecutorError):
    """There is no libnvidia-ml.so.1: a machine without a card."""


@dataclass(frozen=True, slots=True)
class _Handle:
    """A card by the library's pointers; `of_card` is that of the whole card where this is a MIG instance."""

    facts: CardFacts
    pointer: Any
    of_card: Any


class NvmlClient:
    """The cards of this machine. `read` and `cap_power` block and are called by one thread at a time."""

    def __init__(self, card_deadline_s: float = CARD_DEADLINE_S) -> None:
        self._card_deadline_s = card_deadline_s
        self._handles: tuple[_Handle, ...] = ()
        self._unusable: tuple[Card, ...] = ()
        self._cards: tuple[Card, ...] = ()
        self._versions = ("", "")
        self._is_open = False
        self._opened_s = 0.0
        self._count = 0
        self._busy: dict[str, threading.Thread] = {}
        self._known: tuple[CardFacts, ...] = ()
        """The cards that were there before the library failed."""

    def read(self) -> CardsReading:
        """Read all cards. Raises: LibraryAbsent. Whatever else is wrong stands in the reading."""
        try:
            if not self._is_open or _call(nvml.nvmlDeviceGetCount) != self._count or self._is_due():
                self._open()
        except NvmlFault as error:
            self.close()
            return CardsReading(with_fault(self._known, error.fault), *self._versions, error.fault, str(error))
        self._known = tuple(handle.facts for handle in self._handles) + tuple(card.facts for card in self._unusable)
        cards = (*self._unusable, *self._read_cards())
        self._cards = tuple(sorted(cards, key=lambda card: (card.facts.index, card.uuid)))
        return CardsReading(self._cards, *self._versions)

    def cap_power(self, uuid: str, watts: int) -> None:
        """Let a card draw no more, within what it allows. Raises: NvmlFault, also where this user may not."""
        for handle in self._handles:
            if handle.facts.uuid == uuid:
                low, high = _call(nvml.nvmlDeviceGetPowerManagementLimitConstraints, handle.of_card)
                limit_mw = min(max(watts * 1000, low), high)
                _call(nvml.nvmlDeviceSetPowerManagementLimit, handle.of_card, limit_mw)

    def close(self) -> None:
        """Let go of the library; the next reading takes hold of it again."""
        if self._is_open and not any(thread.is_alive() for thread in self._busy.values()):
            # It may have failed for good: then there is nothing to let go of.
            with contextlib.suppress(nvml.NVMLError):
                nvml.nvmlShutdown()
        self._is_open = False

    def _is_due(self) -> bool:
        """Whether to look for the cards again, because one of them could not be used."""
        is_hurt = any(card.fault not in (None, CardFault.HANGS) for card in self._cards)
        return is_hurt and time.monotonic() - self._opened_s > AGAIN_S

    def _open(self) -> None:
        """Find the cards. Raises: LibraryAbsent, NvmlFault."""
        self.close()
        try:
            nvml.nvmlInit()
        except nvml.NVMLError as error:
            if error.value == nvml.NVML_ERROR_LIBRARY_NOT_FOUND:
                raise LibraryAbsent("there is no libnvidia-ml.so.1") from error
            raise _fault_of(error) from error
        self._is_open, self._opened_s = True, time.monotonic()
        cuda = _call(nvml.nvmlSystemGetCudaDriverVersion_v2)
        self._versions = f"{cuda // 1000}.{cuda % 1000 // 10}", _text(_call(nvml.nvmlSystemGetDriverVersion))
        self._count = _call(nvml.nvmlDeviceGetCount)
        handles: list[_Handle] = []
        unusable: list[Card] = []
        for index in range(self._count):
            try:
                found = _find(index)
            except NvmlFault as error:
                facts = next(
                    (each for each in self._known if each.index == index), CardFacts(f"card-{index}", index, "")
                )
                unusable.append(Card(facts, fault=error.fault))
            else:
                handles += [each for each in found if isinstance(each, _Handle)]
                unusable += [each for each in found if isinstance(each, Card)]
        there = {uuid for each in handles for uuid in (each.facts.uuid, each.facts.parent_uuid)}
        there |= {card.uuid for card in unusable}
        # An instance of MIG that is gone was taken away by its owner; a card that is gone was not.
        gone = [facts for facts in self._known if facts.uuid not in there and not facts.parent_uuid]
        self._handles, self._unusable = tuple(handles), (*unusable, *with_fault(gone, CardFault.LOST))

    def _read_cards(self) -> tuple[Card, ...]:
        """All of them at once. A card that does not answer in time, or has not since an earlier reading, hangs."""
        found: dict[str, Card] = {}
        self._busy = {uuid: thread for uuid, thread in self._busy.items() if thread.is_alive()}
        started = []
        for handle in self._handles:
            if handle.facts.uuid not in self._busy:
                thread = threading.Thread(target=_read_into, args=(found, handle), daemon=True, name="nvml")
                self._busy[handle.facts.uuid] = thread
                thread.start()
                started.append(thread)
        deadline = time.monotonic() + self._card_deadline_s
        for thread in started:
            thread.join(max(0.0, deadline - time.monotonic()))
        seen = dict(found)
        return tuple(seen.get(handle.facts.uuid, Card(handle.facts, fault=CardFault.HANGS)) for handle in self._handles)


def _find(index: int) -> list[_Handle | Card]:
    """A card, or its MIG instances. Raises: NvmlFault."""
    pointer = _call(nvml.nvmlDeviceGetHandleByIndex, index)
    facts = _facts(pointer, index, _call(nvml.nvmlDeviceGetCudaComputeCapability, pointer), "")
    current, pending = _sensor(nvml.nvmlDeviceGetMigMode, pointer) or (0, 0)
    if not current and not pending:
        return [_Handle(facts, pointer, pointer)]
    instances = []
    for number in range(_sensor(nvml.nvmlDeviceGetMaxMigDeviceCount, pointer) or 0):
        try:
            instance = nvml.nvmlDeviceGetMigDeviceHandleByIndex(pointer, number)
        except nvml.NVMLError:
            # A place without an instance.
            continue
        known = _facts(instance, index, facts.compute_capability, facts.uuid)
        instances.append(_Handle(known, instance, pointer))
    # Until the card is reset, no process can use what it is about to become.
    return [*instances] if instances and current == pending else [Card(facts, fault=CardFault.MIG_HALF)]


def _facts(pointer: Any, index: int, capability: tuple[int, int], parent_uuid: str) -> CardFacts:
    uuid, model = (
        _text(_call(nvml.nvmlDeviceGetUUID, pointer)),
        _text(_call(nvml.nvmlDeviceGetName, pointer)),
    )
    return CardFacts(uuid, index, model, int(_memory(pointer).total), (capability[0], capability[1]), parent_uuid)


def _read_into(found: dict[str, Card], handle: _Handle) -> None:
    try:
        found[handle.facts.uuid] = _read(handle)
    except NvmlFault as error:
        found[handle.facts.uuid] = Card(handle.facts, fault=error.fault)


def _read(handle: _Handle) -> Card:
    """The values of one card now; a MIG instance has the heat and the power of its card. Raises: NvmlFault."""
    card, own = handle.of_card, handle.pointer
    memory = _memory(own)
    use = _sensor(nvml.nvmlDeviceGetUtilizationRates, own)
    return Card(
        replace(handle.facts, total_bytes=int(memory.total)),
        temperature_c=_sensor(nvml.nvmlDeviceGetTemperature, card, nvml.NVML_TEMPERATURE_GPU),
        used_bytes=int(memory.total) - int(memory.free),
        utilisation=None if use is None else int(use.gpu),
        power_mw=_sensor(nvml.nvmlDeviceGetPowerUsage, card),
        power_limit_mw=_sensor(nvml.nvmlDeviceGetEnforcedPowerLimit, card),
        throttles=_throttles(_sensor(nvml.nvmlDeviceGetCurrentClocksThrottleReasons, card) or 0),
        ecc_uncorrected=_sensor(
            nvml.nvmlDeviceGetTotalEccErrors, card, nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, nvml.NVML_VOLATILE_ECC
        ),
        processes=_processes(own),
    )


def _memory(pointer: Any) -> Any:
    return _call(nvml.nvmlDeviceGetMemoryInfo, pointer)


def _processes(pointer: Any) -> tuple[CardProcess, ...]:
    """Those that compute. A driver of before 510 has an older table of them."""
    for ask in (nvml.nvmlDeviceGetComputeRunningProcesses_v3, nvml.nvmlDeviceGetComputeRunningProcesses_v2):
        found = _sensor(ask, pointer)
        if found is not None:
            used = ((int(each.pid), each.usedGpuMemory) for each in found)
            return tuple(CardProcess(pid, None if size is None else int(size)) for pid, size in used)
    return ()


def _throttles(reasons: int) -> frozenset[Throttle]:
    return frozenset(throttle for bits, throttle in _THROTTLES if reasons & bits)


def _call(ask: Callable[..., T], *arguments: object) -> T:
    """Raises: NvmlFault."""
    try:
        return ask(*arguments)
    except nvml.NVMLError as error:
        raise _fault_of(error) from error


def _sensor(ask: Callable[..., T], *arguments: object) -> T | None:
    """A value that not every card has. Raises: NvmlFault if the card is at fault."""
    try:
        return ask(*arguments)
    except nvml.NVMLError as error:
        if error.value in _ABSENT:
            return None
        raise _fault_of(error) from error


def _fault_of(error: Any) -> NvmlFault:
    return NvmlFault(_FAULTS.get(error.value, CardFault.UNREADABLE), str(error))


def _text(value: str | bytes) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def read_once() -> CardsReading:
    """The cards of this machine for a command that ends: a machine without the library has none."""
    client = NvmlClient()
    try:
        return client.read()
    except LibraryAbsent:
        return NO_CARDS
    finally:
        client.close()
