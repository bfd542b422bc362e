"""The runner image: named by what it is made from, built once a machine, never pulled.

Two builds of the same sources differ in their image id, which covers times. So nodes compare the content key, and a
calibration is valid for one: the hash of Dockerfile, lock and sources.
"""

import hashlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import docker
from docker.errors import ImageNotFound

from executor.containers.engine import DEFAULT_HOST
from executor.containers.faults import engine_errors
from executor.image_weight import ImageWeight
from protocol.errors import ExecutorError, ImageMissing

RUNNER = Path(__file__).with_name("runner")
BASE = "vcoin-base:trixie"
INFERENCE = "vcoin/inference"
SUITE = "trixie"
# A fixed time: two runs with the same mirror give the same bytes.
EPOCH = "1735689600"
BUILD_TIMEOUT_S = 1800


def runtime(folder: Path = RUNNER) -> str:
    """The content key of the runner, 64 hex digits: the `runtime` of a calibration."""
    total = hashlib.sha256()
    for path in _sources(folder):
        data = path.read_bytes()
        total.update(f"{path.relative_to(folder)}\0{len(data)}\0".encode())
        total.update(data)
    return total.hexdigest()


def tag(folder: Path = RUNNER) -> str:
    """The name of the image on every machine."""
    return f"vcoin-runner:{runtime(folder)[:12]}"


def inference_tag() -> str:
    """The specification's name of the same image, for those who start it without a node."""
    return f"{INFERENCE}:{runtime()[:12]}"


def weight() -> ImageWeight:
    """What a build of base and runner image takes, before it begins."""
    return ImageWeight(fetch_bytes=450_000_000, disk_bytes=1_900_000_000, build_s=230)


def find(host: str = DEFAULT_HOST) -> str:
    """The tag of the runner image. Raises: ImageMissing if it is not built; ExecutorError if no Engine answers."""
    name = tag()
    if not exists(name, host):
        raise ImageMissing(f"the image {name} is not on this machine: ./scripts/prepare builds it")
    return name


def build(host: str = DEFAULT_HOST, log: IO[bytes] | int = subprocess.DEVNULL) -> str:
    """Build base and runner image if they are missing. Returns: the tag of the runner image.

    Needs the `docker` command with buildx and, for the base, mmdebstrap. `log` takes their output.
    Raises: ExecutorError, transient if a mirror or a registry may be at fault.
    """
    name = tag()
    if exists(name, host):
        if not exists(inference_tag(), host):
            run_docker(["docker", "tag", name, inference_tag()], host, log)
        return name
    if not exists(BASE, host):
        _import_base(host, log)
    command = ["docker", "build", "--pull=false", "--build-arg", f"BASE={BASE}", "--tag", name]
    command += ["--tag", inference_tag()]
    command += ["--build-arg", f"VCOIN_RUNTIME={runtime()}", *certificates(), str(RUNNER)]
    run_docker(command, host, log)
    return name


def _sources(folder: Path) -> Iterator[Path]:
    yield folder / "Dockerfile"
    yield folder / "requirements.lock"
    yield from sorted((*folder.rglob("*.py"), *folder.rglob("*.c")))


def exists(name: str, host: str) -> bool:
    """Whether an image of this name is on this machine. Raises: ExecutorError if no Engine answers."""
    with engine_errors():
        api: Any = docker.APIClient(base_url=host, version="auto")
        try:
            api.inspect_image(name)
        except ImageNotFound:
            return False
        finally:
            api.close()
        return True


def _import_base(host: str, log: IO[bytes] | int) -> None:
    """Import a minimal Debian with Python from the mirror, without a registry."""
    make = ["mmdebstrap", "--variant=minbase", "--include=python3,ca-certificates", SUITE, "-"]
    # The build needs ldconfig and useradd, which are in sbin.
    load = ["docker", "import", "-c", "ENV PATH=/usr/sbin:/usr/bin:/sbin:/bin", "-", BASE]
    environment = {**os.environ, "SOURCE_DATE_EPOCH": EPOCH}
    try:
        with subprocess.Popen(make, stdout=subprocess.PIPE, stderr=log, env=environment) as debian:
            run_docker(load, host, log, source=debian.stdout)
    except OSError as error:
        raise ExecutorError(f"cannot start mmdebstrap: {error.strerror}") from error
    if debian.returncode != 0:
        run_docker(["docker", "image", "rm", "--force", BASE], host, log)
        raise ExecutorError(f"mmdebstrap failed with {debian.returncode}", transient=True)


def certificates() -> list[str]:
    """Give the build the certificates that this machine trusts, such as a proxy's."""
    path = Path(os.environ.get("PIP_CERT") or "/etc/ssl/certs/ca-certificates.crt")
    return ["--secret", f"id=ca,src={path}"] if path.is_file() else []


def run_docker(
    command: list[str],
    host: str,
    log: IO[bytes] | int,
    source: IO[bytes] | None = None,
    timeout_s: int = BUILD_TIMEOUT_S,
) -> None:
    """Run the `docker` command against an Engine. Raises: ExecutorError, transient if it ended badly."""
    environment = {**os.environ, "DOCKER_HOST": host, "DOCKER_BUILDKIT": "1"}
    try:
        subprocess.run(
            command,
            check=True,
            timeout=timeout_s,
            env=environment,
            stdin=source or subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    except subprocess.CalledProcessError as error:
        raise ExecutorError(f"`{' '.join(command[:2])}` failed with {error.returncode}", transient=True) from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ExecutorError(f"`{' '.join(command[:2])}` did not run: {error}") from error
