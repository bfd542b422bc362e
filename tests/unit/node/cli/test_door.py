"""The short way to the socket finds the same one as the settings, which take too long to import."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from node.cli.ui.daemon_socket import socket_of
from node.config import load

FILES = {
    "none": None,
    "empty": "",
    "socket": '[api]\nsocket = "run/other.sock"\n',
    "absolute": '[api]\nsocket = "/run/vcoin/other.sock"\n',
    "home": '[api]\nsocket = "~/other.sock"\n',
    "data_dir": '[node]\ndata_dir = "elsewhere"\n',
    "both": '[node]\ndata_dir = "/elsewhere"\n[api]\nsocket = "s"\n',
}
ENVIRONMENTS: tuple[dict[str, str], ...] = (
    {},
    {"VCOIN_NODE_DATA_DIR": "set"},
    {"VCOIN_API_SOCKET": "env.sock"},
    {"VCOIN_CONFIG": "named.toml"},
    {"VCOIN_CONFIG": "named.toml", "VCOIN_NODE_DATA_DIR": "set"},
)


@pytest.mark.parametrize("environment", ENVIRONMENTS, ids=lambda env: "+".join(env) or "nothing")
@pytest.mark.parametrize("flag", [None, "flagged"])
@pytest.mark.parametrize("text", FILES.values(), ids=FILES)
def test_same_socket_as_the_settings(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    flag: str | None,
    text: str | None,
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    for folder in (".", "set", "flagged", "home/.vcoin"):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        if text is not None:
            (tmp_path / folder / "config.toml").write_text(text)
    (tmp_path / "named.toml").write_text(text or "")
    flags = {} if flag is None else {"node.data_dir": flag}
    expected = load(environment, flags).api.socket
    assert socket_of(Path(flag) if flag else None, environment) == expected


def test_nothing_slow_is_imported_on_the_way_to_the_daemon(tmp_path: Path) -> None:
    """The cost of a command before it asks: half a second on a busy machine is soon spent."""
    code = (
        "import sys; from node.cli import main; main(['status']); main(['job', 'list']); main(['--help'])\n"
        "slow = {'trio', 'web3', 'coincurve', 'eth_utils', 'protocol.params', 'node.config', 'httpx', 'ssl'}\n"
        "print(*sorted(slow & set(sys.modules)), file=sys.stderr)"
    )
    environment = {**os.environ, "VCOIN_NODE_DATA_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == "", done.stderr
