"""The last word of a daemon that had to stop, and what systemd is told."""

import gc
import socket
from pathlib import Path

import pytest
import trio

from node.daemon.process import keep_what_stays, last_word, notify
from protocol.errors import ChainError, ConfigError, LocalProtocolError


def group(*errors: Exception) -> BaseExceptionGroup[BaseException]:
    return ExceptionGroup("nursery", [ExceptionGroup("inner", list(errors))])


def test_reason_is_found_inside_of_the_groups() -> None:
    reason = ConfigError("another daemon uses it")
    assert last_word(group(reason)) is reason
    assert last_word(group(trio.ClosedResourceError(), reason, ChainError("gone"))) is reason
    assert isinstance(last_word(group(LocalProtocolError("signed twice"))), LocalProtocolError)


def test_bug_is_shown_with_all_that_is_known_of_it() -> None:
    assert last_word(group(AssertionError("impossible"))) is None
    assert last_word(group(KeyError("x"), ConfigError("because of it"))) is None


def test_systemd_is_told_where_it_listens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notify("READY=1")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        notify("READY=1")
        assert systemd.recv(100) == b"READY=1"
    # A manager that is gone does not stop the node.
    notify("STOPPING=1")


def test_what_a_ready_node_has_loaded_is_looked_through_no_more() -> None:
    try:
        keep_what_stays()
        frozen = gc.get_freeze_count()
        assert frozen > 10_000
        assert len(gc.get_objects()) < frozen
    finally:
        gc.unfreeze()
