"""The `vcoin` command against a real socket, over a daemon in memory."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trio

from node.api.server import serve
from node.cli import main
from tests.fakes.backend import FakeBackend


@dataclass(frozen=True)
class Ran:
    """How a command ended and what it said."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass
class Shell:
    """Runs commands for one user."""

    data_dir: Path
    capsys: pytest.CaptureFixture[str]
    backend: FakeBackend = field(default_factory=FakeBackend)

    def run(self, *arguments: str) -> Ran:
        """One command, in this thread."""
        self.capsys.readouterr()
        code = main(arguments)
        return Ran(code, *self.capsys.readouterr())

    async def __call__(self, *arguments: str) -> Ran:
        """One command, while the daemon goes on."""
        return await trio.to_thread.run_sync(self.run, *arguments)


@pytest.fixture
def shell(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Shell:
    """A user with an empty home and no daemon."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("VCOIN_CONFIG", "VCOIN_NODE_DATA_DIR", "VCOIN_API_SOCKET", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("VCOIN_NODE_DATA_DIR", str(tmp_path))
    # No command has loaded pydantic when its words are read, and then cyclopts does without it. Other tests have.
    loaded = {name: module for name, module in sys.modules.items() if name != "pydantic"}
    monkeypatch.setattr("cyclopts.argument._argument.sys", SimpleNamespace(modules=loaded))
    return Shell(tmp_path, capsys)


@pytest.fixture
async def vcoin(shell: Shell) -> AsyncIterator[Shell]:
    """A user whose daemon runs."""
    async with trio.open_nursery() as nursery:
        await nursery.start(serve, shell.backend, shell.data_dir / "vcoin.sock")
        yield shell
        nursery.cancel_scope.cancel()


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Lets a person sit at the terminal, who types these lines."""

    def sit_down(*lines: str) -> None:
        import io

        class Terminal(io.StringIO):
            def isatty(self) -> bool:
                return True

        monkeypatch.setattr("sys.stdin", Terminal("".join(f"{line}\n" for line in lines)))

    return sit_down
