"""How long a client waits for its first token from a node that it has never hired: `vcoin job run`, lane and all.

Whole nodes on a chain of this machine, the model loaded. A client asks a second time to show what an open lane saves.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from node.localnet.network import LocalnetPlan, up
from node.localnet.plan import NodePlan
from node.localnet.record import LocalnetRecord, LocalNode
from node.localnet.running import down
from scripts.setup import model
from tests.benchmarks.line import Line
from tests.support.endpoint import forward
from tests.support.ports import free_ports
from tests.support.runner_context import small_model

NEEDS = ("venv", "node tools", "docker engine", "runner image", "model")
KEYS = (
    "serving.first_of_lane_ms",
    "serving.first_of_lane_12s_ms",
    "serving.first_of_lane_unrisked_ms",
    "serving.job_run_first_ms",
    "serving.job_run_64_s",
)
TOKENS = 64
VCN = 10**18
CLIENTS = 3
WITHIN_S = 240
LONG_BLOCK_S = 12
QUESTION = "Write a long and detailed text about rivers for children who love science."


def run() -> list[Line]:
    """Raises: RuntimeError if a job is not answered."""
    with _network(2 * CLIENTS, risk="1000") as record:
        fast = _waits(record, range(CLIENTS))
        again = [_ask(_node(record, f"client-{number}"), TOKENS) for number in range(CLIENTS)]
        forward(record.rpc)("evm_setIntervalMining", [LONG_BLOCK_S])
        slow = _waits(record, range(CLIENTS, 2 * CLIENTS))
    with _network(CLIENTS, risk="0") as record:
        sure = _waits(record, range(CLIENTS))
    words = "`vcoin job run` to its first token, never hired, engine warm, {}"
    return [
        _line(KEYS[0], fast, "<= 1200", words.format("blocks of 1 s, at the provider's risk")),
        _line(KEYS[1], slow, "<= 1500", words.format(f"blocks of {LONG_BLOCK_S} s, at the provider's risk")),
        _line(KEYS[2], sure, "", words.format("blocks of 1 s, after one confirmation")),
        _line(KEYS[3], [first_ms for first_ms, _ in again], "<= 600", "`vcoin job run` to its first token, lane open"),
        Line(
            KEYS[4],
            statistics.median(whole_ms for _, whole_ms in again) / 1000,
            "s",
            "<= 2",
            f"`vcoin job run` of at most {TOKENS} tokens, lane open, from its start to its end",
            len(again),
        ),
    ]


def _line(key: str, waits_ms: list[float], goal: str, words: str) -> Line:
    return Line(
        key, statistics.median(waits_ms), "ms", goal, f"{words}; the longest {max(waits_ms):.0f}", len(waits_ms)
    )


@contextmanager
def _network(clients: int, risk: str) -> Iterator[LocalnetRecord]:
    """A provider that has its model loaded, and clients that it does not know."""
    plan = (
        NodePlan("provider", ("provider",), 5_000 * VCN, settings={"provider.risk": risk}),
        *(_client(f"client-{number}") for number in range(clients)),
        _client("first"),
    )
    with tempfile.TemporaryDirectory(prefix="vcoin-bench-") as made:
        directory = Path(made) / "net"
        port = free_ports(1 + len(plan))
        order = LocalnetPlan(directory, plan, rpc_port=port, first_p2p_port=port + 1, store=model.store())
        record = up(order, lambda line: None)
        try:
            _ask(_node(record, "first"))
            yield record
        finally:
            down(directory, lambda line: None)


def _client(name: str) -> NodePlan:
    return NodePlan(name, ("requester",), 0, deposit_wei=500 * VCN)


def _node(record: LocalnetRecord, name: str) -> LocalNode:
    return next(node for node in record.nodes if node.name == name)


def _waits(record: LocalnetRecord, clients: range) -> list[float]:
    return [_ask(_node(record, f"client-{number}"))[0] for number in clients]


def _ask(node: LocalNode, tokens: int = 16) -> tuple[float, float]:
    """From the start of the command to the first byte of its answer, and to its end, in ms. Raises: RuntimeError."""
    command = [sys.executable, "-m", "node.cli", "job", "run", "--model", small_model().cid.hex()]
    # No seat looks at these jobs, so that a runner that is not calibrated yet is measured, too.
    command += ["--uncalibrated", "--max-tokens", str(tokens), QUESTION]
    environment = os.environ | {"VCOIN_NODE_DATA_DIR": node.data_dir}
    began_s = time.monotonic()
    asked = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
    assert asked.stdout is not None
    first = asked.stdout.read(1)
    took_ms = (time.monotonic() - began_s) * 1000
    _, words = asked.communicate(timeout=WITHIN_S)
    whole_ms = (time.monotonic() - began_s) * 1000
    if not first or asked.returncode:
        raise RuntimeError(f"a job of {node.name} was not answered: {words.decode()[-500:]}")
    return took_ms, whole_ms
