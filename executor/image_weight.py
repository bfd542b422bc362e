"""What an image takes, told before it is built: bytes to fetch, bytes on the disk, and seconds."""

import re
from dataclasses import dataclass
from pathlib import Path

_LINE = re.compile(
    r"^(?P<name>[\w.-]+)==(?P<version>\S+)(?P<hashes>(?: --hash=sha256:[0-9a-f]{64})+)  # (?P<size>\d+) bytes$"
)


@dataclass(frozen=True, slots=True)
class PinnedWheel:
    """One line of a lock: a wheel by version and hash, with the bytes that fetching it takes."""

    name: str
    version: str
    hashes: tuple[str, ...]
    size_bytes: int


@dataclass(frozen=True, slots=True)
class ImageWeight:
    """fetch_bytes: from registries. disk_bytes: of the image, and of what its build leaves in the cache.

    build_s: on two cores with a near mirror; a slower mirror adds its own time.
    """

    fetch_bytes: int
    disk_bytes: int
    build_s: int

    def sentence(self, name: str) -> str:
        """For a person, before the build begins."""
        fetch, disk = (f"{count / 1e9:.1f} GB" for count in (self.fetch_bytes, self.disk_bytes))
        return f"{name}: fetches {fetch}, takes {disk} of disk and about {-(-self.build_s // 60)} minutes on two cores"


def wheels(lock: Path) -> tuple[PinnedWheel, ...]:
    """The wheels of a lock. Raises: ValueError for a line without hash or size."""
    found = []
    for number, line in enumerate(lock.read_text().splitlines(), 1):
        if line.startswith("#") or not line:
            continue
        match = _LINE.match(line)
        if match is None:
            raise ValueError(f"{lock.name}:{number} has no hash or no size: ./scripts/image lock writes it")
        hashes = tuple(sorted(re.findall(r"sha256:([0-9a-f]{64})", match["hashes"])))
        found.append(PinnedWheel(match["name"], match["version"], hashes, int(match["size"])))
    return tuple(found)


def fetch_bytes(*locks: Path) -> int:
    """The bytes of all wheels of these locks."""
    return sum(wheel.size_bytes for lock in locks for wheel in wheels(lock))
