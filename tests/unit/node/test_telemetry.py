"""The log for people and for machines, the numbers, and the rules that act on them."""

import io
import json
import logging
import re
from collections.abc import Iterator

import pytest

from node.daemon.telemetry import NOISY, Metrics, memory_used, set_up_logging
from protocol.events import CaseResolved, ContainerExited, DeviceReported, Event, MessageSent
from protocol.stages.execution import Outcome, RunResult, failed
from protocol.stages.heartbeat import DeviceStatus, GpuGroup
from protocol.stages.verification import Verdict
from protocol.wire.ids import PeerId

JOB = b"\1" * 32


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    levels = {name: logging.getLogger(name).level for name in NOISY}
    yield io.StringIO()
    root.handlers[:], root.level = handlers, level
    for name, old in levels.items():
        logging.getLogger(name).setLevel(old)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_machine_reads_one_object_a_line(logged: io.StringIO) -> None:
    set_up_logging("auto", "info", logged)
    logging.getLogger("node.x").info("batch mined", extra={"batch_id": JOB, "block": 7})
    logging.getLogger("node.x").debug("not said")
    line = json.loads(logged.getvalue())
    assert isinstance(line.pop("time_ms"), int)
    assert line == {
        "level": "info",
        "logger": "node.x",
        "message": "batch mined",
        "batch_id": JOB.hex(),
        "block": 7,
    }


def test_person_reads_a_line_with_short_ids(logged: io.StringIO) -> None:
    set_up_logging("human", "info", logged)
    logging.getLogger("node.x").warning("trying again", extra={"job_id": JOB.hex(), "in_s": 0.5})
    assert re.fullmatch(
        r"\d\d:\d\d:\d\d warning trying again  job_id=010101010101\.\.\.  in_s=0.5\n", logged.getvalue()
    )


def test_colour_only_on_a_terminal(logged: io.StringIO) -> None:
    terminal = Terminal()
    set_up_logging("auto", "info", terminal)
    logging.getLogger("node.x").error("gave up")
    assert terminal.getvalue().startswith("\33[31m")
    set_up_logging("human", "info", logged)
    logging.getLogger("node.x").error("gave up")
    assert "\33" not in logged.getvalue()


def test_exception_is_kept_with_its_line(logged: io.StringIO) -> None:
    set_up_logging("json", "info", logged)
    try:
        raise ValueError("broken")
    except ValueError:
        logging.getLogger("node.x").exception("failed")
    assert "ValueError: broken" in json.loads(logged.getvalue())["exception"]


def test_libraries_are_quiet_unless_they_complain(logged: io.StringIO) -> None:
    set_up_logging("json", "debug", logged)
    logging.getLogger("docker.api").info("chatter")
    logging.getLogger("docker.api").warning("trouble")
    assert [json.loads(line)["message"] for line in logged.getvalue().splitlines()] == ["trouble"]


# --- numbers --------------------------------------------------------------------------------------------------------
def ended(outcome: Outcome, duration_ms: int = 0) -> Event:
    if outcome is Outcome.OK:
        return ContainerExited(JOB, RunResult(outcome, "", JOB, JOB, 3, "eos", duration_ms), b"")
    return ContainerExited(JOB, failed(outcome, "why", duration_ms), b"")


def card(temperature_c: int) -> GpuGroup:
    return GpuGroup("Tesla T4", 2, temperature_c, 9 * 2**30, 16 * 2**30, 50, "12.4", "550")


def device(*gpus: GpuGroup) -> DeviceReported:
    return DeviceReported(DeviceStatus((1,), gpus, 24 * 2**30, 1, (60,)))


def metrics(*events: Event) -> Metrics:
    built = Metrics()
    for event in events:
        built.observe(event)
    return built


def test_fresh_node_has_no_alert_and_no_number_divides_by_nothing() -> None:
    fresh = Metrics()
    assert (fresh.mean_task_ms, fresh.failure_percent, fresh.mean_delay_ms, fresh.pass_percent) == (0, 0, 0, 100)
    assert fresh.alerts() == ()


def test_time_of_a_task_is_that_of_the_ones_that_ended_well() -> None:
    seen = metrics(ended(Outcome.OK, 1_000), ended(Outcome.OK, 3_000), ended(Outcome.JOB, 120_000))
    assert seen.mean_task_ms == 2_000


def test_failure_rate_is_over_the_last_fifty_and_spares_clients_mistakes() -> None:
    events = [ended(Outcome.JOB)] * 30 + [ended(Outcome.OK)] * 39 + [ended(Outcome.CLIENT)] * 5
    seen = metrics(*events, ended(Outcome.PROVIDER))
    assert seen.failure_percent == 100 * 11 // 50
    assert [alert.name for alert in seen.alerts()] == ["failing"]


def test_twenty_percent_is_no_alert_yet_and_one_failure_is_no_rate() -> None:
    assert metrics(*[ended(Outcome.JOB)] * 2, *[ended(Outcome.OK)] * 8).alerts() == ()
    assert metrics(ended(Outcome.HOSTILE)).alerts() == ()


def test_heat_is_an_alert_above_eighty_five() -> None:
    assert metrics(device(card(85))).alerts() == ()
    (alert,) = metrics(device(card(60), card(86))).alerts()
    assert alert.name == "hot"
    assert "86 C" in alert.words


def test_delay_is_the_mean_of_the_last_twenty() -> None:
    slow = [MessageSent(PeerId("x"), 60_000)] * 10
    assert [alert.name for alert in metrics(*slow).alerts()] == ["slow"]
    assert metrics(*slow, *[MessageSent(PeerId("x"), 100)] * 20).mean_delay_ms == 100


def test_pass_rate_counts_verdicts() -> None:
    verdicts = (Verdict.PASS, Verdict.PASS, Verdict.REVIEW, Verdict.SEVERE, Verdict.STARVED)
    assert metrics(*(CaseResolved(JOB, verdict, 9_000, 1) for verdict in verdicts)).pass_percent == 50


def test_tasks_are_counted_by_how_they_ended() -> None:
    seen = metrics(ended(Outcome.OK, 1_500), ended(Outcome.OK, 500), ended(Outcome.CLIENT))
    assert (seen.tasks[Outcome.OK], seen.tasks[Outcome.CLIENT], seen.task_ms) == (2, 1, 2_000)


def test_memory_is_what_the_machine_and_this_process_use() -> None:
    machine, process = memory_used()
    assert machine > process > 2**20
