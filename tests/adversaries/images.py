"""Builds a dishonest node's image on top of the honest runner's; every command of a machine shares the result."""

import hashlib
import subprocess
from pathlib import Path

HERE = Path(__file__).parent


def build(name: str, runner: str, host: str, **arguments: str) -> str:
    """The tag of the image of tests/adversaries/<name>; made at the first call for these sources and arguments."""
    folder = HERE / name
    given = {"RUNNER": runner, **arguments}
    key = hashlib.sha256(repr(sorted(given.items())).encode())
    for path in sorted(p for p in folder.iterdir() if p.is_file()):
        key.update(path.read_bytes())
    tag = f"vcoin-adversary-{name.replace('_', '-')}:{key.hexdigest()[:12]}"
    command = ["docker", "--host", host, "build", "-q", "--pull=false", "-t", tag]
    command += [word for name, value in given.items() for word in ("--build-arg", f"{name}={value}")]
    subprocess.run([*command, str(folder)], check=True, capture_output=True)
    return tag
