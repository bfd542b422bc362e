"""How a container gets its cards: every other control of its request stays, and what Docker lacks is refused."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from executor.containers.card_access import CardAccess, RuntimeChoice, resolve
from executor.containers.sandbox import GIB, Limits, Mount, Sandbox
from protocol.errors import ExecutorError

UUIDS = ("GPU-1", "GPU-2")
PLAIN = Sandbox(
    "vcoin-runner:abc",
    Limits(),
    (Mount("/srv/in", "/input"),),
    {"MODEL_PATH": "/models/abc"},
    labels={"node": "0x1"},
)
RUNC, RUNSC, NVIDIA = {"runc": {}}, {"runc": {}, "runsc": {}}, {"runc": {}, "nvidia": {}}
REQUEST = {"Driver": "", "DeviceIDs": ["GPU-1", "GPU-2"], "Capabilities": [["gpu"]]}
CDI = {"Driver": "cdi", "DeviceIDs": ["nvidia.com/gpu=GPU-1", "nvidia.com/gpu=GPU-2"]}


def with_cards(access: CardAccess, runtime: str = "") -> Sandbox:
    choice = RuntimeChoice(runtime, access)
    return dataclasses.replace(PLAIN, gpu_uuids=UUIDS, card_bytes=8 * GIB, choice=choice)


@pytest.mark.parametrize(
    ("access", "runtime", "asked"),
    [
        (CardAccess.DEVICES, "", {"Runtime": "", "DeviceRequests": [REQUEST]}),
        (CardAccess.DEVICES, "runsc", {"Runtime": "runsc", "DeviceRequests": [REQUEST]}),
        (CardAccess.RUNTIME, "", {"Runtime": "nvidia", "DeviceRequests": []}),
        (CardAccess.RUNTIME, "runc", {"Runtime": "runc", "DeviceRequests": []}),
        (CardAccess.CDI, "", {"Runtime": "", "DeviceRequests": [CDI]}),
    ],
)
def test_every_control_holds_for_a_container_with_cards(access: CardAccess, runtime: str, asked: Any) -> None:
    plain, carded = PLAIN.container(), with_cards(access, runtime).container()
    assert carded.keys() == plain.keys()
    for name in plain.keys() - {"Env", "Labels", "HostConfig"}:
        assert carded[name] == plain[name], name
    controls, kept = PLAIN.host_config(), with_cards(access, runtime).host_config()
    assert kept.keys() == controls.keys()
    for name in controls.keys() - asked.keys():
        assert kept[name] == controls[name], name
    assert {name: kept[name] for name in asked} == asked


def test_the_environment_names_cards_and_share_as_the_specification_does() -> None:
    environment: Any = with_cards(CardAccess.DEVICES).container()["Env"]
    plain: Any = PLAIN.container()["Env"]
    assert set(environment) - set(plain) == {
        "NVIDIA_VISIBLE_DEVICES=GPU-1,GPU-2",
        f"MAX_MEMORY={8 * GIB}",
        "NVIDIA_DRIVER_CAPABILITIES=compute,utility",
    }
    assert {"MODEL_PATH=/models/abc", "TIMEOUT=120"} <= set(environment)
    assert "NVIDIA_VISIBLE_DEVICES=void" in plain


def test_labels_say_what_a_container_has_of_which_cards() -> None:
    assert with_cards(CardAccess.CDI).container()["Labels"] == {
        "org.vcoin.node": "0x1",
        "org.vcoin.cards": "GPU-1,GPU-2",
        "org.vcoin.card_bytes": str(8 * GIB),
    }


def test_a_container_without_a_card_has_the_chosen_runtime_and_no_card() -> None:
    for access in CardAccess:
        host = dataclasses.replace(PLAIN, choice=RuntimeChoice("runsc", access)).host_config()
        assert (host["Runtime"], host["DeviceRequests"]) == ("runsc", [])


@pytest.mark.parametrize(
    ("engine", "access"),
    [
        ({"Runtimes": RUNC}, CardAccess.DEVICES),
        ({"Runtimes": NVIDIA}, CardAccess.RUNTIME),
        ({"Runtimes": NVIDIA, "DiscoveredDevices": [{"ID": "nvidia.com/gpu=0"}]}, CardAccess.CDI),
        ({"Runtimes": NVIDIA, "DiscoveredDevices": [{"ID": "vendor.com/net=0"}]}, CardAccess.RUNTIME),
        ({}, CardAccess.DEVICES),
    ],
)
def test_what_docker_has_is_used(engine: dict[str, Any], access: CardAccess) -> None:
    assert resolve(RuntimeChoice(access=CardAccess.AUTO), engine, has_cards=True).access is access


@pytest.mark.parametrize(
    ("choice", "engine", "words"),
    [
        (RuntimeChoice("runsc"), {"Runtimes": RUNC}, "no runtime runsc, only runc: install gVisor"),
        (RuntimeChoice("mine"), {"Runtimes": RUNSC}, "no runtime mine, only runc, runsc: name it in /etc/docker"),
        (RuntimeChoice(access=CardAccess.RUNTIME), {"Runtimes": RUNC}, "no runtime nvidia, only runc: install nvidia-"),
        (RuntimeChoice(access=CardAccess.CDI), {"Runtimes": RUNC, "CDISpecDirs": []}, "CDI is off"),
    ],
)
def test_what_docker_has_not_is_refused_with_the_fix(choice: RuntimeChoice, engine: dict[str, Any], words: str) -> None:
    with pytest.raises(ExecutorError, match=words):
        resolve(choice, engine, has_cards=True)


def test_a_machine_without_a_card_needs_no_way_to_give_one() -> None:
    choice = RuntimeChoice(access=CardAccess.RUNTIME)
    assert resolve(choice, {"Runtimes": RUNC}, has_cards=False) == choice
    with pytest.raises(ExecutorError):
        resolve(RuntimeChoice("runsc"), {"Runtimes": RUNC}, has_cards=False)
