"""The inference profile as a compose file: Docker reads it, the Engine makes of it what the sandbox asks for."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from executor import images
from executor.compose.comparison import request_values
from executor.compose.profile import NETWORK, REFERENCE, InferenceProfile, compose_file
from executor.compose.reading import BadComposeFile, check_file, read_config
from executor.containers.sandbox import Limits
from node.api.faults import Exit
from node.cli import main
from protocol.errors import ExecutorError
from tests.support.runner_context import docker_host

pytestmark = pytest.mark.docker

CARD = "GPU-5a1c0de0-0000-4000-8000-000000000001"
ENVIRONMENT = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")}
NOT_COMPARED = {
    # Labels and streams of the node's own; NetworkDisabled says again what NetworkMode says.
    *("Labels", "AttachStdin", "AttachStdout", "AttachStderr", "StdinOnce", "NetworkDisabled"),
    "HostConfig",
}


@pytest.fixture
def profile(tmp_path: Path) -> InferenceProfile:
    (tmp_path / "models" / "abc").mkdir(parents=True)
    for name in ("input", "output"):
        (tmp_path / name).mkdir()
    return InferenceProfile(images.inference_tag(), Limits(cpu_millis=1500), str(tmp_path / "models"), model="abc")


def written(profile: InferenceProfile, folder: Path, *edits: tuple[str, str]) -> Path:
    """The file of a profile, with texts replaced."""
    text = compose_file(profile)
    for old, new in edits:
        assert old in text, old
        text = text.replace(old, new)
    path = folder / "docker-compose.yaml"
    path.write_text(text)
    return path


def weaker(path: Path, profile: InferenceProfile, **environment: str) -> list[str]:
    return [each.name for each in check_file(path, profile, {**ENVIRONMENT, **environment})]


def test_reference_is_what_the_profile_says_and_docker_accepts_it() -> None:
    profile = InferenceProfile(models=str(REFERENCE.parent / "models"))
    assert REFERENCE.read_text() == compose_file(InferenceProfile())
    config = read_config(REFERENCE, {**ENVIRONMENT, "MODEL_NAME": "abc", "TIMEOUT": "60"})
    assert config["services"]["inference"]["image"] == "vcoin/inference:latest"
    assert config["services"]["inference"]["environment"]["TIMEOUT"] == "60"
    assert config["networks"][NETWORK]["internal"] is True
    assert weaker(REFERENCE, profile, MODEL_NAME="abc") == []


def test_every_field_of_the_sandboxs_request_is_compared(profile: InferenceProfile) -> None:
    body: Any = profile.sandbox().container()
    compared = request_values({**body, "Entrypoint": None, "Cmd": None}).keys()
    assert (body.keys() | body["HostConfig"].keys()) - NOT_COMPARED == compared - {"Entrypoint", "Cmd"}


@pytest.mark.parametrize("card", ["", CARD])
def test_file_of_a_node_is_as_strong_as_its_sandbox(profile: InferenceProfile, tmp_path: Path, card: str) -> None:
    given = InferenceProfile(profile.image, profile.limits, profile.models, model="abc", card=card)
    assert weaker(written(given, tmp_path), profile) == []


def test_card_of_the_caller_is_the_one_that_is_reserved(profile: InferenceProfile, tmp_path: Path) -> None:
    other = CARD[:-1] + "2"
    path = written(InferenceProfile(profile.image, profile.limits, profile.models, model="abc", card=CARD), tmp_path)
    assert weaker(path, profile, GPU_ID=other) == []
    service = read_config(path, {**ENVIRONMENT, "GPU_ID": other})["services"]["inference"]
    assert service["deploy"]["resources"]["reservations"]["devices"][0]["device_ids"] == [other]


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ('image: "vcoin/inference:', 'image: "stranger/inference:', "Image"),
        ('user: "1000:1000"', 'user: "0:0"', "User"),
        ("read_only: true", "read_only: false", "ReadonlyRootfs"),
        ('cap_drop: ["ALL"]', 'cap_drop: ["NET_RAW"]', "CapDrop"),
        ('["no-new-privileges:true"]', "[]", "SecurityOpt"),
        ('["no-new-privileges:true"]', '["no-new-privileges:false"]', "SecurityOpt"),
        ('["no-new-privileges:true"]', '["no-new-privileges:true", "seccomp:unconfined"]', "SecurityOpt"),
        ("privileged: false", "privileged: true", "Privileged"),
        ('ipc: "private"', 'ipc: "host"', "IpcMode"),
        ('cgroup: "private"', 'cgroup: "host"', "CgroupnsMode"),
        ("init: true", "init: false", "Init"),
        ('    mem_limit: "${MAX_MEMORY:-2147483648}"\n', "", "Memory"),
        ('memswap_limit: "${MAX_MEMORY:-2147483648}"', "memswap_limit: -1", "MemorySwap"),
        ("cpus: 1.5", "cpus: 64", "NanoCpus"),
        ("pids_limit: 256", "pids_limit: -1", "PidsLimit"),
        ("shm_size: 67108864", 'shm_size: "8gb"', "ShmSize"),
        ("oom_score_adj: 500", "oom_score_adj: -1000", "OomScoreAdj"),
        ('restart: "no"', 'restart: "always"', "RestartPolicy"),
        (",noexec", "", "Tmpfs"),
        ("size=268435456,", "", "Tmpfs"),
        ("hard: 1024", "hard: 1048576", "Ulimits"),
        ('driver: "local"', 'driver: "json-file"', "LogConfig"),
        ('OMP_WAIT_POLICY: "PASSIVE"', 'LD_PRELOAD: "/models/abc/x.so"', "Env"),
        ("TIMEOUT:-120", "TIMEOUT:-86400", "Env"),
        ('"target": "/input", "read_only": true', '"target": "/input", "read_only": false', "Mounts"),
        ('"source": "./input"', '"source": "/"', "Mounts"),
        ("internal: true", "internal: false", "NetworkMode"),
        ('enable_icc: "false"', 'enable_icc: "true"', "NetworkMode"),
        ('inhibit_ipv4: "true"', 'inhibit_ipv4: "false"', "NetworkMode"),
        (f'networks: ["{NETWORK}"]', 'network_mode: "host"', "NetworkMode"),
        ("init: true", 'init: true\n    entrypoint: ["/bin/sh"]', "Entrypoint"),
        ("init: true", "init: true\n    stdin_open: true", "OpenStdin"),
        ("init: true", 'init: true\n    cap_add: ["SYS_ADMIN"]', "services.inference.cap_add"),
        ("init: true", 'init: true\n    pid: "host"', "services.inference.pid"),
        ("init: true", 'init: true\n    devices: ["/dev/kmsg"]', "services.inference.devices"),
        ("init: true", 'init: true\n    ports: ["80:80"]', "services.inference.ports"),
        ("init: true", 'init: true\n    runtime: "sysbox"', "Runtime"),
        ("init: true", "init: true\n    deploy: {replicas: 9}", "services.inference.deploy replicas"),
        ("networks:\n  vcoin", "  more: {image: x, network_mode: none}\nnetworks:\n  vcoin", "services.more"),
    ],
)
def test_weaker_edit_is_found_by_its_field(
    profile: InferenceProfile, tmp_path: Path, old: str, new: str, field: str
) -> None:
    assert weaker(written(profile, tmp_path, (old, new)), profile) == [field]


def test_secret_file_of_the_machine_is_found(profile: InferenceProfile, tmp_path: Path) -> None:
    path = written(profile, tmp_path, ("init: true", "init: true\n    secrets: [s]"))
    path.write_text(path.read_text() + "secrets: {s: {file: /etc/shadow}}\n")
    assert weaker(path, profile) == ["secrets", "services.inference.secrets"]


def test_stronger_edit_is_no_finding(profile: InferenceProfile, tmp_path: Path) -> None:
    path = written(
        profile,
        tmp_path,
        ("MAX_MEMORY:-2147483648", "MAX_MEMORY:-1073741824"),
        ("pids_limit: 256", "pids_limit: 64"),
        (f'networks: ["{NETWORK}"]', 'network_mode: "none"\n    runtime: "runsc"'),
    )
    assert weaker(path, profile) == []


def test_runtime_of_the_owner_is_kept(profile: InferenceProfile, tmp_path: Path) -> None:
    strict = dataclasses.replace(profile, runtime="runsc")
    assert weaker(written(strict, tmp_path), strict) == []
    assert weaker(written(strict, tmp_path, ('runtime: "runsc"', 'runtime: "runc"')), strict) == ["Runtime"]
    assert weaker(written(profile, tmp_path), strict) == ["Runtime"]


def test_variable_that_opens_the_container_is_found(profile: InferenceProfile, tmp_path: Path) -> None:
    path = written(profile, tmp_path)
    assert weaker(path, profile, MAX_MEMORY=str(1 << 40)) == ["Env", "Memory", "MemorySwap"]
    (tmp_path / ".env").write_text("TIMEOUT=9000\n")
    assert weaker(path, profile) == ["Env"]


@pytest.mark.parametrize("text", ["", "[", "services: {}\n", "services: {other: {image: x}}\n", "services: 3\n"])
def test_file_that_is_no_profile_is_refused(profile: InferenceProfile, tmp_path: Path, text: str) -> None:
    path = tmp_path / "docker-compose.yaml"
    path.write_text(text)
    with pytest.raises(BadComposeFile):
        check_file(path, profile, ENVIRONMENT)


def test_machine_without_compose_is_told_the_package(profile: InferenceProfile, tmp_path: Path) -> None:
    (tmp_path / "docker").write_text("#!/bin/sh\necho \"docker: 'compose' is not a docker command.\" >&2\nexit 1\n")
    (tmp_path / "docker").chmod(0o755)
    with pytest.raises(ExecutorError, match="apt-get install docker-compose"):
        check_file(written(profile, tmp_path), profile, {"PATH": f"{tmp_path}:/usr/bin:/bin"})


def test_command_writes_a_file_and_names_each_field_that_an_edit_made_weaker(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VCOIN_NODE_DATA_DIR", str(tmp_path))
    path = tmp_path / "compose.yaml"
    assert main(["node", "compose", "--output", str(path)]) == Exit.OK
    assert main(["node", "compose", "--check", str(path)]) == Exit.OK
    path.write_text(path.read_text().replace("pids_limit: 256", "pids_limit: 0").replace("init: true", "init: false"))
    capsys.readouterr()
    assert main(["node", "compose", "--check", str(path), "--json"]) == Exit.FAILED
    weak = json.loads(capsys.readouterr().out)["weaker"]
    assert [(each["field"], each["expected"], each["found"]) for each in weak] == [
        ("Init", "yes", "no"),
        ("PidsLimit", "256", "0"),
    ]


@pytest.fixture
def project(profile: InferenceProfile, tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A compose file whose network has a name of its own, and the name of its project; gone at the end."""
    name = f"vcoin-test-{uuid.uuid4().hex[:8]}"
    path = written(profile, tmp_path, ("name: vcoin\n", f"name: {name}\n"), (f'name: "{NETWORK}"', f'name: "{name}"'))
    yield path, name
    compose(path, "down", "--timeout", "0")


def compose(path: Path, *arguments: str) -> str:
    command = ["docker", "--host", docker_host(), "compose", "--file", str(path), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_engine_makes_of_the_file_what_the_sandbox_asks_for(
    profile: InferenceProfile, project: tuple[Path, str], tmp_path: Path
) -> None:
    path, name = project
    api = docker.APIClient(base_url=docker_host(), version="auto")
    own = InferenceProfile(profile.image, profile.limits, profile.models, str(tmp_path), "abc")
    ours = api.create_container_from_config(own.sandbox().container())["Id"]
    try:
        compose(path, "create")
        (made,) = api.containers(all=True, filters={"label": f"com.docker.compose.project={name}"})
        wanted, found = (api.inspect_container(each) for each in (ours, made["Id"]))
    finally:
        api.remove_container(ours, force=True)
        api.close()
    assert (found["Config"]["User"], found["Image"]) == (wanted["Config"]["User"], wanted["Image"])
    assert sorted(found["Config"]["Env"]) == sorted(wanted["Config"]["Env"])
    assert found["Config"]["Entrypoint"] == wanted["Config"]["Entrypoint"]
    differ = {key for key in wanted["HostConfig"] if not same(wanted["HostConfig"][key], found["HostConfig"][key], key)}
    # Another network, by its name, which reaches as little: see below.
    assert differ == {"NetworkMode"}
    assert found["HostConfig"]["NetworkMode"] == name
    assert [each | {"Mode": ""} for each in mounts(found)] == [each | {"Mode": ""} for each in mounts(wanted)]


def same(wanted: Any, found: Any, key: str) -> bool:
    # In an order of their own.
    if key in ("Ulimits", "Mounts"):
        return sorted(map(repr, wanted)) == sorted(map(repr, found))
    if key == "SecurityOpt":
        return wanted == [each.removesuffix(":true") for each in found]
    return (wanted or None) == (found or None)


def mounts(inspected: Any) -> list[dict[str, Any]]:
    return sorted(inspected["Mounts"], key=lambda each: str(each["Destination"]))


LISTEN = "import socket; s = socket.create_server(('', 7)); print('up', flush=True)\nwhile True: s.accept()"
REACH = """
import socket, sys
for address in sys.argv[1:]:
    try:
        socket.create_connection((address, 7), 2).close()
        print("reached")
    except OSError as error:
        print("alone")
"""


@pytest.mark.parametrize(("option", "found"), [("false", "alone"), ("true", "reached")])
def test_container_on_the_network_reaches_no_neighbour(project: tuple[Path, str], option: str, found: str) -> None:
    path, name = project
    path.write_text(path.read_text().replace('enable_icc: "false"', f'enable_icc: "{option}"'))
    run = ("run", "--rm", "--no-deps", "--entrypoint", "/usr/bin/python3")
    listener = f"{name}-listener"
    command = ["docker", "--host", docker_host(), "compose", "--file", str(path), *run, "--name", listener]
    api = docker.APIClient(base_url=docker_host(), version="auto")
    with subprocess.Popen([*command, "inference", "-c", LISTEN], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"up\n"
            address = api.inspect_container(listener)["NetworkSettings"]["Networks"][name]["IPAddress"]
            assert compose(path, *run, "inference", "-c", REACH, address).split() == [found]
        finally:
            api.remove_container(listener, force=True)
            api.close()


@pytest.mark.parametrize(("option", "host_is_there"), [("true", False), ("false", True)])
def test_container_on_the_network_does_not_reach_the_host(
    project: tuple[Path, str], option: str, host_is_there: bool
) -> None:
    path, name = project
    path.write_text(path.read_text().replace('inhibit_ipv4: "true"', f'inhibit_ipv4: "{option}"'))
    run = ("run", "--rm", "--no-deps", "--entrypoint", "/usr/bin/python3")
    routes = compose(path, *run, "inference", "-c", "print(open('/proc/net/route').read())")
    compose(path, "create")
    bridge = f"br-{network_id(name)[:12]}"
    addresses = subprocess.run(["ip", "-4", "addr", "show", bridge], capture_output=True, text=True, check=True).stdout
    assert ("inet " in addresses) == host_is_there
    # The line of names, and the network itself: no route leads further.
    assert len(routes.strip().splitlines()) == 2, routes


def network_id(name: str) -> str:
    api = docker.APIClient(base_url=docker_host(), version="auto")
    try:
        return str(api.inspect_network(name)["Id"])
    finally:
        api.close()
