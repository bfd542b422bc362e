"""docs/gateway.md works as it stands: its commands, in their order, against a gateway that answers."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import trio

from tests.fakes.answering import WORDS
from tests.support.scenes.gateways import WITHIN_S, Gateway
from tests.support.source_tree import REPOSITORY

PAGE = (REPOSITORY / "docs" / "gateway.md").read_text("utf-8")
BLOCK = re.compile(r"^```(bash|python)\n((?:.*\n)*?)```$", re.MULTILINE)
AT = "http://127.0.0.1:8402/v1"


async def test_every_command_of_the_page_works(answering: Gateway, tmp_path: Path) -> None:
    blocks = BLOCK.findall(PAGE)
    assert [kind for kind, _ in blocks].count("python") == 1
    said = tmp_path / "said"
    script = "set -euo pipefail\n" + "".join(
        text if kind == "bash" else f"python - <<END\nKEY = '$KEY'\n{text}END\n" for kind, text in blocks
    )
    assert AT in script
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "VCOIN_NODE_DATA_DIR": str(tmp_path), "NO_PROXY": "127.0.0.1"}
    with trio.fail_after(3 * WITHIN_S), said.open("wb") as output:
        done = await trio.run_process(
            ["bash", "-c", script.replace(AT, answering.url)],
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        )
    heard = said.read_text("utf-8")
    assert done.returncode == 0, heard[-2_000:]
    assert len(answering.backend.asked) == 6
    assert '"object": "list"' in heard
    assert '"object": "text_completion"' in heard
    assert '"cost_vcn": "0.02"' in heard
    assert "data: [DONE]" in heard
    assert f"{''.join(WORDS)} 0.02\n" in heard
    assert "notebook" in heard
