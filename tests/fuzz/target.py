"""A decoder under attack: what it reads, with what it may refuse, and the valid inputs to begin from."""

from __future__ import annotations

import os
import tempfile
import traceback
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.fuzz.mutation import Shape

OURS = ("protocol", "node", "p2p", "chain", "executor")


@dataclass(frozen=True)
class Target:
    """One decoder.

    `feed` reads one input; it may raise `refusals` and nothing else. `seeds` are inputs that it takes. `share` is how
    many of the runs it gets beside the others: less where one takes milliseconds.
    """

    name: str
    shape: Shape
    feed: Callable[[bytes], object]
    seeds: Callable[[], list[bytes]]
    refusals: tuple[type[Exception], ...] = ()
    share: float = 1.0


@dataclass(frozen=True)
class Finding:
    """A wrong error of a decoder: the kind, the line of ours that it came from, the input."""

    target: str
    kind: str
    where: str
    data: bytes

    @property
    def key(self) -> tuple[str, str, str]:
        """The same fault found twice has the same key."""
        return (self.target, self.kind, self.where)


def attempt(target: Target, data: bytes) -> Finding | None:
    """Feed one input; None if it was read or refused as it should be."""
    try:
        target.feed(data)
    except target.refusals:
        return None
    except Exception as error:
        return Finding(target.name, type(error).__name__, _where(error), data)
    return None


def at_once(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """The result of a coroutine that has nothing to wait for."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("it waits")


class Scratch:
    """Files for decoders that read files; `place` is set by the code that removes it again."""

    def __init__(self) -> None:
        self.place: Path | None = None

    def folder(self) -> Path:
        """The folder of the files."""
        assert self.place is not None, "no place was named for the files"
        return self.place

    def file(self, data: bytes, name: str = "file") -> Path:
        """A file with this content, readable by its owner alone."""
        path = self.folder() / name
        path.parent.mkdir(exist_ok=True)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(data)
        return path

    @contextmanager
    def somewhere(self) -> Iterator[None]:
        """A folder for as long as this lasts, in memory where the machine has a place for it."""
        memory = Path("/dev/shm")
        with tempfile.TemporaryDirectory(prefix="vcoin-fuzz-", dir=memory if memory.is_dir() else None) as made:
            self.place = Path(made)
            yield


SCRATCH = Scratch()


def _where(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if any(f"/{name}/" in frame.filename for name in OURS)]
    last = (ours or frames)[-1]
    folders = [name for name in OURS if f"/{name}/" in last.filename]
    name = folders[0] + "/" + last.filename.rpartition(f"/{folders[0]}/")[2] if folders else last.filename
    return f"{name}:{last.lineno}"
