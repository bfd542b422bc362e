"""The Docker Engine of this machine: checks, makes and sweeps the containers of one node. Every call here blocks."""

import contextlib
import socket
import weakref
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import docker
from docker.errors import APIError, ImageNotFound, NotFound

from executor.containers.card_access import RuntimeChoice, resolve
from executor.containers.container import Container
from executor.containers.ending import Intent
from executor.containers.faults import engine_errors, unless_ended
from executor.containers.sandbox import CARD_BYTES_LABEL, CARDS_LABEL, LABEL, OUTPUT, Sandbox
from protocol.errors import ExecutorError, ImageMissing

DEFAULT_HOST = "unix:///var/run/docker.sock"
API_TIMEOUT_S = 60
CONFLICT = 409
"""The Engine's answer where a container is paused already, or has ended."""
PROBE_S = 5
"""Timeout of questions that a healthy Engine answers within milliseconds."""


@dataclass(frozen=True, slots=True)
class FoundOnCards:
    """A container that has cards, of any node of the machine; share_bytes of the memory of each."""

    container: str
    job: str
    uuids: tuple[str, ...]
    share_bytes: int
    is_paused: bool
    is_mine: bool


class Engine:
    """The Docker Engine at `host`, limited to the containers that carry the label of one node."""

    def __init__(self, node: str, host: str = DEFAULT_HOST) -> None:
        """Raises: ExecutorError if nothing answers there."""
        self._node = node
        self._choice = RuntimeChoice()
        _require_listener(host)
        with engine_errors():
            self.api: Any = docker.APIClient(base_url=host, version="auto", timeout=API_TIMEOUT_S)
            self._probe: Any = docker.APIClient(base_url=host, version=self.api.api_version, timeout=PROBE_S)
        self._on_cards: weakref.WeakValueDictionary[str, Container] = weakref.WeakValueDictionary()

    def close(self) -> None:
        self.api.close()
        self._probe.close()

    def require(self, image: str) -> None:
        """Check that a container could run now. Raises: ImageMissing; ExecutorError if the Engine is away."""
        with engine_errors():
            try:
                self._probe.inspect_image(image)
            except ImageNotFound as error:
                raise ImageMissing(f"the image {image} is not on this machine: ./scripts/prepare builds it") from error

    def container(self, sandbox: Sandbox, job: str, deadline_s: int) -> Container:
        """A container that need not exist yet. A sweep goes by `job` and `deadline_s` (Unix time)."""
        labels = {**sandbox.labels, "node": self._node, "job": job, "deadline": str(deadline_s)}
        container = Container(self.api, self._probe, replace(sandbox, labels=labels, choice=self._choice))
        if sandbox.gpu_uuids:
            self._on_cards[job] = container
        return container

    def use(self, choice: RuntimeChoice, *, has_cards: bool) -> None:
        """Start all containers from now on in this way. Raises: ExecutorError, with the fix, if it cannot be had."""
        with engine_errors():
            found = self._probe.info()
        self._choice = resolve(choice, found, has_cards=has_cards)

    def on_cards(self) -> tuple[FoundOnCards, ...]:
        """The containers that run, or are paused, with cards. Raises: ExecutorError."""
        with engine_errors():
            found = self._probe.containers(filters={"label": [LABEL + CARDS_LABEL], "status": ["running", "paused"]})
        return tuple(self._found_on_cards(each) for each in found)

    def pause(self, container: str, *, go_on: bool) -> None:
        """Freeze all processes of a container, or let them go on. One that has ended meanwhile is left alone.

        Raises: ExecutorError.
        """
        with engine_errors(), contextlib.suppress(NotFound):
            try:
                (self._probe.unpause if go_on else self._probe.pause)(container)
            except APIError as error:
                if error.status_code != CONFLICT:
                    raise

    def end_on_card(self, job: str, intent: Intent) -> None:
        """Kill the container of a job of this node, for a reason that lies with its card."""
        container = self._on_cards.get(job)
        if container is not None:
            container.stop(intent)

    def _found_on_cards(self, found: dict[str, Any]) -> FoundOnCards:
        labels = found["Labels"]
        share = labels.get(LABEL + CARD_BYTES_LABEL, "")
        return FoundOnCards(
            container=str(found["Id"]),
            job=labels.get(LABEL + "job", ""),
            uuids=tuple(labels[LABEL + CARDS_LABEL].split(",")),
            share_bytes=_number(share),
            is_paused=found["State"] == "paused",
            is_mine=labels.get(LABEL + "node") == self._node,
        )

    def sweep(
        self,
        known_jobs: Collection[str] | None,
        now_s: float,
        lost_kinds: Collection[str] = (),
        let_go: Callable[[Path], None] = lambda output: None,
    ) -> list[str]:
        """Remove this node's containers whose job is unknown or late; returns their jobs.

        Args: known_jobs, read anew before each removal; None means that every job is known. lost_kinds, kinds whose
        containers cannot be taken over. let_go, called with the output directory of a removed container whose job is
        unknown.
        Raises: ExecutorError.
        """
        removed = []
        with engine_errors():
            for found in self._mine():
                labels = found["Labels"]
                job = labels.get(LABEL + "job", "")
                known = (known_jobs is None or job in known_jobs) and labels.get(LABEL + "kind") not in lost_kinds
                if not known or _number(labels.get(LABEL + "deadline", "")) < now_s:
                    with contextlib.suppress(NotFound):
                        self.api.remove_container(found["Id"], force=True, v=True)
                    removed.append(job)
                    if known_jobs is not None and job not in known_jobs:
                        for output in _outputs(found):
                            let_go(output)
        return removed

    def sweep_below(self, folder: Path) -> int:
        """Remove the containers of any node that write below a directory, started or not; returns how many.

        Raises: ExecutorError.
        """
        root, removed = folder.resolve(), 0
        with engine_errors():
            for found in self._probe.containers(all=True, filters={"label": [f"{LABEL}node"]}):
                if any(output.resolve().is_relative_to(root) for output in _outputs(found)):
                    with contextlib.suppress(NotFound):
                        self.api.remove_container(found["Id"], force=True, v=True)
                    removed += 1
        return removed

    def hold(self, *, is_held: bool) -> None:
        """Have this node's containers stand still, with their memory, or go on. Raises: ExecutorError."""
        with engine_errors():
            for found in self._mine():
                if found["State"] == ("running" if is_held else "paused"):
                    with unless_ended():
                        (self.api.pause if is_held else self.api.unpause)(found["Id"])

    def outputs(self) -> set[Path]:
        """The directories of this machine that this node's containers write to. Raises: ExecutorError."""
        with engine_errors():
            return {output for found in self._mine() for output in _outputs(found)}

    def _mine(self) -> Any:
        return self._probe.containers(all=True, filters={"label": [f"{LABEL}node={self._node}"]})


def _require_listener(host: str) -> None:
    """Refuse a Unix socket without a listener at once: the SDK is late with it, and leaves its own socket open.

    Raises: ExecutorError.
    """
    if not host.startswith("unix://"):
        return
    try:
        with socket.socket(socket.AF_UNIX) as probe:
            probe.connect(host.removeprefix("unix://"))
    except OSError as error:
        raise ExecutorError(f"no Docker Engine answers at {host}: {error.strerror or error}", transient=True) from error


def _outputs(found: dict[str, Any]) -> list[Path]:
    """The directories of this machine that a listed container writes to."""
    return [Path(mount["Source"]) for mount in found["Mounts"] if mount["Destination"] == OUTPUT]


def _number(label: str) -> int:
    return int(label) if label.isascii() and label.isdecimal() and len(label) < 16 else 0
