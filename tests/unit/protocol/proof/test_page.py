"""docs/verify.md describes the file that there is."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from protocol.proof import file

PAGE = (Path(__file__).resolve().parents[4] / "docs" / "verify.md").read_text("utf-8")


def test_every_member_of_the_file_stands_there_and_no_other() -> None:
    rows = re.findall(r"^\| (\w+) \| (`.*) \|$", PAGE, re.MULTILINE)
    told = {name: set(re.findall(r"`(\w+)`", members)) for name, members in rows}
    held = {
        name: {field.name for field in dataclasses.fields(kind)}
        for name, kind in vars(file).items()
        if isinstance(kind, type) and dataclasses.is_dataclass(kind) and kind.__module__ == file.__name__
    }
    assert told == held


def test_the_limit_and_the_version_are_those_of_the_code() -> None:
    assert f"At most {file.MAX_FILE_BYTES // 2**20} MiB" in PAGE
    assert f"`v` {file.VERSION}" in PAGE
