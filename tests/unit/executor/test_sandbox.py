"""The container request, field by field: what is not named here is not a control."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from executor.containers.sandbox import MIB, Limits, Mount, Sandbox


@pytest.fixture
def sandbox() -> Sandbox:
    return Sandbox(
        image="vcoin-runner:abc",
        limits=Limits(cpu_millis=2500, memory_bytes=300 * MIB),
        mounts=(Mount("/srv/in", "/input"), Mount("/srv/out", "/output", read_only=False)),
        environment={"MODEL_PATH": "/models/abc"},
        labels={"node": "0x1", "job": "ff"},
    )


FIELDS: dict[str, Any] = {
    "NetworkMode": "none",
    "ReadonlyRootfs": True,
    "CapDrop": ["ALL"],
    "SecurityOpt": ["no-new-privileges"],
    "Privileged": False,
    "IpcMode": "private",
    "CgroupnsMode": "private",
    "Init": True,
    "Memory": 300 * MIB,
    "MemorySwap": 300 * MIB,
    "NanoCpus": 2_500_000_000,
    "PidsLimit": 256,
    "ShmSize": 64 * MIB,
    "Tmpfs": {"/tmp": f"size={256 * MIB},mode=1777,nosuid,nodev,noexec"},
    "Ulimits": [
        {"Name": "nofile", "Soft": 1024, "Hard": 1024},
        {"Name": "core", "Soft": 0, "Hard": 0},
        {"Name": "fsize", "Soft": 64 * MIB, "Hard": 64 * MIB},
    ],
    "Mounts": [
        {"Type": "bind", "Source": "/srv/in", "Target": "/input", "ReadOnly": True},
        {"Type": "bind", "Source": "/srv/out", "Target": "/output", "ReadOnly": False},
    ],
    "LogConfig": {"Type": "local", "Config": {"max-size": "1m", "max-file": "1", "compress": "false"}},
    "RestartPolicy": {"Name": "no"},
    "OomScoreAdj": 500,
    "Runtime": "",
    "DeviceRequests": [],
}


def test_every_field_of_the_host_config_has_a_test(sandbox: Sandbox) -> None:
    assert sandbox.host_config().keys() == FIELDS.keys()


@pytest.mark.parametrize("name", FIELDS)
def test_field_of_the_host_config(sandbox: Sandbox, name: str) -> None:
    assert sandbox.host_config()[name] == FIELDS[name]


def test_container_runs_as_the_worker_without_a_network(sandbox: Sandbox) -> None:
    body = sandbox.container()
    assert (body["Image"], body["User"], body["NetworkDisabled"]) == ("vcoin-runner:abc", "1000:1000", True)
    assert body["Labels"] == {"org.vcoin.node": "0x1", "org.vcoin.job": "ff"}
    assert "Cmd" not in body
    assert "Entrypoint" not in body


def test_environment_keeps_threads_to_the_quota(sandbox: Sandbox) -> None:
    assert sandbox.container()["Env"] == [
        f"MAX_MEMORY={300 * MIB}",
        "MODEL_PATH=/models/abc",
        "NVIDIA_VISIBLE_DEVICES=void",
        "OMP_NUM_THREADS=2",
        "OMP_WAIT_POLICY=PASSIVE",
        "OPENBLAS_NUM_THREADS=2",
        "TIMEOUT=120",
    ]


@pytest.mark.parametrize(("cpu_millis", "threads"), [(1, 1), (999, 1), (1000, 1), (1999, 1), (4000, 4)])
def test_threads_are_whole_cores_and_at_least_one(cpu_millis: int, threads: int) -> None:
    assert Limits(cpu_millis=cpu_millis).threads == threads


def test_card_is_asked_for_by_its_uuid(sandbox: Sandbox) -> None:
    with_card = dataclasses.replace(sandbox, gpu_uuids=("GPU-1",))
    request = {"Driver": "", "DeviceIDs": ["GPU-1"], "Capabilities": [["gpu"]]}
    assert with_card.host_config()["DeviceRequests"] == [request]
    assert "NVIDIA_VISIBLE_DEVICES=GPU-1" in list(with_card.container()["Env"])  # type: ignore[call-overload]


def test_command_replaces_entry_point_and_arguments(sandbox: Sandbox) -> None:
    body = dataclasses.replace(sandbox, command=("/bin/echo", "a", "b")).container()
    assert (body["Entrypoint"], body["Cmd"]) == (["/bin/echo"], ["a", "b"])


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(Limits)])
def test_limit_of_nothing_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        Limits(**{name: 0})
