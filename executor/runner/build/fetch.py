"""Fetch the sources of llama.cpp while the image is built: `fetch.py URL SHA256 FOLDER`."""

import hashlib
import io
import sys
import tarfile
import urllib.request
from pathlib import Path

INSIDE = "/vendor/llama.cpp/"
"""Where the sources lie in the archive of the Python bindings."""
TIMEOUT_S = 120


def main(url: str, sha256: str, folder: str) -> None:
    """Unpack what the archive has below `INSIDE`. Raises: SystemExit if it is not the archive that was named."""
    with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:  # noqa: S310 - the Dockerfile names it, with its hash
        data = answer.read()
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise SystemExit(f"{url} has the hash {found}, and {sha256} is wanted")
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        for member in archive:
            _, inside, name = member.name.partition(INSIDE)
            if inside and name:
                member.name = name
                archive.extract(member, Path(folder), filter="data")


if __name__ == "__main__":
    main(*sys.argv[1:])
