"""The image for graphics cards: its name, its weight, and its build on top of the runner image."""

import hashlib
import subprocess
from pathlib import Path
from typing import IO

from executor import images
from executor.containers.engine import DEFAULT_HOST
from executor.image_weight import ImageWeight, fetch_bytes
from protocol.errors import ImageMissing

FOLDER = Path(__file__).parent
LOCK, TOOLKIT_LOCK = FOLDER / "requirements.lock", FOLDER / "toolkit.lock"
CUDA = "13.2"
"""The release that the wheels of the lock are made for."""
NAME = "vcoin-runner-cuda"
DEBIAN_BYTES = 60_000_000
"""Fetched from Debian's mirror beside the wheels: pip and a C compiler."""
UNPACKED_PERCENT = 190
"""Of a wheel's bytes, on the disk; measured over this lock: 5.8 GB of 3.05 GB."""
BASE_BYTES = 250_000_000
BUILD_TIMEOUT_S = 6 * 3600
INSTALL_S = 90
"""Measured."""
COMPILE_S = 5_400
"""Of llama.cpp's kernels for seven architectures: an estimate, which no machine has measured."""


def runtime(*, llama: bool = False) -> str:
    """The content key of the image, 64 hex digits. Args: llama, with llama.cpp's kernels for cards."""
    total = hashlib.sha256(f"{images.runtime()}\0{llama}\0".encode())
    for path in (FOLDER / "Dockerfile", LOCK, TOOLKIT_LOCK):
        data = path.read_bytes()
        total.update(f"{path.name}\0{len(data)}\0".encode())
        total.update(data)
    return total.hexdigest()


def tag(*, llama: bool = False) -> str:
    """The name of the image on every machine."""
    return f"{NAME}:{runtime(llama=llama)[:12]}"


def weight(*, llama: bool = False) -> ImageWeight:
    """What a build takes, before it begins. The bytes to fetch are those of the locks."""
    fetched = fetch_bytes(LOCK)
    compiler = fetch_bytes(TOOLKIT_LOCK) if llama else 0
    disk = (fetched + compiler) * UNPACKED_PERCENT // 100 + BASE_BYTES
    return ImageWeight(fetched + compiler + DEBIAN_BYTES, disk, INSTALL_S + (COMPILE_S if llama else 0))


def build(
    host: str = DEFAULT_HOST,
    *,
    base: str = images.BASE,
    toolkit_base: str = "",
    llama: bool = False,
    log: IO[bytes] | int = subprocess.DEVNULL,
) -> str:
    """Build the image on top of the runner image. Returns: its tag.

    Args: base, an image with Python 3.13 that this machine has or a registry gives. toolkit_base, one in which
    llama.cpp is compiled, such as nvidia/cuda; empty: `base` with the compiler of toolkit.lock.
    Raises: ImageMissing if the runner image is not there; ExecutorError.
    """
    runner, name = images.find(host), tag(llama=llama)
    arguments = {
        "BASE": base,
        "TOOLKIT_BASE": toolkit_base or base,
        "RUNNER": runner,
        "LLAMA": "llama-cuda" if llama else "llama-none",
        "VCOIN_RUNTIME": runtime(llama=llama),
        **llama_source(),
    }
    command = ["docker", "build", "--tag", name, "--build-context", f"sources={images.RUNNER}"]
    command += [word for key, value in arguments.items() for word in ("--build-arg", f"{key}={value}")]
    images.run_docker([*command, *images.certificates(), str(FOLDER)], host, log, timeout_s=BUILD_TIMEOUT_S)
    return name


def llama_source() -> dict[str, str]:
    """Address and hash of llama.cpp's sources, as the runner's Dockerfile names them: one release for both."""
    lines = (images.RUNNER / "Dockerfile").read_text().splitlines()
    found = dict(line.removeprefix("ARG ").split("=", 1) for line in lines if line.startswith("ARG LLAMA_"))
    if found.keys() != {"LLAMA_URL", "LLAMA_SHA256"}:
        raise ImageMissing("the runner's Dockerfile names no sources of llama.cpp")
    return {key: value.strip('"') for key, value in found.items()}
