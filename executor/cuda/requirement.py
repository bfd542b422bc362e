"""What a CUDA release asks of driver, toolkit and card. Pure: the values of the machine are arguments.

Source: NVIDIA, CUDA Toolkit release notes, minimum driver for minor version compatibility; CUDA C++ programming guide,
compute capabilities.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Version = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class CudaRelease:
    """A release of CUDA that wheels or a compiler are made for.

    driver: the oldest that runs its programs. oldest, newest: compute capabilities that it makes programs for.
    """

    version: Version
    driver: str
    oldest: Version
    newest: Version


RELEASES = (
    CudaRelease((11, 8), "450.80.02", (3, 5), (9, 0)),
    CudaRelease((12, 0), "525.60.13", (5, 0), (9, 0)),
    CudaRelease((12, 8), "525.60.13", (5, 0), (12, 0)),
    CudaRelease((13, 0), "580.65.06", (7, 5), (12, 1)),
)
"""By version; a later minor version asks what the entry before it asks."""
BFLOAT16_FROM = (8, 0)


def release_of(version: str) -> CudaRelease:
    """The entry that a version falls under. Raises: ValueError for one that the table does not have."""
    wanted = parts_of(version)
    known = [each for each in RELEASES if each.version <= wanted and each.version[0] == wanted[0]]
    if not known:
        named = ", ".join(_text(each.version) for each in RELEASES)
        raise ValueError(f"CUDA {version} is in none of the releases that are known: {named}")
    return known[-1]


def card_faults(release: CudaRelease, driver: str, capabilities: Mapping[str, str]) -> tuple[str, ...]:
    """Why programs of a release do not run on a machine, a sentence each; none if they do.

    Args: driver, its version as NVML says it, empty for no driver. capabilities, of each card by its UUID: "8.6".
    """
    name = _text(release.version[:1])
    if not driver:
        return (f"this machine has no NVIDIA driver: install {release.driver} or newer for CUDA {name}",)
    faults = []
    if parts_of(driver) < parts_of(release.driver):
        faults.append(f"driver {driver} is too old for CUDA {name}: install {release.driver} or newer")
    if not capabilities:
        faults.append("the NVIDIA driver shows no card: nvidia-smi -L lists those that it sees")
    for card, text in sorted(capabilities.items()):
        if parts_of(text) < release.oldest:
            faults.append(
                f"card {card} has compute capability {text}, and CUDA {name} begins with {_text(release.oldest)}:"
                " leave this card out, or use the image of an earlier CUDA"
            )
        elif parts_of(text)[0] > release.newest[0]:
            faults.append(
                f"card {card} has compute capability {text}, and CUDA {_text(release.version)} ends with"
                f" {_text(release.newest)}: use the image of a later CUDA"
            )
    return tuple(faults)


def format_faults(dtype: str, capabilities: Mapping[str, str]) -> tuple[str, ...]:
    """Why cards do not compute in a number format, a sentence each."""
    if dtype != "bf16":
        return ()
    return tuple(
        f"card {card} has compute capability {text}, and bfloat16 needs {_text(BFLOAT16_FROM)}: serve in float16"
        for card, text in sorted(capabilities.items())
        if parts_of(text) < BFLOAT16_FROM
    )


def toolkit_faults(release: CudaRelease, compiler: str, architectures: Sequence[str]) -> tuple[str, ...]:
    """Why a compiler does not make kernels for the runtime of a release, a sentence each.

    Args: compiler, the version of nvcc, empty for none. architectures, as CMake names them: "86-real".
    """
    name = _text(release.version[:1])
    if not compiler:
        return (f"there is no nvcc: build with toolkit.lock, or with TOOLKIT_BASE=nvidia/cuda of CUDA {name}",)
    faults = []
    if parts_of(compiler)[0] != release.version[0]:
        faults.append(f"nvcc {compiler} does not fit the runtime of CUDA {name}: use nvcc {name}")
    own = release_of(compiler)
    for text in architectures:
        number = int(re.sub(r"\D.*", "", text) or 0)
        capability = divmod(number, 10)
        if not own.oldest <= capability <= (own.newest[0], 9):
            ends = f"{_text(own.oldest)} to {_text(own.newest)}"
            faults.append(f"nvcc {compiler} makes no kernels for {text}: it makes them for {ends}")
    return tuple(faults)


def parts_of(text: str) -> Version:
    """A version as numbers. Raises: ValueError if it does not begin with one."""
    found = re.match(r"\d{1,6}(?:\.\d{1,6}){0,3}", text)
    if found is None:
        raise ValueError(f"{text!r} is no version: expected numbers with dots")
    return tuple(int(part) for part in found[0].split("."))


def _text(version: Version) -> str:
    return ".".join(map(str, version))
