"""What an engine does beside answers: by kind of job, and by kind of the result that is made or checked."""

from collections.abc import Callable, Mapping
from typing import Any

from . import check, classify, embed
from .engine import LLAMA, TORCH
from .job import Job, Work

Works = Mapping[tuple[str, str], Callable[[Job, Any], Work]]

CHECK_OF_ANSWER = ("check", "generate")
WORKS: dict[str, Works] = {
    TORCH: {
        ("embed", "embed"): embed.work,
        ("classify", "classify"): classify.work,
        CHECK_OF_ANSWER: check.work,
        ("check", "embed"): embed.check,
        ("check", "classify"): classify.check,
    },
    LLAMA: {CHECK_OF_ANSWER: check.work},
}
