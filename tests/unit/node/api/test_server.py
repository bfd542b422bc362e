"""The control API over its real socket: answers, refusals, and what it survives."""

from __future__ import annotations

import json
import stat
from dataclasses import replace
from typing import Any

import pytest
import trio

from node.api import views as views
from node.api.client import Client
from node.api.faults import KINDS, Fault
from node.api.fields import MAX_BODY_BYTES
from node.api.server import LONGEST_PATH, serve
from protocol.errors import ConfigError
from tests.fakes.backend import CLIENT, PROVIDER, SMOL, VCN, FakeBackend
from tests.support.scenes.control_api import fault
from tests.unit.node.api.conftest import Door

ASK = {"model": SMOL.name, "messages": [{"role": "user", "content": "Why is the sky blue?"}], "max_new_tokens": 64}


async def test_only_the_owner_may_open_the_socket(door: Door) -> None:
    assert stat.S_IMODE(door.socket.stat().st_mode) == 0o600


async def test_status_is_the_snapshot(door: Door) -> None:
    answer = await door.get("status")
    assert views.read(views.Snapshot, answer) == await door.backend.snapshot()
    assert answer["me"]["stake_wei"] == str(5_000 * VCN), "a float cannot hold an amount"


async def test_nodes_are_those_of_the_snapshot(door: Door) -> None:
    assert await door.get("nodes") == (await door.get("status"))["nodes"]


async def test_job_is_asked_and_found_by_a_prefix_of_its_id(door: Door) -> None:
    job_id = (await door.post("jobs", body=ASK))["id"]
    assert (await door.get("jobs", job_id[:6]))["id"] == job_id
    assert [job["id"] for job in await door.get("jobs")] == [job_id]
    (ask,) = door.backend.asked
    assert (ask.max_new_tokens, ask.with_bonus, ask.timeout_ms) == (64, True, 120_000)


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"modle": "x"}, "unknown_field", "unknown field 'modle'"),
        ({"model": None}, "bad_request", "model: expected a text"),
        ({"messages": []}, "bad_request", "messages: expected a list of 1 to 1024"),
        ({"messages": [{"role": "root", "content": "x"}]}, "bad_request", "expected a role of system"),
        ({"messages": [{"role": "user", "content": "x", "name": "y"}]}, "bad_request", "a role and a content"),
        ({"messages": [{"role": "user", "content": "\ud800"}]}, "bad_request", "UTF-8"),
        ({"max_new_tokens": 0}, "bad_request", "max_new_tokens: expected a whole number from 1 to 8192"),
        ({"max_new_tokens": 2.0}, "bad_request", "max_new_tokens"),
        ({"max_new_tokens": True}, "bad_request", "max_new_tokens"),
        ({"max_price_wei": 5}, "bad_request", "max_price_wei: expected an amount in wei"),
        ({"max_price_wei": "-1"}, "bad_request", "max_price_wei"),
        ({"max_price_wei": str(2**96)}, "bad_request", "max_price_wei"),
        ({"timeout_ms": 10}, "bad_request", "timeout_ms: expected a whole number from 1000"),
        ({"temperature_milli": 2_001}, "bad_request", "temperature_milli: expected a whole number from 0 to 2000"),
        ({"temperature_milli": -1}, "bad_request", "temperature_milli"),
        ({"temperature_milli": 0.8}, "bad_request", "temperature_milli"),
        ({"with_bonus": "yes"}, "bad_request", "with_bonus: expected true or false"),
        ({"checked": None}, "bad_request", "checked: expected true or false"),
    ],
)
async def test_bad_field_is_named(door: Door, changes: dict[str, Any], code: str, words: str) -> None:
    found = await fault(door, "jobs", body=ASK | changes)
    assert (found.code, words in found.message) == (code, True), found.message
    assert not door.backend.asked


async def test_missing_field_is_named(door: Door) -> None:
    found = await fault(door, "jobs", body={"model": "x"})
    assert (found.code, found.message) == ("bad_request", "messages is missing")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "is not JSON"),
        (b"[]", "is not a JSON object"),
        (b'{"a":', "is not JSON"),
        (b'{"model":"a","model":"b"}', "a field stands twice"),
        (b'{"a":NaN}', "NaN is not JSON"),
        (b"[" * 20_000, "is not JSON"),
        (b"\xff\xfe", "is not JSON"),
    ],
)
async def test_body_that_is_no_object_is_refused(door: Door, body: bytes, words: str) -> None:
    head = f"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    answer = await door.raw(head.encode() + body)
    assert b" 400 " in answer.split(b"\r\n")[0]
    said = json.loads(answer.rpartition(b"\r\n\r\n")[2])
    assert (said["code"], words in said["message"]) == ("bad_request", True)


async def test_body_over_the_limit_is_refused(door: Door) -> None:
    found = await fault(door, "jobs", body=ASK | {"model": "x" * MAX_BODY_BYTES})
    assert found.code == "too_large"


async def test_parameter_in_the_address_is_refused(door: Door) -> None:
    answer = await door.raw(b"GET /v1/status?full=1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert b"unknown parameter 'full'" in answer


@pytest.mark.parametrize(("path", "code"), [(("nope",), "not_found"), (("jobs", "ffff"), "not_found")])
async def test_what_is_not_there_is_an_error_with_a_code(door: Door, path: tuple[str, ...], code: str) -> None:
    assert (await fault(door, *path)).code == code


async def test_wrong_method_is_an_error_with_a_code(door: Door) -> None:
    assert (await fault(door, "status", body={})).code == "bad_request"


async def test_deposit_is_only_simulated_unless_asked_for(door: Door) -> None:
    body = {"amount_wei": str(5 * VCN)}
    planned = views.read(views.PlanView, await door.post("account", "deposit", body=body))
    assert not planned.transactions
    assert door.backend.free_wei == 1_000 * VCN
    sent = views.read(views.PlanView, await door.post("account", "deposit", body=body | {"dry_run": False}))
    assert sent.transactions
    assert door.backend.free_wei == 1_005 * VCN
    assert (await door.get("account"))["client"] == CLIENT


async def test_revert_is_passed_on_with_the_contracts_words(door: Door) -> None:
    found = await fault(door, "account", "withdraw", body={"amount_wei": str(10**24)})
    assert (found.code, "NotEnoughFree" in found.message) == ("reverted", True)


async def test_lane_takes_an_amount_to_open_and_none_else(door: Door) -> None:
    body = {"amount_wei": str(5 * VCN), "dry_run": False}
    sent = views.read(views.PlanView, await door.post("lanes", PROVIDER, "open", body=body))
    assert (len(sent.transactions), door.backend.lanes[PROVIDER].left_wei) == (1, 5 * VCN)
    assert (await fault(door, "lanes", PROVIDER, "open", body={})).message == "amount_wei is missing"
    assert (await fault(door, "lanes", PROVIDER, "close", body=body)).code == "unknown_field"
    assert (await fault(door, "lanes", PROVIDER, "burn", body={})).code == "not_found"
    assert not views.read(views.PlanView, await door.post("lanes", PROVIDER, "close", body={})).transactions


async def test_model_needs_an_absolute_path(door: Door) -> None:
    assert (await fault(door, "models", body={"source": "models/x"})).code == "bad_request"
    assert (await fault(door, "models", body={"source": "/models/x"})).code == "bad_model"
    assert views.read(views.ModelView, await door.post("models", body={"source": "smollm2"})) == SMOL


async def test_score_of_a_node(door: Door) -> None:
    assert views.read(views.ScoreView, await door.get("score", PROVIDER[:8])).node_id == PROVIDER


async def test_daemons_bug_is_an_answer_and_not_its_end(door: Door, caplog: pytest.LogCaptureFixture) -> None:
    async def broken() -> views.Snapshot:
        raise ZeroDivisionError("secret")

    door.backend.snapshot = broken  # type: ignore[method-assign]
    found = await fault(door, "nodes")
    assert (found.code, "secret" in found.message) == ("internal", False)
    with trio.fail_after(5):
        while "ZeroDivisionError: secret" not in caplog.text:
            await trio.lowlevel.checkpoint()
    assert await door.get("jobs") == []


async def test_websocket_upgrade_and_one_more_byte_do_not_stop_the_daemon(door: Door) -> None:
    """The payload that ends a hypercorn server with everything around it."""
    upgrade = (
        b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    await door.raw(upgrade + b"x")
    await door.raw(upgrade.replace(b"GET / ", b"GET /v1/status ") + b"x")
    assert (await door.get("status"))["state"] == "ready"


@pytest.mark.parametrize("junk", [b"\x00" * 100, b"GET\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 64])
async def test_junk_does_not_stop_the_daemon(door: Door, junk: bytes) -> None:
    await door.raw(junk)
    assert (await door.get("status"))["state"] == "ready"


async def test_stale_socket_file_is_replaced(door: Door) -> None:
    async with trio.open_nursery() as nursery:
        await nursery.start(serve, FakeBackend(state="draining"), door.socket)
        assert (await door.get("status"))["state"] == "draining"
        nursery.cancel_scope.cancel()
    assert not door.socket.exists()


async def test_path_that_cannot_be_a_socket_is_a_wrong_setting(door: Door) -> None:
    for path in (door.socket.with_name("x" * LONGEST_PATH), door.socket.parent / "none" / "vcoin.sock"):
        with pytest.raises(ConfigError) as caught:
            await serve(FakeBackend(), path)
        assert "api.socket" in caught.value.hint


async def test_without_a_daemon_the_client_says_so(door: Door) -> None:
    client = Client(door.socket.with_name("none.sock"))
    with pytest.raises(Fault, match="no daemon answers") as caught:
        await door.call(client.get, "status")
    assert (caught.value.code, caught.value.hint) == ("no_daemon", "start one: vcoin node run")


async def test_daemon_that_leaves_before_it_answers_is_an_error(tmp_path: Any) -> None:
    path = tmp_path / "mute.sock"
    listener = trio.socket.socket(trio.socket.AF_UNIX)
    await listener.bind(str(path))
    listener.listen(1)

    async def hang_up() -> None:
        connection, _ = await listener.accept()
        connection.close()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(hang_up)
        with pytest.raises(Fault) as caught:
            await trio.to_thread.run_sync(Client(path).get, "status")
    listener.close()
    assert caught.value.code == "unavailable"


def test_every_code_has_a_status_that_is_an_error() -> None:
    assert all(400 <= kind.status < 600 for kind in KINDS.values())


def test_view_of_another_version_is_refused() -> None:
    raw = views.plain(SMOL)
    assert views.read(views.ModelView, raw | {"new": 1}) == SMOL
    for broken in ({"name": 1}, {"calibrated": 1}, {"calibrated": ["1"]}):
        with pytest.raises(Fault, match="not a ModelView"):
            views.read(views.ModelView, raw | broken)
    with pytest.raises(Fault, match="not a ModelView"):
        views.read(views.ModelView, {})


def test_nothing_is_lost_between_view_and_json() -> None:
    failure = views.Trouble("job_failed", "x", "y")
    plan = views.PlanView(
        CLIENT,
        (views.CallView("C", "0x1", "f", (("a", "1"), ("b", "2")), 5),),
        7,
        (views.BalanceView("w", "VCN", 10**30, 0),),
        ("0x1",),
    )
    assert views.read(views.PlanView, json.loads(json.dumps(views.plain(plan)))) == plan
    trouble = replace(failure, hint="")
    assert views.read(views.Trouble, views.plain(trouble)) == trouble
