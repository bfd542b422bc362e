"""The gateway's door: who is let in, what is refused with which status, and what it survives."""

from __future__ import annotations

import json
import re
import sqlite3
import ssl
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
import trio.lowlevel
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from node.api import views as views
from node.api.backend import JobAsk, Measure
from node.api.faults import Fault
from node.api.fields import MAX_BODY_BYTES
from node.api.gateway import connections, routes
from node.api.gateway.key_file import FILE_NAME, open_key_file
from node.api.gateway.keys import new_credential
from node.api.gateway.server import GatewaySettings, serve_gateway
from protocol.errors import AdapterError, ChainError, ConfigError, ExecutorError
from tests.fakes.answering import COST_WEI, AnsweringBackend
from tests.fakes.backend import SMOL, VCN, FakeBackend, FakeShelf
from tests.support.scenes.gateways import CHAT, WITHIN_S, Gateway, kept_key, make_key, now_ms, open_gateway


def error_of(answer: httpx.Response) -> dict[str, Any]:
    found: dict[str, Any] = answer.json()["error"]
    assert set(found) == {"message", "type", "param", "code"}
    return found


async def test_models_are_those_of_the_store(gateway: Gateway) -> None:
    listed = (await gateway.client.get("/models")).json()
    assert listed["data"] == [{"id": SMOL.name, "object": "model", "created": 0, "owned_by": "vcoin"}]
    assert (await gateway.client.get(f"/models/{SMOL.name}")).json() == listed["data"][0]
    assert error_of(await gateway.client.get("/models/gpt-4"))["code"] == "model_not_found"


async def test_key_sees_only_its_models(tmp_path: Path) -> None:
    async with open_gateway(tmp_path, FakeBackend(), models=("other",)) as gateway:
        assert (await gateway.client.get("/models")).json()["data"] == []
        assert (await gateway.client.get(f"/models/{SMOL.name}")).status_code == 404
        for answer in (await gateway.chat(), await gateway.chat(model="gpt-4")):
            assert (answer.status_code, error_of(answer)["code"]) == (404, "model_not_found")
            assert f"one of: {SMOL.name}" not in answer.text, "a key hears only of its models"


async def test_beginning_of_a_name_is_sought_among_the_models_of_the_key(tmp_path: Path) -> None:
    other = replace(SMOL, name=f"{SMOL.name}-2", manifest="cd" * 32)
    backend = AnsweringBackend(models_held=[SMOL, other])
    async with open_gateway(tmp_path, backend, models=(other.name,)) as gateway:
        assert (await gateway.chat(model="SmolLM2")).status_code == 200
    assert [ask.model for ask in backend.asked] == [other.manifest]


async def test_embeddings_are_numbers_or_bytes(answering: Gateway) -> None:
    body = {"model": SMOL.name, "input": ["a", "b"]}
    said = (await answering.post("/embeddings", body)).json()
    assert [each["embedding"] for each in said["data"]] == [[0.6, -0.8, 0.0], [0.6, -0.8, 1.0]]
    assert said["usage"]["cost_wei"] == str(COST_WEI)
    packed = (await answering.post("/embeddings", body | {"encoding_format": "base64"})).json()
    assert packed["data"][1]["embedding"] == "mpkZP83MTL8AAIA/"


# --- keys -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "authorization",
    ["", "Bearer", "Bearer sk-proj-123", f"Bearer {new_credential().text}", "Basic dXNlcjpwYXNz"],
)
async def test_caller_without_a_key_is_told_so(gateway: Gateway, authorization: str) -> None:
    answer = await gateway.client.get("/models", headers={"Authorization": authorization})
    assert (answer.status_code, error_of(answer)["code"]) == (401, "invalid_api_key")


async def test_secret_of_another_key_does_not_open_this_one(gateway: Gateway) -> None:
    other, _ = make_key(gateway.directory)
    mixed = f"vcoin_{gateway.key.id}_{other.split('_', 2)[2]}"
    answer = await gateway.client.get("/models", headers={"Authorization": f"Bearer {mixed}"})
    assert answer.status_code == 401


@pytest.mark.parametrize("changes", [{"expires_ms": 1}, {"revoked_ms": 1}])
async def test_key_that_has_ended_is_refused(gateway: Gateway, changes: dict[str, int]) -> None:
    shown, key = make_key(gateway.directory, **{name: value for name, value in changes.items() if name != "revoked_ms"})
    if "revoked_ms" in changes:
        with open_key_file(gateway.directory) as file:
            file.revoke(key.id, 1)
    answer = await gateway.client.get("/models", headers={"Authorization": f"Bearer {shown}"})
    assert (answer.status_code, answer.headers["x-should-retry"]) == (401, "false")


async def test_key_that_expires_in_mid_stream_ends_with_its_request(tmp_path: Path) -> None:
    moment = {"ms": now_ms()}
    backend = FakeBackend()
    shown, key = make_key(tmp_path, expires_ms=moment["ms"] + 1_000)
    async with trio.open_nursery() as nursery:
        settings = GatewaySettings(tmp_path, "127.0.0.1:0")
        port = await nursery.start(serve_gateway, backend, settings, lambda: moment["ms"])
        headers, answers = {"Authorization": f"Bearer {shown}"}, []
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}/v1", headers=headers, trust_env=False
        ) as client:

            async def ask() -> None:
                answers.append(await client.post("/chat/completions", json=CHAT | {"stream": True}))

            with trio.fail_after(WITHIN_S):
                async with trio.open_nursery() as asking:
                    asking.start_soon(ask)
                    while not backend.feed.followed:
                        await trio.lowlevel.checkpoint()
                    moment["ms"] += 2_000
                    (job_id,) = backend.held
                    backend.say(job_id, "blue")
                    backend.change(job_id, state="delivered", finish="eos", cost_wei=COST_WEI)
                refused = await client.post("/chat/completions", json=CHAT)
        nursery.cancel_scope.cancel()
    assert answers[0].status_code == 200
    assert answers[0].text.endswith("data: [DONE]\n\n")
    assert refused.status_code == 401
    assert kept_key(tmp_path, key).reserved_wei == COST_WEI


async def test_budget_that_is_used_up_is_402(tmp_path: Path) -> None:
    async with open_gateway(tmp_path, AnsweringBackend(), budget_wei=VCN * 74 // 100) as gateway:
        assert (await gateway.chat()).status_code == 200
        answer = await gateway.chat()
    assert (answer.status_code, error_of(answer)["type"]) == (402, "insufficient_quota")


async def test_rate_is_429_with_the_time_to_wait(tmp_path: Path) -> None:
    async with open_gateway(tmp_path, FakeBackend(), rate=1) as gateway:
        assert (await gateway.client.get("/models")).status_code == 200
        answer = await gateway.client.get("/models")
    assert answer.status_code == 429
    assert 0 < int(answer.headers["retry-after"]) <= 60


# --- faults of the node -------------------------------------------------------------------------------------------
async def test_network_without_an_able_node_is_503_with_its_reason(tmp_path: Path) -> None:
    async with open_gateway(tmp_path, FakeBackend(nodes=[])) as gateway:
        answer = await gateway.chat()
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "10")
    assert "no other node has been heard of yet" in error_of(answer)["message"]
    assert kept_key(tmp_path, gateway.key).reserved_wei == 0


async def test_client_without_money_is_402(tmp_path: Path) -> None:
    async with open_gateway(tmp_path, FakeBackend(free_wei=0)) as gateway:
        answer = await gateway.chat()
    assert (answer.status_code, error_of(answer)["code"]) == (402, "no_deposit")
    assert "VCN" not in answer.text, "the account is no business of a key's holder"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ChainError("https://rpc.example/SECRET is away"), 503),
        (ExecutorError("/SECRET/docker.sock"), 503),
        (AdapterError("/SECRET/store is full"), 500),
        (AdapterError("/SECRET/store is full", transient=True), 503),
    ],
)
async def test_trouble_of_the_machine_is_for_its_log(
    gateway: Gateway, error: AdapterError, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(ask: JobAsk) -> Measure:
        raise error

    gateway.backend.measure = broken  # type: ignore[method-assign]
    answer = await gateway.chat()
    assert (answer.status_code, "SECRET" in answer.text) == (status, False)
    assert "SECRET" in caplog.text


async def test_job_that_may_still_begin_is_not_asked_for_again_by_itself(gateway: Gateway) -> None:
    async def unsigned(ask: JobAsk) -> str:
        raise Fault("busy", "the request is not signed yet")

    gateway.backend.ask_job = unsigned  # type: ignore[method-assign]
    answer = await gateway.chat()
    assert (answer.status_code, answer.headers["x-should-retry"]) == (503, "false")


async def test_damaged_key_is_503_without_words_of_the_database(
    gateway: Gateway, caplog: pytest.LogCaptureFixture
) -> None:
    with sqlite3.connect(gateway.directory / FILE_NAME, isolation_level=None) as db:
        db.execute("UPDATE keys SET models = 'x'")
    db.close()
    answer = await gateway.client.get("/models")
    assert (answer.status_code, "damaged" in answer.text) == (503, False)
    assert "a row is damaged" in caplog.text


async def test_prompt_that_does_not_fit_is_named_as_openai_does(gateway: Gateway) -> None:
    answer = await gateway.chat(messages=[{"role": "user", "content": "word " * 9_000}])
    assert (answer.status_code, error_of(answer)["code"]) == (400, "context_length_exceeded")


async def test_a_model_of_which_a_part_is_here_is_not_offered(gateway: Gateway) -> None:
    gateway.backend.models_held.append(replace(SMOL, manifest="ab" * 32, name="half", state="partial"))
    assert [each["id"] for each in (await gateway.client.get("/models")).json()["data"]] == [SMOL.name]


async def test_nodes_bug_is_500_without_its_words(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(shelf: FakeShelf) -> tuple[views.ModelView, ...]:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(FakeShelf, "models", broken)
    answer = await gateway.client.get("/models")
    assert (answer.status_code, "secret" in answer.text) == (500, False)
    assert (await gateway.client.get("/nothing")).status_code == 404


# --- bodies and addresses -----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/images/generations", 404),
        ("POST", "/chat/completions/", 404),
        ("GET", "/chat/completions", 405),
        ("GET", "/../v1/jobs", 404),
    ],
)
async def test_address_that_is_not_there_has_openais_form(
    gateway: Gateway, method: str, path: str, status: int
) -> None:
    answer = await gateway.client.request(method, path)
    assert (answer.status_code, error_of(answer)["code"]) == (status, "unknown_url")


async def test_field_is_named_in_the_error(gateway: Gateway) -> None:
    answer = await gateway.chat(logit_bias={"7": 1})
    assert (answer.status_code, error_of(answer)["param"]) == (400, "logit_bias")
    assert not gateway.backend.asked


@pytest.mark.parametrize("body", [b"", b"[]", b'{"model":', b"\xff", b"[" * 20_000, b'{"model":"a","model":"b"}'])
async def test_body_that_is_no_object_is_400(gateway: Gateway, body: bytes) -> None:
    answer = await gateway.client.post("/chat/completions", content=body)
    assert (answer.status_code, error_of(answer)["type"]) == (400, "invalid_request_error")


def head(gateway: Gateway, *lines: str, path: str = "/v1/chat/completions", method: str = "POST") -> bytes:
    given = [f"{method} {path} HTTP/1.1", *lines, "Connection: close"]
    if not any(line.startswith("Host") for line in lines):
        given.append(f"Host: 127.0.0.1:{gateway.port}")
    return "\r\n".join([*given, "", ""]).encode()


def bearer(gateway: Gateway) -> str:
    return f"Authorization: Bearer {gateway.shown}"


async def test_body_over_the_limit_is_413(gateway: Gateway) -> None:
    sent = head(gateway, bearer(gateway), f"Content-Length: {MAX_BODY_BYTES + 70_000}") + b" " * (MAX_BODY_BYTES + 1)
    assert (await gateway.raw(sent)).startswith(b"HTTP/1.1 413 ")


async def test_body_of_a_caller_without_a_key_is_not_read(gateway: Gateway) -> None:
    sent = head(gateway, f"Content-Length: {MAX_BODY_BYTES}")
    assert (await gateway.raw(sent)).startswith(b"HTTP/1.1 401 ")


async def test_body_that_does_not_come_is_408(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "BODY_S", 0.05)
    assert (await gateway.raw(head(gateway, bearer(gateway), "Content-Length: 9") + b"{")).startswith(b"HTTP/1.1 408 ")


async def test_client_that_leaves_in_its_body_is_no_error_of_the_node(
    gateway: Gateway, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", "vcoin.api.gateway")
    async with await trio.open_tcp_stream("127.0.0.1", gateway.port) as stream:
        await stream.send_all(head(gateway, bearer(gateway), "Content-Length: 9") + b"{")
    with trio.fail_after(WITHIN_S):
        while not caplog.records:
            await trio.lowlevel.checkpoint()
    assert [record.getMessage() for record in caplog.records] == ["a client left before the end of its request"]


# --- web pages ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:1", 200),
        ("127.0.0.1", 200),
        ("[::1]:9", 200),
        ("10.0.0.5", 200),
        ("evil.example", 421),
        ("localhost.evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("[", 421),
        ("evil.example@localhost:x", 421),
        ("", 421),
    ],
)
async def test_name_that_points_here_from_outside_is_refused(gateway: Gateway, host: str, status: int) -> None:
    sent = head(gateway, bearer(gateway), f"Host: {host}", path="/v1/models", method="GET")
    assert (await gateway.raw(sent)).startswith(b"HTTP/1.1 %d " % status)


async def test_name_of_the_proxy_is_accepted(tmp_path: Path) -> None:
    settings = GatewaySettings(tmp_path, "127.0.0.1:0", ("api.example.com",))
    async with open_gateway(tmp_path, FakeBackend(), settings) as gateway:
        for host, status in (("api.example.com", 200), ("www.example.com", 421)):
            assert (await gateway.client.get("/models", headers={"Host": host})).status_code == status


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost:3000"])
async def test_web_page_is_refused_even_with_a_key(gateway: Gateway, origin: str) -> None:
    for method in ("GET", "OPTIONS"):
        answer = await gateway.client.request(method, "/models", headers={"Origin": origin})
        assert (answer.status_code, error_of(answer)["code"]) == (403, "origin_refused")
        assert "access-control-allow-origin" not in answer.headers


async def test_line_break_in_a_header_or_name_makes_no_header(gateway: Gateway) -> None:
    answer = await gateway.client.get("/models/x%0d%0aSet-Cookie:%20a=b")
    assert (answer.status_code, "set-cookie" in answer.headers) == (404, False)


# --- connections --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "junk",
    [
        b"\x00" * 100,
        b"GET\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"x" * 70_000,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 64,
        b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\nx",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n\r\n",
        b"POST /v1/embeddings HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
    ],
)
async def test_junk_does_not_stop_the_gateway_nor_keep_a_place(
    gateway: Gateway, junk: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "HEAD_S", 0.5)
    await gateway.raw(junk)
    assert (await gateway.client.get("/models")).status_code == 200


async def test_silent_clients_fill_the_room_and_make_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 3)
    monkeypatch.setattr(connections, "HEAD_S", 0.5)
    async with open_gateway(tmp_path, FakeBackend()) as gateway:
        silent = [await trio.open_tcp_stream("127.0.0.1", gateway.port) for _ in range(6)]
        for stream in silent[:3]:
            await stream.send_all(b"GET /v1/models HT")
        with trio.fail_after(WITHIN_S):
            assert (await gateway.client.get("/models")).status_code == 200
        assert await silent[0].receive_some() == b""
        for stream in silent:
            await stream.aclose()


async def test_client_that_does_not_read_loses_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "SEND_S", 0.2)
    backend = FakeBackend()
    async with open_gateway(tmp_path, backend) as gateway:
        body = json.dumps(CHAT | {"stream": True}).encode()
        stream = await trio.open_tcp_stream("127.0.0.1", gateway.port)
        await stream.send_all(head(gateway, bearer(gateway), f"Content-Length: {len(body)}") + body)
        with trio.fail_after(WITHIN_S):
            while not backend.feed.followed:
                await trio.lowlevel.checkpoint()
            (job_id,) = backend.held
            while backend.feed.followed:
                backend.say(job_id, "x" * 1_000_000)
                await trio.lowlevel.checkpoint()
        assert (await gateway.client.get("/models")).status_code == 200
        await stream.aclose()


async def test_no_secret_is_logged(answering: Gateway, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    await answering.chat(messages=[{"role": "user", "content": "my password is tulip"}])
    await answering.client.get("/models", headers={"Authorization": f"Bearer {answering.shown}x"})
    told = " ".join(f"{record.getMessage()} {record.__dict__}" for record in caplog.records if "vcoin" in record.name)
    assert f"'key': '{answering.key.id}'" in told
    assert not re.search(rf"tulip|{re.escape(answering.shown.split('_', 2)[2])}", told)


# --- addresses and certificates -----------------------------------------------------------------------------------
def write_certificate(directory: Path) -> tuple[Path, Path]:
    """A certificate of its own for 127.0.0.1, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    today = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(today)
        .not_valid_after(today + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    paths = directory / "certificate.pem", directory / "key.pem"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    paths[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain))
    return paths


async def test_certificate_files_give_tls(tmp_path: Path) -> None:
    certificate, key = write_certificate(tmp_path)
    settings = GatewaySettings(tmp_path, "127.0.0.1:0", (), certificate, key)
    async with open_gateway(tmp_path, AnsweringBackend(), settings) as gateway:
        trusted = ssl.create_default_context(cafile=str(certificate))
        headers = {"Authorization": f"Bearer {gateway.shown}"}
        url = f"https://localhost:{gateway.port}/v1/chat/completions"
        async with httpx.AsyncClient(verify=trusted, headers=headers, timeout=WITHIN_S, trust_env=False) as client:
            assert (await client.post(url, json=CHAT | {"stream": True})).text.endswith("data: [DONE]\n\n")
        assert await gateway.raw(b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n") == b""
        async with httpx.AsyncClient(verify=trusted, headers=headers, timeout=WITHIN_S, trust_env=False) as client:
            assert (await client.post(url, json=CHAT)).status_code == 200


@pytest.mark.parametrize("listen", ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"])
async def test_other_machines_need_tls(tmp_path: Path, listen: str) -> None:
    with trio.fail_after(WITHIN_S), pytest.raises(ConfigError, match=r"gateway\.listen") as caught:
        await serve_gateway(FakeBackend(), GatewaySettings(tmp_path, listen), now_ms)
    assert "gateway.certificate" in caught.value.hint


async def test_settings_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    certificate, key = write_certificate(tmp_path)
    for pair in ((certificate, None), (None, key), (certificate, certificate), (tmp_path / "none.pem", key)):
        with pytest.raises(ConfigError, match=r"certificate|none\.pem"):
            await serve_gateway(FakeBackend(), GatewaySettings(tmp_path, "127.0.0.1:0", (), *pair), now_ms)
    async with open_gateway(tmp_path, FakeBackend()) as gateway:
        with pytest.raises(ConfigError, match="cannot listen on") as caught:
            await serve_gateway(FakeBackend(), GatewaySettings(tmp_path, f"127.0.0.1:{gateway.port}"), now_ms)
        assert "gateway.listen" in caught.value.hint
