"""Processes found again by number and start, and ended; never one that only has the same number."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from node.localnet.processes import Process, start, start_of, stop
from node.localnet.record import LocalnetRecord, LocalNode, read_record
from protocol.errors import ConfigError

WAITS = "import sys, signal; print('up', flush=True); signal.pause()"
DEAF = (
    "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True)\nwhile True: signal.pause()"
)


def begin(tmp_path: Path, code: str) -> Process:
    """A child that has said that it is up."""
    log = tmp_path / "out.log"
    process = start("child", [sys.executable, "-c", code], log)
    while not log.read_text():
        os.sched_yield()
    return process


def test_process_is_found_again_and_stopped(tmp_path: Path) -> None:
    process = begin(tmp_path, WAITS)
    assert process.is_alive
    assert process.tail() == "up"
    assert os.getsid(process.pid) == process.pid, "a Ctrl-C at this terminal is not for it"
    assert stop([process], within_s=10) == []
    assert not process.is_alive


def test_process_that_does_not_listen_is_killed(tmp_path: Path) -> None:
    process = begin(tmp_path, DEAF)
    assert stop([process], within_s=0) == ["child"]
    assert not process.is_alive


def test_other_process_with_the_same_number_is_left_alone(tmp_path: Path) -> None:
    process = begin(tmp_path, WAITS)
    other = replace(process, started="1")
    assert not other.is_alive
    assert stop([other], within_s=0) == []
    assert process.is_alive
    stop([process], within_s=10)


def test_number_of_nobody_is_not_alive() -> None:
    assert start_of(2**22 + 1) == ""
    assert not Process("x", 2**22 + 1, "", "").is_alive
    assert start_of(os.getpid())


def test_program_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot start"):
        start("child", [str(tmp_path / "none")], tmp_path / "log")


def record(directory: Path) -> LocalnetRecord:
    process = Process("anvil", 5, "77", "log")
    member = LocalNode(
        "a", ("provider",), "d", "s", "0x1", "p", "0x2", "0x3", "k", "c", "w", "o", "q", "/ip4", 10**24, 5, process
    )
    contracts = {"token": "0x4"}
    return LocalnetRecord(
        str(directory), "http://x", 31_337, "local", "dep", contracts, "0x5", "dk", "st", process, (member,), True
    )


def test_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    written = record(tmp_path)
    written.write()
    assert read_record(tmp_path) == written
    assert [process.name for process in written.processes] == ["anvil", "anvil"]
    assert written.node("a").node_id == "0x1"
    with pytest.raises(ConfigError, match="no node 'b'"):
        written.node("b")


def test_no_record_is_no_network_and_a_broken_one_is_an_error(tmp_path: Path) -> None:
    assert read_record(tmp_path) is None
    for text in ("{", '{"v": 2}', '{"v": 1, "nodes": []}', "[]"):
        (tmp_path / "localnet.json").write_text(text)
        with pytest.raises(ConfigError, match="cannot be used"):
            read_record(tmp_path)
