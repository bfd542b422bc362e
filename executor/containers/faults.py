"""Errors of the Docker SDK as errors of this project."""

import contextlib
from collections.abc import Iterator

import requests
from docker.errors import APIError, DockerException

from protocol.errors import ExecutorError


def has_stumbled(error: Exception) -> bool:
    """Whether the runtime failed to set a container up, which now and then happens and may pass."""
    return (
        isinstance(error, APIError) and error.status_code == 500 and "runtime create failed" in str(error.explanation)
    )


def is_away(error: Exception) -> bool:
    """Whether the Engine is gone or going. An Engine that is there and refuses is not away."""
    status = error.status_code if isinstance(error, APIError) else None
    return status is None or status >= 500


@contextlib.contextmanager
def unless_ended() -> Iterator[None]:
    """Pass over a container that has ended, or changed its state, since the Engine was asked about it."""
    try:
        yield
    except APIError as error:
        if error.status_code not in (404, 409):
            raise


@contextlib.contextmanager
def engine_errors() -> Iterator[None]:
    """Turn errors of the SDK into ExecutorError, transient unless the request itself was wrong."""
    try:
        yield
    except APIError as error:
        wrong = error.status_code is not None and 400 <= error.status_code < 500
        raise ExecutorError(f"the Docker Engine refused: {error.explanation}", transient=not wrong) from error
    except (DockerException, requests.RequestException, OSError) as error:
        raise ExecutorError(f"the Docker Engine does not answer: {error}", transient=True) from error
