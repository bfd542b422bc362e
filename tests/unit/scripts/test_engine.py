"""Which Docker Engine set-up finds, and which it believes to be its own."""

from __future__ import annotations

import http.server
import json
import os
import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from node.localnet.processes import start_of
from scripts.setup import engine
from scripts.setup.failure import Missing


class _Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/_ping" else 404)
        self.end_headers()
        self.wfile.write(b"OK")

    def address_string(self) -> str:
        return "unix"

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing: a test's output is its failures."""


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[Path]:
    """A socket where something answers like an engine."""
    path = tmp_path / "docker.sock"
    with socketserver.UnixStreamServer(str(path), _Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield path
        server.shutdown()
        thread.join()


def test_engine_answers_on_a_unix_socket(listening: Path) -> None:
    assert engine.answers(f"unix://{listening}")
    assert engine.ask(f"unix://{listening}", "/nothing") is None


def test_socket_without_an_engine_does_not_answer(tmp_path: Path) -> None:
    assert not engine.answers(f"unix://{tmp_path}/docker.sock")
    assert not engine.answers("tcp://127.0.0.1:1")


def test_named_engine_that_is_silent_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/docker.sock")
    with pytest.raises(Missing, match="no Docker Engine answers at DOCKER_HOST") as raised:
        engine.find()
    assert "unset DOCKER_HOST" in raised.value.fix


def test_named_engine_is_used(listening: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{listening}")
    assert engine.find() == f"unix://{listening}"


def test_our_own_engine_may_be_named_while_it_is_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "SOCKET", tmp_path / "docker.sock")
    monkeypatch.setenv("DOCKER_HOST", f"unix://{engine.SOCKET}")
    assert engine.find() is None


def test_our_engine_is_found_when_the_system_has_none(listening: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setattr(engine, "SYSTEM_SOCKET", listening.with_name("absent.sock"))
    monkeypatch.setattr(engine, "SOCKET", listening)
    assert engine.find() == f"unix://{listening}"


def test_record_of_a_process_that_is_gone_is_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "RECORD", tmp_path / "engine.json")
    assert engine._recorded() == {}
    start = start_of(os.getpid())
    engine.RECORD.write_text(json.dumps({"pid": os.getpid(), "start": start}))
    assert engine._recorded()["pid"] == os.getpid()
    # The number lives on in another process, which must not be stopped.
    engine.RECORD.write_text(json.dumps({"pid": os.getpid(), "start": "1"}))
    assert engine._recorded() == {}
