"""The metrics for Prometheus: names, units, and the very numbers of the snapshot."""

from __future__ import annotations

import re
from dataclasses import fields, replace

from prometheus_client.parser import text_string_to_metric_families

from node.api import views as views
from node.api.backend import HoldStep
from node.api.metrics import ALERTS, MAX_CARDS, exposition
from node.daemon.telemetry import Metrics
from protocol.events import ContainerExited, DeviceReported, Hold, MessageSent
from protocol.stages.execution import Outcome, failed
from protocol.stages.heartbeat import DeviceStatus, GpuGroup
from protocol.wire.ids import PeerId
from tests.fakes.backend import MACHINE, SERVED, WATCHED, FakeBackend
from tests.unit.node.api.conftest import Door

CARD = views.GpuView("Tesla T4", 2, 70, 9 * 2**30, 16 * 2**30, 50)
UNITS = ("seconds", "celsius", "watts", "bytes", "ratio", "points", "info", "block", "total")
COUNTS = {"alert", "peers", "nodes_online", "chain_connected", "slots", "slots_busy", "jobs_running"}
COUNTS |= {"batches_open", "cases_open", "node_ready", "streams", "waiting", "engines"}
COUNTS |= {"hold", "tokens_per_second", "stream_tokens_per_second"}
COUNTS |= {"card_ready", "card_paused", "card_trouble", "card_ecc_errors"}


TROUBLE = views.CardTroubleView("hot", "90 C: its containers are paused until it is under 75 C", "more air")
BOARD = views.CardView(
    *("GPU-1", 0, "Tesla T4", "7.5", "", "paused", 90, 7 * 2**30, 16 * 2**30, 50, 65, 70, 0, 1),
    troubles=(TROUBLE,),
)


async def snapshot(*cards: views.GpuView, watched: views.WatchedView = WATCHED) -> views.Snapshot:
    return await FakeBackend(machine=replace(MACHINE, gpus=cards), watched=watched).snapshot()


def numbers(text: bytes) -> dict[str, float]:
    """Every sample by its name and labels, as Prometheus understands them."""
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(text.decode()):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            key = f"{sample.name}{{{labels}}}" if labels else sample.name
            assert key not in found, f"{key} stands twice"
            found[key] = sample.value
    return found


async def test_six_series_are_those_of_the_snapshot() -> None:
    found = numbers(exposition(await snapshot(CARD)))
    assert found["vcoin_task_seconds_mean"] == WATCHED.mean_task_ms / 1000
    assert found["vcoin_task_failure_ratio"] == WATCHED.failure_percent / 100
    assert found["vcoin_gpu_temperature_celsius{gpu=0,model=Tesla T4}"] == CARD.temperature_c
    assert found["vcoin_memory_used_bytes"] == WATCHED.memory_used_bytes
    assert found["vcoin_gpu_memory_used_bytes{gpu=0,model=Tesla T4}"] == CARD.total_bytes - CARD.free_bytes
    assert found["vcoin_peer_delay_seconds_mean"] == WATCHED.delay_ms / 1000
    assert found["vcoin_case_pass_ratio"] == WATCHED.pass_percent / 100


async def test_each_hold_is_a_series() -> None:
    backend = FakeBackend()
    await backend.holds.take_step(HoldStep.DRAIN)
    found = numbers(exposition(await backend.snapshot()))
    assert {hold: found[f"vcoin_hold{{hold={hold}}}"] for hold in Hold} == {"drain": 1, "pause": 0, "hours": 0}


async def test_counters_are_told_by_their_kind() -> None:
    found = numbers(exposition(await snapshot()))
    assert (found["vcoin_tasks_total{outcome=ok}"], found["vcoin_tasks_total{outcome=job}"]) == (3, 1)
    assert found["vcoin_cases_total{verdict=pass}"] == 2
    assert (found["vcoin_task_seconds_count"], found["vcoin_task_seconds_sum"]) == (3, 4.5)


async def test_owner_sees_speed_first_tokens_waiting_and_engines() -> None:
    found = numbers(exposition(await snapshot()))
    labels = f"{{manifest={SERVED.manifest},model={SERVED.name}}}"
    assert (found["vcoin_tokens_per_second"], found["vcoin_streams"]) == (13.4, 2)
    assert (found["vcoin_waiting{kind=job}"], found["vcoin_waiting{kind=check}"]) == (3, 1)
    assert found["vcoin_longest_wait_seconds"] == 2.5
    assert (found["vcoin_engines"], found["vcoin_engine_starts_total"]) == (1, 4)
    assert (found["vcoin_engine_ends_total{reason=idle}"], found["vcoin_engine_ends_total{reason=failed}"]) == (2, 1)
    assert found["vcoin_model_evictions_total"] == 5
    assert (found[f"vcoin_tokens_total{labels}"], found[f"vcoin_stream_tokens_per_second{labels}"]) == (100, 20)
    first = found[f"vcoin_first_token_seconds_count{labels}"], found[f"vcoin_first_token_seconds_sum{labels}"]
    assert first == (4, 2)


async def test_models_of_one_name_have_series_of_their_own() -> None:
    view = await snapshot()
    models = (SERVED, replace(SERVED, manifest="cd" * 32), replace(SERVED, manifest="", name="other"))
    found = numbers(exposition(replace(view, serving=replace(view.serving, models=models))))
    assert sum(name.startswith("vcoin_tokens_total") for name in found) == 3


async def test_rule_that_acts_is_one() -> None:
    found = numbers(exposition(await snapshot(watched=replace(WATCHED, alerts=("slow",)))))
    assert [found[f"vcoin_alert{{rule={rule}}}"] for rule in ALERTS] == [0, 0, 1]


async def test_every_rule_that_can_act_has_its_series() -> None:
    seen = Metrics()
    card = GpuGroup("x", 1, 90, 1, 1, 0, "", "")
    seen.observe(DeviceReported(DeviceStatus((1,), (card,), 1, 1, (1,))))
    for _ in range(50):
        seen.observe(ContainerExited(bytes(32), failed(Outcome.JOB, "why", 0), b""))
        seen.observe(MessageSent(PeerId("x"), 60_000))
    assert {alert.name for alert in seen.alerts()} == set(ALERTS)


async def test_every_name_is_ours_has_its_unit_and_a_meaning() -> None:
    text = exposition(await snapshot(CARD))
    for family in text_string_to_metric_families(text.decode()):
        assert re.fullmatch(r"vcoin_[a-z_]+", family.name)
        assert family.documentation.endswith(".")
        whole = "total" if family.type == "counter" else family.name.removesuffix("_mean").rpartition("_")[2]
        assert whole in UNITS or family.name.removeprefix("vcoin_") in COUNTS, family.name


async def test_card_of_any_name_and_any_number_of_them_keep_the_format() -> None:
    hostile = replace(CARD, model='a"} 1\nvcoin_peers 666\\')
    found = numbers(exposition(await snapshot(*[hostile] * 100)))
    assert found["vcoin_peers"] == 2
    assert sum(name.startswith("vcoin_gpu_temperature_celsius") for name in found) == MAX_CARDS


async def test_network_of_thousands_makes_no_more_series() -> None:
    few = await snapshot()
    many = replace(few, nodes=few.nodes * 2_000, models=few.models * 500)
    assert len(numbers(exposition(many))) == len(numbers(exposition(few)))


async def test_control_socket_status_and_metrics_agree(door: Door) -> None:
    found = numbers((await door.call(door.client.metrics)).encode())
    watched = views.read(views.Snapshot, await door.get("status")).watched
    assert watched == WATCHED
    assert found["vcoin_task_seconds_mean"] == watched.mean_task_ms / 1000
    assert found["vcoin_case_pass_ratio"] == watched.pass_percent / 100
    assert {field.name for field in fields(watched)} == set((await door.get("status"))["watched"])


async def test_each_card_has_its_series_and_its_troubles() -> None:
    blind = replace(
        BOARD, uuid="GPU-2", state="ready", temperature_c=-1, power_watts=-1, ecc_uncorrected=-1, troubles=()
    )
    view = await FakeBackend(machine=replace(MACHINE, cards=(BOARD, blind))).snapshot()
    found = numbers(exposition(view))
    assert (found["vcoin_card_ready{card=GPU-1}"], found["vcoin_card_ready{card=GPU-2}"]) == (0, 1)
    assert (found["vcoin_card_paused{card=GPU-1}"], found["vcoin_card_paused{card=GPU-2}"]) == (1, 0)
    assert found["vcoin_card_temperature_celsius{card=GPU-1}"] == 90
    assert found["vcoin_card_memory_used_bytes{card=GPU-1}"] == 7 * 2**30
    assert found["vcoin_card_power_watts{card=GPU-1}"] == 65
    assert found["vcoin_card_trouble{card=GPU-1,kind=hot}"] == 1
    assert not {name for name in found if "GPU-2" in name} & {
        f"vcoin_card_{each}{{card=GPU-2}}" for each in ("temperature_celsius", "power_watts", "ecc_errors")
    }
