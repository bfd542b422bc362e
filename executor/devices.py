"""Devices of this machine as a heartbeat tells them: cards, processor, memory, and the device classes that they have.

A device class is a promise about rounding, not about speed: its members agree within the calibrated noise of the class.
Version 1 has three, all on the processor: 1 computes in float32, 2 in bfloat16 by hardware, 3 runs GGUF files of type
Q8_0 as they are. A machine lists the faster one of the first two first: each token of an answer reads all weights, and
in bfloat16 they are half as many bytes. The third runs no model that these run.
"""

from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from executor.cards.card import Card
from executor.cards.card_desk import CardsReport
from protocol.errors import ExecutorError
from protocol.stages.execution import runs_dtype
from protocol.stages.heartbeat import DeviceStatus, GpuGroup

CPU_FP32, CPU_BF16, CPU_Q8_0 = 1, 2, 3
CPUINFO, MEMINFO = Path("/proc/cpuinfo"), Path("/proc/meminfo")
BF16_FLAGS = {"avx512_bf16", "amx_bf16"}
MAX_GROUPS = 4
MAX_U8 = 255


def cpu_classes(cpuinfo: str) -> tuple[int, ...]:
    """Device classes of a processor, the fastest first, from the text of /proc/cpuinfo. Every one has float32."""
    for line in cpuinfo.splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "flags":
            fastest = (CPU_BF16,) if BF16_FLAGS & set(value.split()) else ()
            return (*fastest, CPU_FP32, CPU_Q8_0)
    # llama.cpp is built for x86-64, whose kernel says "flags".
    return (CPU_FP32,)


def class_ids() -> tuple[int, ...]:
    """Device classes of this machine, the fastest first."""
    return cpu_classes(CPUINFO.read_text())


def class_ids_for(dtype: str) -> tuple[int, ...]:
    """Those that run models whose weights are stored in this format."""
    return tuple(class_id for class_id in class_ids() if runs_dtype(class_id, dtype))


def memory_of(meminfo: str, name: str) -> int:
    """MemTotal or MemAvailable in bytes, from the text of /proc/meminfo."""
    for line in meminfo.splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise ExecutorError(f"/proc/meminfo names no {name}")


def available_memory() -> int:
    """Bytes that programs can still take on this machine without swapping."""
    return memory_of(MEMINFO.read_text(), "MemAvailable")


def group(report: CardsReport) -> tuple[GpuGroup, ...]:
    """Cards as a heartbeat names them: one group a model, with the worst value of each measurement.

    A card that cannot be used is none.
    """
    models: dict[str, list[Card]] = defaultdict(list)
    for each in report.cards:
        if each.card.fault is None:
            models[each.card.facts.model[:64]].append(each.card)
    groups = [
        GpuGroup(
            model=model,
            count=min(MAX_U8, len(same)),
            temperature_c=max(min(MAX_U8, card.temperature_c or 0) for card in same),
            free_bytes=min(card.free_bytes for card in same),
            total_bytes=min(card.facts.total_bytes for card in same),
            utilisation=sum(card.utilisation or 0 for card in same) // len(same),
            cuda=report.cuda[:16],
            driver=report.driver[:24],
        )
        for model, same in sorted(models.items())
    ]
    return tuple(groups[:MAX_GROUPS])


def measure(
    slots: int,
    ms_per_token: Callable[[int], int],
    cards: CardsReport,
    read: Callable[[str], str] = lambda path: Path(path).read_text(),
) -> DeviceStatus:
    """The devices of this machine now. Raises: ExecutorError.

    Args: ms_per_token, of an answer of a class by itself.
    """
    classes = cpu_classes(read(str(CPUINFO)))
    return DeviceStatus(
        class_ids=classes,
        gpus=group(cards),
        memory_bytes=memory_of(read(str(MEMINFO)), "MemTotal"),
        slots=slots,
        ms_per_token=tuple(ms_per_token(class_id) for class_id in classes),
        held=cards.is_held,
    )
