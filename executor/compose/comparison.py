"""Compares a compose file, as `docker compose config` reads it, with the sandbox's own request, field by field. Pure.

A field may be stronger than the sandbox's: less memory, fewer processes. A key that the reference does not have is a
finding too: most of them open the container. The words of a field are those of the Docker Engine's API.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from executor.compose.profile import NETWORK, NO_REACH, SERVICE

Values = dict[str, Any]

_READ = """
    cap_drop cgroup command cpus deploy entrypoint environment image init ipc logging mem_limit memswap_limit
    network_mode networks oom_score_adj pids_limit privileged pull_policy read_only restart runtime security_opt
    shm_size stdin_open tmpfs ulimits user volumes
"""
_NAMES = "container_name hostname labels"
SERVICE_KEYS = frozenset(_READ.split()) | frozenset(_NAMES.split())
"""What the comparison reads, and what names a container and does nothing else."""
TOP_KEYS = frozenset({"name", "services", "networks"})
DEFAULT_RUNTIME = "runc"
RUNTIMES = frozenset({DEFAULT_RUNTIME, "runsc", "nvidia"})
"""Those that are as strong as Docker's default."""
LIMITS = frozenset({"MAX_MEMORY", "TIMEOUT"})
"""Variables that may be less than the sandbox's."""
ISOLATED = f"{NETWORK}, internal, no neighbours, no host"


@dataclass(frozen=True, slots=True)
class WeakField:
    """A field in which a compose file is weaker than the sandbox, and both values as a person reads them."""

    name: str
    expected: str
    found: str


def request_values(body: Mapping[str, Any]) -> Values:
    """The fields of a request of the sandbox as they are compared. `body` is that of POST /containers/create."""
    host = body["HostConfig"]
    return {
        "Image": body["Image"],
        "User": body["User"],
        "Env": dict(each.split("=", 1) for each in body["Env"]),
        "Entrypoint": body.get("Entrypoint"),
        "Cmd": body.get("Cmd"),
        "OpenStdin": body["OpenStdin"],
        # In a compose file: what reaches as little as no network at all.
        "NetworkMode": host["NetworkMode"],
        "ReadonlyRootfs": host["ReadonlyRootfs"],
        "CapDrop": host["CapDrop"],
        "SecurityOpt": sorted(host["SecurityOpt"]),
        "Privileged": host["Privileged"],
        "IpcMode": host["IpcMode"],
        "CgroupnsMode": host["CgroupnsMode"],
        "Init": host["Init"],
        "Memory": host["Memory"],
        "MemorySwap": host["MemorySwap"],
        "NanoCpus": host["NanoCpus"],
        "PidsLimit": host["PidsLimit"],
        "ShmSize": host["ShmSize"],
        "Tmpfs": {path: _options(text) for path, text in host["Tmpfs"].items()},
        "Ulimits": {each["Name"]: (each["Soft"], each["Hard"]) for each in host["Ulimits"]},
        "Mounts": {each["Target"]: _mount(each["Source"], each["ReadOnly"]) for each in host["Mounts"]},
        "LogConfig": (host["LogConfig"]["Type"], dict(host["LogConfig"]["Config"])),
        "RestartPolicy": host["RestartPolicy"]["Name"],
        "OomScoreAdj": host["OomScoreAdj"],
        "Runtime": host["Runtime"] or DEFAULT_RUNTIME,
        "DeviceRequests": [each for request in host["DeviceRequests"] for each in request["DeviceIDs"]],
    }


def compose_values(config: Mapping[str, Any]) -> Values:
    """The same fields of a compose file. Args: config, what `docker compose config --format json` prints."""
    service = config["services"][SERVICE]
    log = service.get("logging") or {}
    return {
        "Image": service.get("image"),
        "User": service.get("user", "root"),
        "Env": {name: str(value) for name, value in (service.get("environment") or {}).items()},
        "Entrypoint": service.get("entrypoint"),
        "Cmd": service.get("command"),
        "OpenStdin": bool(service.get("stdin_open")),
        "NetworkMode": _network(service, config.get("networks") or {}),
        "ReadonlyRootfs": bool(service.get("read_only")),
        "CapDrop": service.get("cap_drop") or [],
        "SecurityOpt": sorted(str(each).removesuffix(":true") for each in service.get("security_opt") or []),
        "Privileged": bool(service.get("privileged")),
        "IpcMode": service.get("ipc", "shareable"),
        "CgroupnsMode": service.get("cgroup", "the Engine's default"),
        "Init": bool(service.get("init")),
        "Memory": int(service.get("mem_limit") or 0),
        "MemorySwap": int(service.get("memswap_limit") or 0),
        "NanoCpus": round(float(service.get("cpus") or 0) * 10**9),
        "PidsLimit": int(service.get("pids_limit") or 0),
        "ShmSize": int(service.get("shm_size") or 0),
        "Tmpfs": {path: _options(text) for path, _, text in (e.partition(":") for e in service.get("tmpfs") or [])},
        "Ulimits": {name: _ulimit(each) for name, each in (service.get("ulimits") or {}).items()},
        "Mounts": {
            each.get("target"): _mount(each.get("source"), bool(each.get("read_only")), each.get("type"))
            for each in service.get("volumes") or []
        },
        "LogConfig": (log.get("driver", "json-file"), dict(log.get("options") or {})),
        "RestartPolicy": service.get("restart", "no"),
        "OomScoreAdj": int(service.get("oom_score_adj") or 0),
        "Runtime": service.get("runtime") or DEFAULT_RUNTIME,
        "DeviceRequests": [card for device in _reserved(service) for card in device.get("device_ids") or ["all"]],
    }


def weak_fields(expected: Values, config: Mapping[str, Any]) -> tuple[WeakField, ...]:
    """Every field in which the compose file is weaker, then what stands in it and not in the reference.

    Args: expected, see `request_values`. Raises: KeyError if the file has no service of the profile.
    """
    found = compose_values(config)
    weak = [
        WeakField(name, shown(_wanted(name, value)), shown(found[name]))
        for name, value in expected.items()
        if not RULES.get(name, _same)(value, found[name])
    ]
    return (*weak, *_strangers(config))


def _wanted(name: str, value: Any) -> Any:
    return ISOLATED if name == "NetworkMode" else value


def _strangers(config: Mapping[str, Any]) -> list[WeakField]:
    """What the reference does not have: keys, services, networks, parts of `deploy`."""
    service = config["services"][SERVICE]
    extra = {f"services.{SERVICE}.{key}": service[key] for key in service.keys() - SERVICE_KEYS}
    extra |= {key: config[key] for key in config.keys() - TOP_KEYS if not key.startswith("x-")}
    extra |= {f"services.{name}": "a service" for name in config["services"].keys() - {SERVICE}}
    deploy = dict(service.get("deploy") or {})
    resources = dict(deploy.pop("resources", None) or {})
    reservations = dict(resources.pop("reservations", None) or {})
    reservations.pop("devices", None)
    for part in (deploy, resources, reservations):
        extra |= {f"services.{SERVICE}.deploy {key}": value for key, value in part.items() if value}
    for device in _reserved(service):
        if device.get("driver") != "nvidia" or device.get("capabilities") != ["gpu"] or device.get("options"):
            extra[f"services.{SERVICE}.deploy device"] = device
    return [WeakField(key, "nothing", shown(value)) for key, value in sorted(extra.items())]


def _reserved(service: Mapping[str, Any]) -> list[Values]:
    resources = (service.get("deploy") or {}).get("resources") or {}
    return list((resources.get("reservations") or {}).get("devices") or [])


def _network(service: Mapping[str, Any], networks: Mapping[str, Any]) -> str:
    """`none`, or ISOLATED for a network that reaches as little; else what it is."""
    if mode := service.get("network_mode"):
        return str(mode)
    names = list(service.get("networks") or {"default": None})
    if names != [NETWORK] or (service.get("networks") or {}).get(NETWORK):
        return ", ".join(names)
    made = networks.get(NETWORK) or {}
    options = made.get("driver_opts") or {}
    facts = {
        "internal": bool(made.get("internal")),
        "no neighbours, no host": options == NO_REACH,
        NETWORK: made.get("name") == NETWORK,
    }
    is_plain = made.keys() <= {"name", "internal", "driver_opts", "ipam", "driver"} and not made.get("ipam")
    if all(facts.values()) and is_plain and made.get("driver", "bridge") == "bridge":
        return ISOLATED
    return ", ".join([NETWORK, *(f"not {fact}" for fact, holds in facts.items() if not holds)])


def _mount(source: object, read_only: bool, kind: object = "bind") -> tuple[str, str, str]:
    return str(kind), str(source), "read-only" if read_only else "writable"


def _ulimit(each: Any) -> tuple[int, int]:
    return (int(each.get("soft", 0)), int(each.get("hard", 0))) if isinstance(each, dict) else (int(each), int(each))


def _options(text: str) -> dict[str, str]:
    pairs = (each.partition("=") for each in text.split(",") if each)
    return {name: value for name, _, value in pairs}


def shown(value: Any) -> str:
    """A value on one line."""
    if isinstance(value, dict):
        return ", ".join(f"{key}={shown(each)}" if each != "" else key for key, each in sorted(value.items()))
    if isinstance(value, list | tuple):
        return ", ".join(shown(each) for each in value) or "nothing"
    return {"True": "yes", "False": "no", "None": "nothing"}.get(str(value), str(value))


def _same(expected: Any, found: Any) -> bool:
    return bool(expected == found)


def _at_most(expected: int, found: int) -> bool:
    # For the Engine 0 and -1 mean that there is no limit.
    return 0 < found <= expected


def _environment(expected: dict[str, str], found: dict[str, str]) -> bool:
    if expected.keys() != found.keys():
        return False
    return all(
        _is_count(found[name]) and _at_most(int(value), int(found[name])) if name in LIMITS else found[name] == value
        for name, value in expected.items()
    )


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 19


def _tmpfs(expected: dict[str, dict[str, str]], found: dict[str, dict[str, str]]) -> bool:
    if expected.keys() != found.keys():
        return False
    for path, options in expected.items():
        size, given = options.get("size", "0"), found[path].get("size", "")
        rest = {name: value for name, value in found[path].items() if name != "size"}
        if rest != {name: value for name, value in options.items() if name != "size"}:
            return False
        if not _is_count(given) or not _at_most(int(size), int(given)):
            return False
    return True


def _ulimits(expected: dict[str, tuple[int, int]], found: dict[str, tuple[int, int]]) -> bool:
    return expected.keys() == found.keys() and all(
        0 <= found[name][0] <= soft and 0 <= found[name][1] <= hard for name, (soft, hard) in expected.items()
    )


RULES: dict[str, Callable[[Any, Any], bool]] = {
    "CapDrop": lambda expected, found: set(expected) <= set(found),
    "Env": _environment,
    "Memory": _at_most,
    "MemorySwap": _at_most,
    "NanoCpus": _at_most,
    "NetworkMode": lambda expected, found: found in (expected, ISOLATED),
    "OomScoreAdj": lambda expected, found: found >= expected,
    "PidsLimit": _at_most,
    "Runtime": lambda expected, found: found == expected or (expected == DEFAULT_RUNTIME and found in RUNTIMES),
    "ShmSize": _at_most,
    "Tmpfs": _tmpfs,
    "Ulimits": _ulimits,
}
"""How a field may differ; one that is not named is equal."""
