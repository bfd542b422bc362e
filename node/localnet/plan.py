"""The plan of a local network: the nodes by name, each with its roles, its stake and its client's money.

[nodes.provider]
roles = ["provider"]
stake = "5000"
[nodes.provider.settings]
"executor.cpus" = 2.0
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from node.config import wei_of
from protocol.errors import ConfigError
from protocol.roles.role import Role

VCN = 10**18
MAX_NODES = 64
MAX_PLAN_CHARS = 1 << 20
_KEYS = ("roles", "stake", "deposit", "coins", "settings")
_NAME = re.compile(r"[a-z][a-z0-9-]{0,31}")


@dataclass(frozen=True, slots=True)
class NodePlan:
    """One node. Amounts in wei: stake from its owner's wallet, deposit in its client's account, coins in its wallet.

    `settings` are keys of config.toml that differ from what the local network gives every node.
    """

    name: str
    roles: tuple[str, ...]
    stake_wei: int
    deposit_wei: int = 0
    coins_wei: int = 0
    settings: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))


DEFAULT = (
    NodePlan("requester", ("requester",), 1_000 * VCN, deposit_wei=500 * VCN, coins_wei=500 * VCN),
    NodePlan("provider", ("provider",), 5_000 * VCN),
    NodePlan("verifier-1", ("verifier",), 5_000 * VCN),
    NodePlan("verifier-2", ("verifier",), 5_000 * VCN),
    NodePlan("verifier-3", ("verifier",), 5_000 * VCN),
)
"""One that asks, one that works, and as many that judge as a large case seats."""


def read_plan(path: Path) -> tuple[NodePlan, ...]:
    """The nodes that a file names, in its order.

    Raises: ConfigError, with the key, for anything that is no plan.
    """
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(MAX_PLAN_CHARS + 1)
        if len(text) > MAX_PLAN_CHARS:
            raise ValueError(f"more than {MAX_PLAN_CHARS} characters")
        plain = tomllib.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"cannot read the plan {path}: {error}") from error
    for key in plain:
        if key != "nodes":
            raise ConfigError(f"unknown key in {path}: {key}", "a plan holds sections [nodes.NAME]")
    nodes = plain.get("nodes")
    if not isinstance(nodes, dict) or not 1 <= len(nodes) <= MAX_NODES:
        raise ConfigError(f"{path} names no nodes", f"give 1 to {MAX_NODES} sections [nodes.NAME]")
    return tuple(_node(path, name, body) for name, body in nodes.items())


def _node(path: Path, name: str, body: Any) -> NodePlan:
    if not _NAME.fullmatch(name):
        raise ConfigError(f"{path}: {name!r} is no name for a node", "small letters, digits and dashes")
    if not isinstance(body, dict):
        raise ConfigError(f"{path}: nodes.{name} is a section, write [nodes.{name}]")
    for key in body:
        if key not in _KEYS:
            raise ConfigError(f"unknown key in {path}: nodes.{name}.{key}", f"known: {', '.join(_KEYS)}")
    roles = body.get("roles")
    if not isinstance(roles, list) or not roles or not all(role in tuple(Role) for role in roles):
        raise ConfigError(f"{path}: nodes.{name}.roles is a list of {', '.join(Role)}")
    settings = body.get("settings", {})
    if not isinstance(settings, dict) or not all(key.count(".") == 1 for key in settings):
        raise ConfigError(f'{path}: nodes.{name}.settings holds keys of config.toml, as in "p2p.fast" = true')
    amounts = {f"{key}_wei": _wei(path, name, key, body.get(key, "0")) for key in ("stake", "deposit", "coins")}
    return NodePlan(name, tuple(roles), **amounts, settings=settings)


def _wei(path: Path, name: str, key: str, raw: Any) -> int:
    try:
        return wei_of(raw)
    except ValueError:
        raise ConfigError(f'{path}: nodes.{name}.{key} is an amount in VCN, for example "5000"') from None
