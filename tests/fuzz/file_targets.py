"""Files on the disk and bytes of the local socket: people edit it, disks spoil it, containers write it."""

from __future__ import annotations

import contextlib
import json
import tomllib
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

from chain.calibration.files import read as read_calibration
from chain.contracts.network import read_deployment
from chain.tx.keystore import load_key
from executor.containers.sandbox import Limits
from executor.containers.transcript import MAX_JOBS, Declined, Flood, Transcript
from executor.runner.gguf.header import BadGguf, parse_header
from executor.runner.gguf.layout import config_of
from executor.runner.gguf.tokenizer import tokenizer_files
from executor.workspace.outputs import MANIFEST, HostileOutput, Outputs
from node.api import asks, fields
from node.api.faults import Fault
from node.api.gateway.bodies import chat_body, embeddings_body, text_body
from node.api.gateway.refusals import GatewayRefusal
from node.config import load
from node.journal import _EVENTS, MAX_EVENT_BYTES, open_journal
from node.localnet.plan import read_plan
from node.localnet.record import NAME, read_record
from node.wallet.home import Home, to_toml
from node.wallet.sealing import seal
from p2p.peers import PeerCache
from protocol.errors import ConfigError, RemoteProtocolError
from protocol.events import Durable
from protocol.network.peers import PeerBook
from protocol.proof.check import CheckOutcome
from protocol.proof.file import read_proof
from protocol.proof.verify import verify
from protocol.wire import codec, document
from scripts.vectors.samples import sample
from tests.fuzz.mutation import Shape
from tests.fuzz.peer_targets import NOW_MS, PEER
from tests.fuzz.target import SCRATCH, Target, at_once
from tests.support import gguf_files
from tests.support.proofs import PASSED, Bench, proof_of

GGUF_BODY_BYTES = sum(gguf_files.size_of(shape, kind) for _, shape, kind, _ in gguf_files.tensors())
"""Of the tensors, which end on a boundary of the file's alignment."""
REPOSITORY = Path(__file__).resolve().parent.parent.parent


# --- proofs of jobs -------------------------------------------------------------------------------------------------
def _proof(data: bytes) -> None:
    with contextlib.suppress(ValueError, RecursionError):
        # Else its form would be all that is fuzzed.
        data = document.encode(json.loads(data))
    found = read_proof(data)
    assert found.strange or found.value.encode() == data, "one proof, one form"
    assert all(check.words for check in verify(found, seal) if check.outcome is not CheckOutcome.OK)


def _proofs() -> list[bytes]:
    return [proof_of(bench).encode() for bench in (PASSED, Bench((9_400, 9_300, 9_200), second=(9_900,) * 7))]


# --- models ---------------------------------------------------------------------------------------------------------
def _gguf(data: bytes) -> None:
    """The header of a stranger's file, in front of tensors that are left out: what is taken lies in it, and apart."""
    header = parse_header(data, len(data) + GGUF_BODY_BYTES)
    placed = sorted(header.tensors.values(), key=lambda each: each.start)
    assert all(one.start + one.size_bytes <= other.start for one, other in pairwise(placed))
    assert all(each.start + each.size_bytes <= len(data) + GGUF_BODY_BYTES for each in placed)
    config = config_of(header)
    words = json.loads(tokenizer_files(header, config["max_position_embeddings"])["tokenizer.json"])
    assert len(words["model"]["vocab"]) == config["vocab_size"]


def _ggufs() -> list[bytes]:
    return [gguf_files.small()[:-GGUF_BODY_BYTES]]


# --- the journal ----------------------------------------------------------------------------------------------------
def _event(data: bytes) -> None:
    event = codec.decode_named(_EVENTS, data, MAX_EVENT_BYTES)
    assert codec.encode_named(event) == data, "one event, one form"


def _events() -> list[bytes]:
    return [codec.encode_named(sample(kind, f"fuzz {number}")) for kind in get_args(Durable) for number in range(2)]


def _journal(data: bytes) -> None:
    for name in ("journal.sqlite-wal", "journal.sqlite-shm"):
        (SCRATCH.folder() / "journal" / name).unlink(missing_ok=True)
    path = SCRATCH.file(data, "journal/journal.sqlite")
    with open_journal(path.parent) as journal:
        journal.require_owner("fuzz")
        for _ in journal.read_all():
            pass


@cache
def _journals() -> list[bytes]:
    import sqlite3
    import tempfile

    with tempfile.TemporaryDirectory() as made:
        with open_journal(Path(made)) as journal:
            journal.require_owner("fuzz")
        db = sqlite3.connect(Path(made) / "journal.sqlite")
        with db:
            for number, event in enumerate(_events()[:6]):
                db.execute("INSERT INTO events (at_ms, body, answers) VALUES (?, ?, ?)", (number, event, b"\1" * 16))
        db.execute("PRAGMA journal_mode = DELETE")
        db.close()
        return [(Path(made) / "journal.sqlite").read_bytes()]


# --- files of the operator ------------------------------------------------------------------------------------------
def _config(data: bytes) -> None:
    list(load({}, {}, SCRATCH.file(data)).settings())


def _configs() -> list[bytes]:
    settings = load({}, {"node.data_dir": "/nowhere"}).settings()
    plain: dict[str, dict[str, object]] = {}
    for setting in settings:
        section, name = setting.key.split(".")
        value = setting.value
        if isinstance(value, tuple):
            value = list(value)
        if isinstance(value, str | bool | int | float | list):
            plain.setdefault(section, {})[name] = value
    plain["node"]["price"], plain["node"]["lane"] = "2.5", "20"
    plain["executor"]["memory"] = "4GiB"
    text = to_toml(plain)
    tomllib.loads(text)
    return [text.encode(), b'[node]\nroles = ["requester"]\nprice = "1"\n[p2p]\nlisten = ["/ip4/0.0.0.0/tcp/1"]\n']


def _deployment(data: bytes) -> None:
    found = read_deployment(SCRATCH.file(data))
    assert found.domain.separator, "every field is what it is declared to be"
    found.write(SCRATCH.folder() / "again")


def _deployments() -> list[bytes]:
    from chain.contracts.network import Addresses, Deployment
    from protocol.wire.ids import checksum

    address = checksum("0x" + "ab" * 20)
    made = Deployment(31_337, "local", address, 0, 1, Addresses(*[address] * 10), ("00" * 32,) * 10)
    made.write(SCRATCH.folder() / "deployment")
    return [(SCRATCH.folder() / "deployment").read_bytes()]


def _calibration(data: bytes) -> None:
    text = data.decode(errors="replace")
    read_calibration(text, _name_in(text))


def _name_in(text: str) -> str:
    try:
        return f"{json.loads(text)['manifest']}.json"
    except (ValueError, KeyError, TypeError, RecursionError):
        return "x.json"


def _calibrations() -> list[bytes]:
    (path,) = list((REPOSITORY / "chain" / "calibration").glob("*.json"))[:1]
    plain = json.loads(path.read_text())
    return [json.dumps({**plain, "act_w": plain["act_w"][:64]}).encode()]


def _keystore(data: bytes) -> None:
    load_key(SCRATCH.file(data), "secret")


@cache
def _keystores() -> list[bytes]:
    from eth_account import Account

    return [
        json.dumps(Account.encrypt(b"\x01" * 32, "secret", kdf=kdf, iterations=2)).encode()
        for kdf in ("scrypt", "pbkdf2")
    ]


def _operator(data: bytes) -> None:
    SCRATCH.file(data, "keys/operator.json")
    Home(SCRATCH.folder()).operator_address()


def _peers(data: bytes) -> None:
    book = PeerBook(PEER)
    cache_ = PeerCache(SCRATCH.file(data), book, lambda: NOW_MS)
    try:
        saved = cache_._read()
    except (OSError, ValueError, RecursionError):
        return
    book.load(saved, NOW_MS)
    book.to_dial((), 5, NOW_MS)
    json.dumps(book.save())


def _peer_files() -> list[bytes]:
    book = PeerBook("16Uiu2HAmother")  # type: ignore[arg-type]
    book.learn(PEER, (f"/ip4/127.0.0.1/tcp/1/p2p/{PEER}",))
    book.on_connected(PEER, NOW_MS)
    book.bans[PEER] = NOW_MS + 5_000
    return [json.dumps(book.save()).encode()]


def _plan(data: bytes) -> None:
    read_plan(SCRATCH.file(data))


PLAN = b"""[nodes.provider]
roles = ["provider"]
stake = "5000"
[nodes.provider.settings]
"executor.cpus" = 2.0
"""


def _record(data: bytes) -> None:
    if found := read_record(SCRATCH.file(data, NAME).parent):
        json.dumps(found.plain())


def _records() -> list[bytes]:
    from node.localnet.processes import Process
    from node.localnet.record import LocalnetRecord, LocalNode

    process = sample(Process, "fuzz")
    member = LocalNode("n", ("provider",), *["/x"] * 12, stake_wei=1, deposit_wei=0, process=process)
    made = LocalnetRecord(
        "/x", "http://x", 31_337, "local", "/d", {"VCoin": "0x"}, "0x", "/k", "/s", process, (member,), True
    )
    return [json.dumps(made.plain()).encode()]


# --- what a container leaves ----------------------------------------------------------------------------------------
def _transcript(data: bytes) -> None:
    """As it comes from the socket: in pieces that end anywhere."""
    transcript = Transcript(Limits(timeout_ms=5_000, stdout_bytes=1 << 16))
    step = 1 + (data[0] if data else 0)
    for start in range(0, len(data), step):
        for said in transcript.feed(data[start : start + step]):
            job = getattr(said, "job", None)
            assert job is None or 0 <= job < MAX_JOBS
    assert not transcript.error or transcript.error.message.isprintable()


def _line(data: bytes) -> None:
    transcript = Transcript(Limits(timeout_ms=5_000, stdout_bytes=1 << 16))
    body = data.replace(b"\n", b" ") + b"\n"
    for said in transcript.feed(b"\x01\0\0\0" + len(body).to_bytes(4, "big") + body):
        assert not isinstance(said, Declined) or said.error.message.isprintable()


LINES: tuple[dict[str, Any], ...] = (
    {"ev": "ready"},
    {"ev": "tokens", "ids": [1, 2, 3]},
    {"ev": "tokens", "jobs": {"0": [1, 2], "3": [4]}},
    {"ev": "answer", "job": 0},
    {"ev": "error", "job": 1, "code": "bad_input", "message": "no messages"},
    {"ev": "progress", "step": 1, "total": 2},
    {"ev": "done", "metrics": {"run_ms": 5}},
    {"ev": "error", "code": "oom", "message": "too little memory"},
)


def _transcripts() -> list[bytes]:
    frames = []
    for stream in (1, 2):
        body = b"".join(json.dumps(line).encode() + b"\n" for line in LINES)
        frames.append(bytes([stream, 0, 0, 0]) + len(body).to_bytes(4, "big") + body)
    return [b"".join(frames), frames[0]]


def _outputs(data: bytes) -> None:
    path = SCRATCH.file(data, f"out/{MANIFEST}")
    SCRATCH.file(b"{}", "out/result.json")
    Outputs(path.parent, Limits()).collect(SCRATCH.folder() / "copied", ("result.json",))


def _output_manifests() -> list[bytes]:
    from hashlib import sha256

    entry = {"path": "result.json", "size": 2, "sha256": sha256(b"{}").hexdigest()}
    return [json.dumps({"v": 1, "files": [entry]}).encode()]


# --- the local socket -----------------------------------------------------------------------------------------------
def _body(data: bytes) -> None:
    plain = fields.read_object(data)
    for reader in (asks.job_ask, asks.plan_ask, asks.model_source):
        try:
            reader(plain)
        except Fault as fault:
            fault.message.encode()


BODIES: tuple[dict[str, Any], ...] = (
    {"model": "m", "messages": [{"role": "user", "content": "hi"}], "max_new_tokens": 5, "max_price_wei": "1"},
    {"model": "m", "messages": [{"role": "system", "content": "s"}], "timeout_ms": 5_000, "with_bonus": True},
    {"amount_wei": "1000000000000000000", "dry_run": True},
    {"source": "/models/x"},
)


def _gateway_body(data: bytes) -> None:
    plain = fields.read_object(data)
    for reader in (chat_body, text_body, embeddings_body):
        try:
            reader(plain)
        except GatewayRefusal as refusal:
            json.dumps(refusal.plain()).encode()


GATEWAY_BODIES: tuple[dict[str, Any], ...] = (
    {"model": "m", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 5, "n": 2, "temperature": 0.5},
    {"model": "m", "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}], "stop": None},
    {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True, "stream_options": {}},
    {"model": "m", "prompt": "Once", "stop": ["a", "b"], "seed": 7, "top_p": 0.9, "top_k": 40, "presence_penalty": 1},
    {"model": "m", "input": ["a", "b"], "encoding_format": "base64", "user": "x"},
)


def _json(*plain: Any) -> list[bytes]:
    return [json.dumps(each).encode() for each in plain]


def _served(data: bytes) -> None:
    """A body through the server's routes: never more than an error with its status."""
    at_once(_post(data))


async def _post(data: bytes) -> None:
    from node.api.server import application
    from tests.fakes.backend import FakeBackend

    sent: list[Any] = []
    parts = [{"type": "http.request", "body": data, "more_body": False}]

    async def receive() -> Any:
        return parts.pop() if parts else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    path = ("/v1/jobs", "/v1/models", "/v1/account/deposit")[len(data) % 3]
    scope = {"type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "query_string": b""}
    scope |= {"headers": [], "http_version": "1.1", "scheme": "http", "server": None, "client": None, "root_path": ""}
    await application(FakeBackend())(scope, receive, send)
    assert sent[0]["status"] < 600, sent


TARGETS = (
    Target("gguf", Shape.BYTES, _gguf, _ggufs, (BadGguf,), share=0.3),
    Target("event", Shape.CBOR, _event, _events, (RemoteProtocolError,), share=2),
    Target("journal-file", Shape.BYTES, _journal, _journals, (ConfigError,), share=0.02),
    Target("config", Shape.BYTES, _config, _configs, (ConfigError,), share=0.3),
    Target("deployment", Shape.JSON, _deployment, _deployments, (ConfigError,), share=0.5),
    Target("calibration", Shape.JSON, _calibration, _calibrations, (ConfigError,)),
    Target("keystore", Shape.JSON, _keystore, _keystores, (ConfigError,), share=0.15),
    Target("operator-address", Shape.JSON, _operator, _keystores, (ConfigError,), share=0.3),
    Target("peers-json", Shape.JSON, _peers, _peer_files, share=0.5),
    Target("localnet-plan", Shape.BYTES, _plan, lambda: [PLAN], (ConfigError,), share=0.3),
    Target("localnet-record", Shape.JSON, _record, _records, (ConfigError,), share=0.5),
    Target("transcript", Shape.BYTES, _transcript, _transcripts, (Flood,), share=0.5),
    Target("runner-line", Shape.JSON, _line, lambda: _json(*LINES), (Flood,)),
    Target("output-manifest", Shape.JSON, _outputs, _output_manifests, (HostileOutput,), share=0.2),
    Target("job-proof", Shape.JSON, _proof, _proofs, (RemoteProtocolError,), share=0.3),
    Target("api-body", Shape.JSON, _body, lambda: _json(*BODIES), (Fault,)),
    Target("gateway-body", Shape.JSON, _gateway_body, lambda: _json(*GATEWAY_BODIES), (Fault,)),
    Target("api-request", Shape.JSON, _served, lambda: _json(*BODIES), share=0.1),
)
