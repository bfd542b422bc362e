"""The plan of a local network: what it may hold, and the words for what it may not."""

from __future__ import annotations

from pathlib import Path

import pytest

from node.localnet.plan import DEFAULT, VCN, NodePlan, read_plan
from protocol.errors import ConfigError


def test_plan_is_read_in_its_order(tmp_path: Path) -> None:
    path = tmp_path / "plan.toml"
    path.write_text(
        '[nodes.b]\nroles = ["requester"]\nstake = "1000"\ndeposit = 20\ncoins = 2.5\n'
        '[nodes.a]\nroles = ["provider", "verifier"]\nstake = 5000\n[nodes.a.settings]\n"executor.image" = "x:y"\n'
    )
    first, second = read_plan(path)
    assert first == NodePlan("b", ("requester",), 1_000 * VCN, 20 * VCN, 25 * VCN // 10, {})
    assert (second.name, second.roles, second.settings) == ("a", ("provider", "verifier"), {"executor.image": "x:y"})


def test_default_has_somebody_for_every_role_and_a_whole_court() -> None:
    roles = [role for node in DEFAULT for role in node.roles]
    assert (roles.count("requester"), roles.count("provider"), roles.count("verifier")) == (1, 1, 3)
    assert all(node.stake_wei >= 1_000 * VCN for node in DEFAULT)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "names no nodes"),
        ("[", "cannot read the plan"),
        ("[node.a]\n", "unknown key in PLAN: node"),
        ("[nodes]\n", "names no nodes"),
        ("nodes = 5\n", "names no nodes"),
        ("[nodes]\na = 1\n", "write [nodes.a]"),
        ('[nodes.A]\nroles = ["provider"]\n', "'A' is no name"),
        ('[nodes."../a"]\nroles = ["provider"]\n', "is no name"),
        ("[nodes.a]\n", "nodes.a.roles is a list"),
        ('[nodes.a]\nroles = ["miner"]\n', "nodes.a.roles is a list"),
        ('[nodes.a]\nroles = ["provider"]\nsteak = 5\n', "unknown key in PLAN: nodes.a.steak"),
        ('[nodes.a]\nroles = ["provider"]\nstake = "much"\n', "nodes.a.stake is an amount"),
        ('[nodes.a]\nroles = ["provider"]\nstake = -1\n', "nodes.a.stake is an amount"),
        ('[nodes.a]\nroles = ["provider"]\nstake = true\n', "nodes.a.stake is an amount"),
        ('[nodes.a]\nroles = ["provider"]\nsettings = {image = "x"}\n', "holds keys of config.toml"),
    ],
)
def test_anything_else_is_refused_with_its_key(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "plan.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_plan(path)
    assert words in str(caught.value).replace(str(path), "PLAN")


def test_missing_plan_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml"):
        read_plan(tmp_path / "none.toml")
