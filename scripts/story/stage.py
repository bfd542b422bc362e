"""The stage: the local network as it runs, its nodes asked through their own doors."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from time import monotonic, sleep
from typing import TypeVar

from node.api.client import Client
from node.api.faults import Fault
from node.api.views import CaseView, JobUpdate, JobView, Snapshot, read
from node.localnet.plan import NodePlan
from node.localnet.processes import start, stop
from node.localnet.record import LocalnetRecord
from node.wallet.home import Home
from scripts.story import screen
from scripts.story.screen import Broken

T = TypeVar("T")
POLL_S = 0.5
STOP_WITHIN_S = 15.0
READY_WITHIN_S = 60.0
CASE_WITHIN_S = 180.0


def door(record: LocalnetRecord, name: str) -> Client:
    """The control socket of a node."""
    return Client(Path(record.node(name).socket))


def ask(record: LocalnetRecord, asker: str, body: dict[str, object]) -> JobView:
    """Ask for a job, print its answer as it comes, and stay until its money has moved."""
    client = door(record, asker)
    job_id = client.post("jobs", body=body)["id"]
    printed, last, is_mid_line = 0, None, False
    for raw in client.lines("jobs", job_id, "events"):
        update = read(JobUpdate, raw)
        if update.job is None:
            screen.write(update.text if is_mid_line else f"  | {update.text}")
            printed, is_mid_line = printed + len(update.text), True
            continue
        if last is None or update.job.state != last.state:
            if is_mid_line:
                screen.write("\n")
            is_mid_line = False
            screen.say(f"  {update.job.state.replace('_', ' ')}{_by(record, update.job)}")
        last = update.job
    if last is None:
        raise Broken("the job was never seen")
    if last.text and not printed:
        screen.say(f"  | {last.text}")
    return last


def case(record: LocalnetRecord, asker: str, job: JobView) -> CaseView:
    """The court over the batch of a job, once it has ended."""

    def closed() -> CaseView | None:
        view = read(CaseView, door(record, asker).get("cases", job.batch_id))
        return view if view.verdict else None

    return wait(closed, CASE_WITHIN_S, f"the case about batch {job.batch_id[:8]} has no verdict")


def recast(record: LocalnetRecord, plan: NodePlan) -> LocalnetRecord:
    """Stop a node, tell it its new roles, and start it again."""
    member = record.node(plan.name)
    assert member.process is not None
    stop([member.process], STOP_WITHIN_S)
    config = Home(Path(member.data_dir)).config
    lines = config.read_text().splitlines()
    roles = ", ".join(f'"{role}"' for role in plan.roles)
    config.write_text("\n".join(f"roles = [{roles}]" if line.startswith("roles = ") else line for line in lines) + "\n")
    command = [sys.executable, "-m", "node.cli", "node", "run", "--data-dir", member.data_dir]
    process = start(plan.name, command, Path(member.data_dir) / "node.log")
    record = record.with_process(plan.name, process)
    record = replace(
        record,
        nodes=tuple(replace(node, roles=plan.roles) if node.name == plan.name else node for node in record.nodes),
    )
    record.write()
    wait(lambda: _ready(record, plan.name), READY_WITHIN_S, f"{plan.name} is not ready: {process.log}")
    return record


def names(record: LocalnetRecord) -> dict[str, str]:
    """The names of nodes by their ids."""
    return {node.node_id: node.name for node in record.nodes}


def wait(look: Callable[[], T | None], within_s: float, otherwise: str) -> T:
    """Look until there is something to see. Raises: Broken after `within_s`."""
    deadline = monotonic() + within_s
    while monotonic() < deadline:
        try:
            found = look()
        except Fault:
            found = None
        if found:
            return found
        sleep(POLL_S)
    raise Broken(otherwise)


def _ready(record: LocalnetRecord, name: str) -> bool:
    snapshot = read(Snapshot, door(record, name).get("status"))
    others = [node.online for node in snapshot.nodes if node.node_id != snapshot.me.node_id]
    return snapshot.state == "ready" and snapshot.chain.connected and bool(others) and all(others)


def _by(record: LocalnetRecord, job: JobView) -> str:
    name = names(record).get(job.node, job.node)
    return f" ({name})" if name else ""
