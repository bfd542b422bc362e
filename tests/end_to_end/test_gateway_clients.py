"""Programs that people use with OpenAI's interface, against a gateway of a local network: real nodes, a real model."""

from __future__ import annotations

import json
import os
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from scripts.setup import clients
from tests.support.runner_context import small_model
from tests.support.scenes.localnets import WITHIN_S, NetworkOfTwo
from tests.support.source_tree import REPOSITORY

pytestmark = [pytest.mark.anvil, pytest.mark.docker, pytest.mark.libp2p, pytest.mark.slow]

OUTSIDE = Path(__file__).with_name("outside")
PAGE = (REPOSITORY / "docs" / "gateway.md").read_text("utf-8")
CURL = re.compile(r"^```bash\n(curl (?:.*\n)*?)```$", re.MULTILINE)
LLM_MODEL = """
- model_id: vcoin
  model_name: {model}
  api_base: {base}
  api_key_name: vcoin
"""


class Outside:
    """Runs programs with the settings that OpenAI's clients read, and no other way out."""

    def __init__(self, network: NetworkOfTwo, home: Path) -> None:
        self._network = network
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "NO_PROXY": "127.0.0.1",
            "OPENAI_BASE_URL": network.gateway,
            "OPENAI_API_BASE": network.gateway,
            "OPENAI_API_KEY": network.key(),
            "MODEL": small_model().name,
            "LLM_USER_PATH": str(home),
        }
        (home / "keys.json").write_text(json.dumps({"vcoin": self._environment["OPENAI_API_KEY"]}))
        (home / "extra-openai-models.yaml").write_text(LLM_MODEL.format(model=small_model().name, base=network.gateway))

    def python(self, name: str) -> str:
        """What a program of a user prints."""
        return self.run(str(clients.tool("python")), str(OUTSIDE / f"{name}_client.py"))

    def llm(self) -> str:
        """What Simon Willison's `llm` prints, with and without a stream."""
        asked = (str(clients.tool("llm")), "-m", "vcoin", "-o", "max_tokens", "8", "-o", "temperature", "0")
        streamed, whole = (self.run(*asked, *more, "Name a river.") for more in ((), ("--no-stream",)))
        assert streamed == whole
        return whole

    def curl(self) -> str:
        """What the commands of the page print."""
        commands = CURL.findall(PAGE)
        assert len(commands) == PAGE.count("curl --fail")
        settings = "set -euo pipefail\nKEY=$OPENAI_API_KEY\nGATEWAY=$OPENAI_BASE_URL\n"
        return self.run("bash", "-c", settings + "\n".join(commands))

    def run(self, *command: str) -> str:
        ended = subprocess.run(
            command, env=self._environment, capture_output=True, text=True, timeout=WITHIN_S, check=False
        )
        assert ended.returncode == 0, f"{command}: {ended.stdout}\n{ended.stderr}\n{self._network.logs()}"
        return ended.stdout


def test_programs_written_for_openai_run_on_the_network_unchanged(network: NetworkOfTwo, tmp_path: Path) -> None:
    assert clients.tool("python").exists(), "the clients are not installed: run ./scripts/test end-to-end"
    network.up()
    outside = Outside(network, tmp_path)
    log = outside.python("openai")
    print(log)
    assert log.endswith("all is as OpenAI's documents say\n")
    with ThreadPoolExecutor() as pool:
        others = [pool.submit(outside.python, name) for name in ("litellm", "langchain")]
        others += [pool.submit(act) for act in (outside.llm, outside.curl)]
        said = [other.result() for other in others]
    assert all(text.strip() for text in said)
    assert '"object": "list"' in said[-1]
    assert "data: [DONE]" in said[-1]
