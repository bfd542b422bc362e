"""The operator's choices: one frozen tree, built from defaults < file < environment < flags.

A key is `section.name`: `[p2p] listen = [...]` in the file, `VCOIN_P2P_LISTEN` in the environment (lists separated by
commas), `p2p.listen` among the flags. A key that does not exist is an error wherever it stands, never ignored.
"""

import difflib
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal, DecimalException
from pathlib import Path
from typing import Annotated, Any, get_type_hints

from node.config_file import read_toml
from node.endpoints import host_of, require_url
from node.hours import read_hours
from protocol.errors import ConfigError
from protocol.params import DEFAULT_LANE_WEI, DEFAULT_PRICE_WEI, MAX_MEMORY_CEILING, VCN
from protocol.roles.role import Role
from protocol.wire.ids import Wei, checksum

PREFIX = "VCOIN_"
FILE_VARIABLE = "VCOIN_CONFIG"
"""Names the configuration file."""
_NO_KEYS = {FILE_VARIABLE, "VCOIN_PASSWORD", "VCOIN_CACHE"}
"""Variables with our prefix that are no keys: the password of the key files, the folder of the setup scripts."""
FILE_NAME = "config.toml"
MAX_TEXT = 1_024
MAX_PATH = 4_096
MAX_TEXTS = 64
MAX_SHOWN = 120
"""Of a value that is quoted back."""
ROLES: tuple[str, ...] = tuple(Role)
ANY_MODEL = "any"
LOG_FORMATS = ("auto", "human", "json")
GPU_ACCESSES = ("auto", "devices", "runtime", "cdi")
LOG_LEVELS = ("debug", "info", "warning", "error")

_UNITS = {"": 1, "B": 1, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "KB": 10**3, "MB": 10**6, "GB": 10**9}


def _text(raw: object, _base: Path) -> str:
    if not isinstance(raw, str):
        raise ValueError("expected a text")
    return _plain(raw, MAX_TEXT)


def _plain(text: str, most: int) -> str:
    """Values come to logs, terminals and system calls: nothing in them may be more than it looks like."""
    if len(text) > most:
        raise ValueError(f"expected at most {most} characters")
    if not text.isprintable():
        raise ValueError("expected characters that can be seen, and no line breaks")
    return text


def _flag(raw: object, _base: Path) -> bool:
    if isinstance(raw, str):
        raw = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}.get(raw.lower())
    if not isinstance(raw, bool):
        raise ValueError("expected true or false")
    return raw


def _path(raw: object, base: Path) -> Path:
    if not isinstance(raw, str | Path) or not str(raw):
        raise ValueError("expected a path")
    return (base / os.path.expanduser(_plain(str(raw), MAX_PATH))).absolute()


def _texts(raw: object, _base: Path) -> tuple[str, ...]:
    if isinstance(raw, str):
        raw = [part.strip() for part in raw.split(",") if part.strip()]
    if not isinstance(raw, list | tuple) or not all(isinstance(item, str) for item in raw):
        raise ValueError("expected a list of texts")
    if len(raw) > MAX_TEXTS:
        raise ValueError(f"expected at most {MAX_TEXTS} texts")
    return tuple(_plain(item, MAX_TEXT) for item in raw)


def _urls(raw: object, base: Path) -> tuple[str, ...]:
    urls = _texts(raw, base)
    for url in urls:
        require_url(url)
    if not urls:
        raise ValueError("expected at least one URL")
    return urls


def _loopback(raw: object, base: Path) -> str:
    """host:port on this machine, or nothing."""
    text = _text(raw, base)
    host = host_of(text)
    if text and (host is None or not host.is_loopback):
        raise ValueError('expected an address of this machine with a port, for example "127.0.0.1:9464"')
    return text


def _tcp_address(raw: object, base: Path) -> str:
    """host:port with an IP address for host, or nothing."""
    text = _text(raw, base)
    if text and host_of(text) is None:
        raise ValueError('expected an IP address with a port, for example "127.0.0.1:8402"')
    return text


def _runtime(raw: object, base: Path) -> str:
    """A name of Docker's daemon.json, or nothing."""
    text = _text(raw, base)
    if not re.fullmatch(r"[A-Za-z0-9._-]{0,64}", text):
        raise ValueError('expected the name of a runtime of Docker, for example "runsc"')
    return text


def _hosts(raw: object, base: Path) -> tuple[str, ...]:
    """Names as a Host header has them, without a port."""
    names = _texts(raw, base)
    if not all(re.fullmatch(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?", name) for name in names):
        raise ValueError("expected names of hosts in small letters, without a port")
    return names


def _only(raw: object, base: Path) -> str:
    chosen = _texts(raw, base)
    if len(chosen) != 1:
        raise ValueError("expected exactly one")
    return chosen[0]


def _one_of(choices: tuple[str, ...]) -> Callable[[object, Path], str]:
    def read(raw: object, _base: Path) -> str:
        if raw not in choices:
            raise ValueError(f"expected one of {', '.join(choices)}")
        return str(raw)

    return read


def _some_of(choices: tuple[str, ...]) -> Callable[[object, Path], tuple[str, ...]]:
    def read(raw: object, base: Path) -> tuple[str, ...]:
        chosen = _texts(raw, base)
        if not chosen or not set(chosen) <= set(choices):
            raise ValueError(f"expected some of {', '.join(choices)}")
        return chosen

    return read


def _number(lowest: int, highest: int) -> Callable[[object, Path], int]:
    def read(raw: object, _base: Path) -> int:
        value = int(raw) if isinstance(raw, str) and re.fullmatch(r"-?[0-9]{1,18}", raw) else raw
        if type(value) is not int or not lowest <= value <= highest:
            raise ValueError(f"expected a whole number from {lowest} to {highest}")
        return value

    return read


def _cpus(raw: object, _base: Path) -> float:
    try:
        value = float(str(raw))
    except ValueError:
        value = 0.0
    if isinstance(raw, bool) or not 0.1 <= value <= 1024:
        raise ValueError("expected a number of cores from 0.1 to 1024")
    return value


def _size(lowest: int, highest: int, expected: str) -> Callable[[object, Path], int]:
    """Args: expected, the bounds in words."""

    def read(raw: object, _base: Path) -> int:
        found = re.fullmatch(r"([0-9]{1,18}) ?([A-Za-z]*)", str(raw)) if isinstance(raw, str | int) else None
        unit = _UNITS.get(found[2].upper()) if found else None
        if found is None or unit is None or not lowest <= int(found[1]) * unit <= highest:
            raise ValueError(f'expected {expected}, for example "4GiB"')
        return int(found[1]) * unit

    return read


_MEMORY = _size(2**26, MAX_MEMORY_CEILING, "a size from 64MiB to what the machine has")
_DISK = _size(0, 2**50, "a size up to 1048576GiB")


def _models(raw: object, base: Path) -> tuple[str, ...]:
    names = _texts(raw, base)
    if names != (ANY_MODEL,) and not all(re.fullmatch(r"[0-9a-f]{64}", name) for name in names):
        raise ValueError(f"expected ids of models, 64 digits each, as `vcoin model list` shows them, or {ANY_MODEL}")
    return names


def _coins(raw: object, _base: Path) -> Wei:
    return wei_of(raw)


def wei_of(raw: object) -> Wei:
    """An amount in VCN, a text or a number. Raises: ValueError."""
    try:
        amount = Decimal(str(raw)) * VCN
    except DecimalException:
        amount = Decimal(-1)
    # 96 bits is the widest price that a signed offer can carry.
    if isinstance(raw, bool) or not amount.is_finite() or not 0 <= amount < 2**96 or amount != int(amount):
        raise ValueError('expected an amount in VCN, for example "2.5"')
    return Wei(int(amount))


def _address(raw: object, _base: Path) -> str:
    if raw == "":
        return ""
    try:
        address = checksum(str(raw))
    except ValueError:
        raise ValueError("expected an address, 0x and 40 digits") from None
    if raw not in (address, address.lower()):
        raise ValueError("the capitals of this address do not fit: a digit may be wrong")
    return address


@dataclass(frozen=True, slots=True)
class Field:
    """How a value of a key is read from text or TOML, and what it means."""

    read: Callable[[object, Path], Any]
    help: str


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """The names and the offers of this node."""

    data_dir: Annotated[Path, Field(_path, "keys, journal, content store and results live here")] = Path("~/.vcoin")
    name: Annotated[str, Field(_text, "a name for people, in the log; sent to no peer")] = "node"
    roles: Annotated[tuple[str, ...], Field(_some_of(ROLES), "what this node does: " + ", ".join(ROLES))] = ROLES
    price: Annotated[Wei, Field(_coins, "VCN asked for 1,000 output tokens")] = DEFAULT_PRICE_WEI
    lane: Annotated[Wei, Field(_coins, "VCN locked at once for a node that this one hires")] = DEFAULT_LANE_WEI
    checked: Annotated[bool, Field(_flag, "have every job that it asks for checked, for half of the price more")] = (
        False
    )
    client: Annotated[str, Field(_address, "account that pays for this node's jobs; empty: its own signer key")] = ""
    password_file: Annotated[Path | None, Field(_path, "its first line opens the keystore files of the data dir")] = (
        None
    )


@dataclass(frozen=True, slots=True)
class ProviderConfig:
    """The lanes that this node works for before they are final."""

    risk: Annotated[
        Wei, Field(_coins, "VCN that all clients whose lanes are in no block yet may cost this node in 24 hours")
    ] = Wei(0)
    confirmations: Annotated[
        int,
        Field(_number(1, 255), "blocks that a lane has been on chain for when it counts; at most until it is final"),
    ] = 1


@dataclass(frozen=True, slots=True)
class RequesterConfig:
    """The lanes that this node opens before it needs them."""

    lanes_ahead: Annotated[
        int, Field(_number(0, 16), "lanes opened for nodes that it is likely to hire, of node.lane each; 0: none")
    ] = 0


@dataclass(frozen=True, slots=True)
class P2PConfig:
    """How peers reach this node and how it finds them."""

    listen: Annotated[str, Field(_only, "multiaddr to listen on")] = "/ip4/0.0.0.0/tcp/4701"
    announce: Annotated[tuple[str, ...], Field(_texts, "multiaddrs told to others; empty: those listened on")] = ()
    bootnodes: Annotated[tuple[str, ...], Field(_texts, "multiaddrs with /p2p/ID of nodes to join by")] = ()
    fast: Annotated[bool, Field(_flag, "beat every 5 s, not 30 s; for local networks, all nodes alike")] = False


@dataclass(frozen=True, slots=True)
class ChainConfig:
    """The chain that holds stake and escrow."""

    rpc_urls: Annotated[tuple[str, ...], Field(_urls, "JSON-RPC endpoints, in order")] = ("http://127.0.0.1:8545",)
    deployment: Annotated[Path | None, Field(_path, "addresses file that the deployment wrote")] = None
    poll_ms: Annotated[int | None, Field(_number(50, 60_000), "between two looks; unset: what suits the chain")] = None
    max_fee_gwei: Annotated[int, Field(_number(1, 1_000_000), "per gas; while gas is dearer nothing is sent")] = 500


ALL_BUT_ONE = float(max(1, len(os.sched_getaffinity(0)) - 1))


@dataclass(frozen=True, slots=True)
class ExecutorConfig:
    """The containers that run models."""

    docker_host: Annotated[str, Field(_text, "Docker Engine or Podman socket")] = "unix:///var/run/docker.sock"
    image: Annotated[str, Field(_text, "runner image; empty: the one that belongs to this release")] = ""
    store: Annotated[Path, Field(_path, "models and blobs by content id; a machine's nodes may share it")] = Path(
        "store"
    )
    models: Annotated[
        tuple[str, ...],
        Field(_models, "ids of models to fetch, serve and check that the network has not calibrated; any: all"),
    ] = ()
    models_limit: Annotated[int, Field(_DISK, "no model is fetched that makes all of them take more")] = 128 * 2**30
    store_bytes: Annotated[int, Field(_DISK, "quota of all models; the least recently used are evicted; 0: none")] = 0
    memory: Annotated[int, Field(_MEMORY, "most memory for one container")] = 4 * 2**30
    cpus: Annotated[float, Field(_cpus, "cores for one container; all but one unless set")] = ALL_BUT_ONE
    hours: Annotated[
        str, Field(read_hours, 'when jobs are taken, as "22:00-07:00, sat-sun", local time; empty: always')
    ] = ""
    slots: Annotated[int, Field(_number(1, 64), "containers at the same time")] = 1
    at_once: Annotated[int, Field(_number(1, 32), "answers side by side in one of them")] = 8
    host_slots: Annotated[
        int, Field(_number(0, 64), "containers at the same time over all nodes that share the store; 0: no limit")
    ] = 0
    keep_s: Annotated[int, Field(_number(0, 86_400), "seconds that a model stays loaded without work")] = 600
    start_ahead: Annotated[
        bool, Field(_flag, "load the most used model of the last hour again before a job comes, after a restart")
    ] = True
    host_engines: Annotated[
        int, Field(_number(0, 64), "models loaded without work over all nodes that share the store; 0: no limit")
    ] = 0
    runtime: Annotated[
        str, Field(_runtime, "Docker's runtime for containers: runc, runsc or another name; empty: Docker's default")
    ] = ""
    gpu_access: Annotated[
        str, Field(_one_of(GPU_ACCESSES), "how a container gets its card: devices, runtime, cdi; auto: what Docker has")
    ] = GPU_ACCESSES[0]
    gpu_reserve: Annotated[int, Field(_DISK, "memory of each card that no job is given")] = 0
    only_idle: Annotated[
        bool, Field(_flag, "jobs leave a card while other programs use it: paused at once, moved after 15 s")
    ] = False
    gpu_power: Annotated[
        int, Field(_number(0, 2_000), "watts that each card may draw, set where this user may; 0: as it is")
    ] = 0


@dataclass(frozen=True, slots=True)
class ApiConfig:
    """How the command line and the dashboard reach the daemon."""

    socket: Annotated[Path, Field(_path, "Unix socket for the command line")] = Path("vcoin.sock")


@dataclass(frozen=True, slots=True)
class GatewayConfig:
    """The address at which programs with a key ask for jobs as they would ask OpenAI."""

    listen: Annotated[str, Field(_tcp_address, "serve OpenAI's interface at this address; empty: nowhere")] = ""
    hosts: Annotated[tuple[str, ...], Field(_hosts, "names by which a proxy asks, beside addresses and localhost")] = ()
    certificate: Annotated[Path | None, Field(_path, "PEM file for TLS; other machines need it or a proxy")] = None
    certificate_key: Annotated[Path | None, Field(_path, "PEM file of its key, without a password")] = None


@dataclass(frozen=True, slots=True)
class MetricsConfig:
    """The address at which Prometheus reads the node's numbers."""

    listen: Annotated[str, Field(_loopback, "serve /metrics at this address of this machine; empty: nowhere")] = ""


@dataclass(frozen=True, slots=True)
class LogConfig:
    """The log of the daemon on stderr."""

    format: Annotated[str, Field(_one_of(LOG_FORMATS), "human, json, or auto: human on a terminal")] = "auto"
    level: Annotated[str, Field(_one_of(LOG_LEVELS), ", ".join(LOG_LEVELS))] = "info"


@dataclass(frozen=True, slots=True)
class Setting:
    """One value as `config show` prints it; `origin` names the layer that set it."""

    key: str
    value: Any
    origin: str
    help: str


@dataclass(frozen=True, slots=True)
class Config:
    """Everything the operator chose. `origins` holds the layer of every key that is not a default."""

    node: NodeConfig
    provider: ProviderConfig
    requester: RequesterConfig
    p2p: P2PConfig
    chain: ChainConfig
    executor: ExecutorConfig
    api: ApiConfig
    gateway: GatewayConfig
    metrics: MetricsConfig
    log: LogConfig
    origins: Mapping[str, str]

    def settings(self) -> Iterator[Setting]:
        """Every key in order, with value, origin and meaning."""
        for key, meaning in _KEYS.items():
            section, name = key.split(".")
            value = getattr(getattr(self, section), name)
            yield Setting(key, value, self.origins.get(key, "default"), meaning.help)


_SECTIONS: dict[str, type[Any]] = {name: kind for name, kind in get_type_hints(Config).items() if name != "origins"}

_KEYS: dict[str, Field] = {
    f"{section}.{name}": hint.__metadata__[0]
    for section, kind in _SECTIONS.items()
    for name, hint in get_type_hints(kind, include_extras=True).items()
}


@dataclass(frozen=True, slots=True)
class _Given:
    """A value as some layer gave it; relative paths start at `base`."""

    value: object
    origin: str
    base: Path


def load(environment: Mapping[str, str], flags: Mapping[str, object] | None = None, file: Path | None = None) -> Config:
    """Put the layers together.

    Args: environment, usually os.environ; flags, by key; file, which must then exist. Without `file` it is the one
    that VCOIN_CONFIG names, else config.toml of the data directory if there is one.
    Raises: ConfigError for a key that does not exist or a value that cannot be used, with where it stands.
    """
    below = {**_from_environment(environment), **_from_flags(flags or {})}
    file = file or (Path(environment[FILE_VARIABLE]) if environment.get(FILE_VARIABLE) else None)
    given = {**_from_file(file or _default_file(below), required=file is not None), **below}
    values = {key: _read(key, entry) for key, entry in given.items()}
    data_dir = values.setdefault("node.data_dir", _home())
    # The other paths with a default lie in the data directory.
    values.setdefault("executor.store", data_dir / ExecutorConfig().store)
    values.setdefault("api.socket", data_dir / ApiConfig().socket)
    sections = {
        section: kind(**{key.split(".")[1]: value for key, value in values.items() if key.startswith(section + ".")})
        for section, kind in _SECTIONS.items()
    }
    return Config(**sections, origins={key: entry.origin for key, entry in given.items()})


def _home() -> Path:
    return Path(os.path.expanduser(NodeConfig().data_dir))


def _default_file(below: Mapping[str, _Given]) -> Path:
    chosen = below.get("node.data_dir")
    data_dir = _read("node.data_dir", chosen) if chosen else _home()
    return Path(data_dir) / FILE_NAME


def _from_file(path: Path, *, required: bool) -> dict[str, _Given]:
    plain = read_toml(path, required=required)
    given = {}
    for section, body in plain.items():
        if section not in _SECTIONS:
            raise _unknown(section, tuple(_SECTIONS), f"section in {path}")
        if not isinstance(body, dict):
            raise ConfigError(f"{path}: {section} is a section, write [{section}]")
        for name, value in body.items():
            key = _known(f"{section}.{name}", f"key in {path}")
            given[key] = _Given(value, str(path), path.parent.absolute())
    return given


def _from_environment(environment: Mapping[str, str]) -> dict[str, _Given]:
    names = {PREFIX + key.replace(".", "_").upper(): key for key in _KEYS}
    given = {}
    for variable, value in environment.items():
        if variable in _NO_KEYS or not variable.startswith(PREFIX):
            continue
        if variable not in names:
            raise _unknown(variable, tuple(names), "environment variable")
        given[names[variable]] = _Given(value, f"environment {variable}", Path.cwd())
    return given


def _from_flags(flags: Mapping[str, object]) -> dict[str, _Given]:
    return {
        _known(key, "flag"): _Given(value, "flag --" + key.replace(".", "-").replace("_", "-"), Path.cwd())
        for key, value in flags.items()
    }


def _known(key: str, where: str) -> str:
    if key not in _KEYS:
        raise _unknown(key, tuple(_KEYS), where)
    return key


def _unknown(name: str, names: tuple[str, ...], where: str) -> ConfigError:
    close = difflib.get_close_matches(name[:MAX_SHOWN], names, n=1)
    hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(names)}"
    return ConfigError(f"unknown {where}: {_cut(name)}", hint)


def _read(key: str, entry: _Given) -> Any:
    try:
        return _KEYS[key].read(entry.value, entry.base)
    except ValueError as error:
        raise ConfigError(f"{key} = {_cut(repr(entry.value))} ({entry.origin}): {error}") from error


def _cut(text: str) -> str:
    return text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "..."
