"""Reads a compose file as Docker does, and says where it is weaker than the sandbox. Blocks."""

import json
import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from executor.compose.comparison import WeakField, request_values, weak_fields
from executor.compose.profile import CARD, SERVICE, InferenceProfile
from executor.containers.ending import printable
from executor.containers.sandbox import MODELS
from protocol.errors import ExecutorError

READ_S = 60


class BadComposeFile(ExecutorError):
    """Docker refuses the file, or it is no inference profile."""


def check_file(path: Path, profile: InferenceProfile, environment: Mapping[str, str]) -> tuple[WeakField, ...]:
    """The fields in which a compose file is weaker than the sandbox of this node; none if it is as strong.

    The model and the card are the file's own. Args: environment, what `docker compose` would be started with.
    Raises: BadComposeFile; ExecutorError if docker compose is not there.
    """
    config = read_config(path, environment)
    try:
        given = config["services"][SERVICE].get("environment") or {}
        model = re.fullmatch(rf"{MODELS}/([0-9A-Za-z_][0-9A-Za-z_.-]{{0,127}})", str(given.get("MODEL_PATH")))
        card = CARD.fullmatch(str(given.get("NVIDIA_VISIBLE_DEVICES")))
        own = replace(
            profile,
            folder=str(path.resolve().parent),
            model=model[1] if model else "NAME",
            card=card[0] if card else "",
        )
        return weak_fields(request_values(own.sandbox().container()), config)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadComposeFile(f"{path.name} has no service {SERVICE} as the reference has it") from error


def read_config(path: Path, environment: Mapping[str, str]) -> dict[str, Any]:
    """A compose file in the form that Docker would use, variables put in. Raises: BadComposeFile; ExecutorError."""
    given = {"MODEL_NAME": "NAME", **environment}
    command = ["docker", "compose", "--file", str(path), "config", "--format", "json"]
    try:
        done = subprocess.run(command, capture_output=True, timeout=READ_S, env=given, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ExecutorError(f"`docker compose` did not run: {error}") from error
    said = printable(done.stderr.decode(errors="replace").strip()[-300:])
    if b"is not a docker command" in done.stderr or b"unknown shorthand flag" in done.stderr:
        raise ExecutorError("docker has no compose on this machine: apt-get install docker-compose")
    if done.returncode != 0:
        raise BadComposeFile(f"docker compose refuses {path.name}: {said}")
    found = json.loads(done.stdout)
    if not isinstance(found, dict):
        raise BadComposeFile(f"docker compose makes nothing of {path.name}")
    return found


def own_environment() -> dict[str, str]:
    """That of this process, which `docker compose` would see too."""
    return dict(os.environ)
