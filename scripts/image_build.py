"""Lists, weighs and builds the images of models: what `scripts/image` runs in the virtual environment."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from executor import images
from executor.cuda import image as cuda
from executor.cuda.requirement import card_faults, release_of
from executor.image_weight import ImageWeight
from node.cli.ui import output
from protocol.errors import ExecutorError
from scripts.commands.image import parsed
from scripts.setup import engine, wheel_lock
from scripts.setup.cache import cache_directory
from scripts.setup.failure import Missing, report
from scripts.setup.step import Workbench

SMI_S = 20


@dataclass(frozen=True)
class ImagePlan:
    """One image that can be built: its name on this machine, its weight, and why this machine does not fit it."""

    name: str
    tag: str
    weight: ImageWeight
    faults: tuple[str, ...]


def plans(*, llama: bool = False) -> tuple[ImagePlan, ...]:
    """All images."""
    driver, capabilities = machine_cards()
    faults = card_faults(release_of(cuda.CUDA), driver, capabilities)
    return (
        ImagePlan("runner", images.tag(), images.weight(), ()),
        ImagePlan("cuda", cuda.tag(llama=llama), cuda.weight(llama=llama), faults),
    )


def machine_cards() -> tuple[str, dict[str, str]]:
    """The driver's version and each card's compute capability, as the driver's own program tells them."""
    command = ["nvidia-smi", "--query-gpu=uuid,driver_version,compute_cap", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SMI_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return "", {}
    rows = [[cell.strip() for cell in line.split(",")] for line in done.stdout.splitlines()]
    found = [row for row in rows if len(row) == 3 and row[2][:1].isdigit()] if done.returncode == 0 else []
    return (found[0][1] if found else ""), {uuid: capability for uuid, _, capability in found}


def room_fault(weight: ImageWeight, free_bytes: int) -> str:
    """Why an image has no room on a disk; empty if it has."""
    if weight.disk_bytes <= free_bytes:
        return ""
    need, free = (f"{count / 1e9:.1f} GB" for count in (weight.disk_bytes, free_bytes))
    return f"the build takes {need} of disk, and {free} are free"


def as_plain(plan: ImagePlan, here: bool | None) -> dict[str, Any]:
    """A plan as JSON."""
    return {
        "name": plan.name,
        "tag": plan.tag,
        "here": here,
        "fetch_bytes": plan.weight.fetch_bytes,
        "disk_bytes": plan.weight.disk_bytes,
        "build_s": plan.weight.build_s,
        "faults": list(plan.faults),
    }


def is_here(tag: str, host: str | None) -> bool | None:
    """Whether an image is on this machine; None if no Engine answers."""
    return None if host is None else images.exists(tag, host)


def show_list(as_json: bool) -> int:
    """The images and whether they are here."""
    host = engine.find()
    rows = [(plan, is_here(plan.tag, host)) for plan in plans()]
    words = {True: "yes", False: "no", None: "no Docker Engine answers"}
    lines = [(plan.name, plan.tag, words[here]) for plan, here in rows]
    plain = [as_plain(plan, here) for plan, here in rows]
    return output.show(as_json, plain, lambda: output.table(("image", "name", "on this machine"), lines))


def show_weights(as_json: bool, chosen: Sequence[ImagePlan]) -> int:
    """What each takes, and why this machine does not fit."""
    lines = [line for plan in chosen for line in (plan.weight.sentence(plan.name), *plan.faults)]
    host = engine.find()
    return output.show(as_json, [as_plain(plan, is_here(plan.tag, host)) for plan in chosen], lambda: lines)


def build(plan: ImagePlan, make: Callable[[str], str], as_json: bool) -> int:
    """Say what it takes, then build. Raises: Missing where the disk has no room."""
    host = os.environ["DOCKER_HOST"]
    if images.exists(plan.tag, host):
        output.words(f"{plan.tag} is here already")
    else:
        output.words(plan.weight.sentence(plan.name))
        for fault in plan.faults:
            output.words(f"warning: {fault}")
        if fault := room_fault(plan.weight, shutil.disk_usage(cache_directory()).free):
            raise Missing(fault, "free some: docker system prune")
        make(host)
    return output.show(as_json, as_plain(plan, True), lambda: [plan.tag])


def main() -> int:
    """Exit code: 0 done, 1 a build failed, 4 this machine lacks something."""
    asked = parsed()

    def make(host: str) -> str:
        log = sys.stderr.fileno()
        if asked.name == "runner":
            return images.build(host, log)
        return cuda.build(
            host, base=asked.base or images.BASE, toolkit_base=asked.toolkit_base, llama=asked.llama, log=log
        )

    def body() -> int:
        if asked.action == "list":
            return show_list(asked.json)
        if asked.action == "lock":
            wheel_lock.write(Workbench.open("image-lock"), Path(cuda.FOLDER))
            return 0
        chosen = [plan for plan in plans(llama=asked.llama) if asked.name in (None, plan.name)]
        if asked.action == "weigh":
            return show_weights(asked.json, chosen)
        return build(chosen[0], make, asked.json)

    try:
        return report(body)
    except ExecutorError as error:
        output.error(str(error))
        return 1


if __name__ == "__main__":
    sys.exit(main())
