"""The system packages: probed by what they bring, so that any distribution will do; apt installs them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts.setup.failure import Missing
from scripts.setup.step import SetupStep, Workbench

NODE_MAJOR = 20


@dataclass(frozen=True)
class Requirement:
    """Something the machine must have, how to see that it has it, and the Debian packages that bring it."""

    what: str
    probe: Callable[[], bool]
    debian: tuple[str, ...]


def _has(*programs: str) -> Callable[[], bool]:
    # The PATH of root, whatever the caller's says: /usr/sbin is missing from many.
    path = os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin"
    return lambda: all(shutil.which(program, path=path) for program in programs)


def _has_header(name: str) -> Callable[[], bool]:
    def probe() -> bool:
        multiarch = sysconfig.get_config_var("MULTIARCH") or ""
        folders = [Path("/usr/include"), Path("/usr/include") / multiarch, Path("/usr/local/include")]
        return any((folder / name).is_file() for folder in folders)

    return probe


def _has_python_headers() -> bool:
    return (Path(sysconfig.get_path("include")) / "Python.h").is_file()


def _has_venv() -> bool:
    # Debian splits ensurepip's wheels from the module, so only asking for them tells.
    code = "import ensurepip, venv; ensurepip.version()"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


def _has_certificates() -> bool:
    named = os.environ.get("SSL_CERT_FILE")
    return any(
        Path(path).is_file() for path in (named or "", "/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/cert.pem")
    )


def _has_buildx() -> bool:
    return subprocess.run(["docker", "buildx", "version"], capture_output=True, check=False).returncode == 0


def _has_compose() -> bool:
    return subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode == 0


def node_major() -> int:
    """The major version of `node` on the PATH, 0 where there is none."""
    try:
        answer = subprocess.run(["node", "--version"], capture_output=True, text=True, check=False).stdout
        return int(answer.strip().lstrip("v").split(".")[0])
    except (OSError, ValueError):
        return 0


CERTIFICATES = Requirement("CA certificates", _has_certificates, ("ca-certificates",))
PYTHON = (
    CERTIFICATES,
    Requirement("Python's venv and pip", _has_venv, ("python3-venv",)),
    Requirement("Python's headers", _has_python_headers, ("python3-dev",)),
    Requirement("a C compiler", _has("cc", "make"), ("build-essential",)),
    Requirement("the GMP headers", _has_header("gmp.h"), ("libgmp-dev",)),
)
NODE = (
    CERTIFICATES,
    Requirement(f"Node.js {NODE_MAJOR} or newer", lambda: node_major() >= NODE_MAJOR, ("nodejs",)),
    Requirement("npm", _has("npm"), ("npm",)),
)
ENGINE = (Requirement("the Docker Engine", _has("dockerd", "containerd", "iptables"), ("docker.io", "iptables")),)
IMAGE = (
    Requirement("the docker command", _has("docker"), ("docker-cli",)),
    Requirement("docker buildx", lambda: _has("docker")() and _has_buildx(), ("docker-buildx",)),
    Requirement("docker compose", lambda: _has("docker")() and _has_compose(), ("docker-compose",)),
    Requirement("mmdebstrap", _has("mmdebstrap"), ("mmdebstrap",)),
    Requirement("mkfs.ext4", _has("mkfs.ext4"), ("e2fsprogs",)),
)


def missing(requirements: Sequence[Requirement]) -> list[Requirement]:
    return [requirement for requirement in dict.fromkeys(requirements) if not requirement.probe()]


def install(bench: Workbench, requirements: Sequence[Requirement]) -> None:
    """Raises: Missing where a person has to install them, or where installing did not bring them."""
    lacking = missing(requirements)
    words = ", ".join(requirement.what for requirement in lacking)
    names = [name for requirement in lacking for name in requirement.debian]
    if not shutil.which("apt-get"):
        raise Missing(
            f"this machine lacks {words}, and has no apt-get to install it with",
            f"install what Debian calls {' '.join(names)} with this system's own package manager",
        )
    if os.geteuid() != 0:
        raise Missing(
            f"this machine lacks {words}, and installing needs root", f"sudo apt-get install {' '.join(names)}"
        )
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    bench.run("apt-get", "update", "-q", env=quiet)
    bench.run("apt-get", "install", "-q", "-y", "--no-install-recommends", *names, env=quiet)
    if still := missing(lacking):
        words = ", ".join(requirement.what for requirement in still)
        raise Missing(
            f"apt installed its packages, and {sys.executable} still lacks {words}",
            "use the distribution's own python3 (put /usr/bin first in PATH), or install it for this one",
        )


def step(requirements: Sequence[Requirement]) -> SetupStep:
    """All packages in one go, first, since everything else stands on them."""
    return SetupStep(
        name="packages",
        ready=lambda bench: not missing(requirements),
        make=lambda bench: install(bench, requirements),
    )
