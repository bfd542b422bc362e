"""Sealed content: each side reads what the other sealed, and no change goes unnoticed."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from coincurve import PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from executor.workspace.folders import Workspaces
from node.wallet.sealing import CHUNK_BYTES, Sealing, StoredInput, Unopened, seal, seal_key, sealed_size, unseal
from node.wallet.secrets import ContentKeys, HpkeSecrets, SecretFiles
from p2p.store import ContentStore
from protocol.effects import OpenFrame, OpenInput, OpenResult, OpenSample, SealFrame, SealKey, SealResult
from protocol.errors import AdapterError, LocalProtocolError, Malformed
from protocol.events import (
    FrameOpened,
    FrameSealed,
    InputOpened,
    KeySealed,
    ResultOpened,
    ResultSealed,
    SampleOpened,
)
from protocol.params import MAX_INLINE_BYTES, MAX_INPUT_BYTES
from protocol.stages.assignment import Assignment, JobDetails, kind_flags
from protocol.stages.blob import ModelFile, ModelManifest
from protocol.stages.commitment import Result, SettledJob
from protocol.stages.request import CLASSIFY, EMBED, GENERATE, KINDS
from protocol.stages.stop_order import STOP_ORDER, StopOrder
from protocol.wire.envelope import digest, sign_digest, struct_hash
from protocol.wire.ids import ZERO_ADDRESS, Cid, address_of, cid_of
from tests.simulation.scene import DOMAIN

NOW = 1_700_000_000_000
JOB = b"\x11" * 32
BATCH = b"\x22" * 32
SALT = "ab" * 16
CHAT = json.dumps({"messages": [{"content": "Hello", "role": "user"}], "salt": SALT, "v": 1}).encode()
MODEL = ModelManifest(
    "tiny", (ModelFile("tokenizer.json", Cid(bytes(32)), 1),), "tokenizer.json", (2,), 2, "bf16", 8, 100, 1, 64, 1
)
KEY = b"\x33" * 32


def result_json(ids: list[int], *, salt: str = SALT, finish: str = "eos", job: bytes = JOB) -> bytes:
    plain = {
        "v": 1,
        "job_id": job.hex(),
        "salt": salt,
        "manifest_sha256": MODEL.cid.hex(),
        "dtype": "fp32",
        "device_class": 1,
        "prompt_token_ids_sha256": "0" * 64,
        "output_token_ids": ids,
        "finish": finish,
    }
    return json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()


TEXTS = json.dumps({"labels": ["a", "b"], "salt": SALT, "texts": ["x", "y"], "v": 1}).encode()


def reading_json(labels: tuple[str, ...] = ("a", "b"), tokens: tuple[int, ...] = (3, 33)) -> bytes:
    """The result of a classification."""
    plain = json.loads(result_json([])) | {"labels": labels, "tokens": tokens, "logits": [[5, -6]] * len(tokens)}
    return json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()


def changed(sealed: bytes) -> bytes:
    """The same with one bit of it turned."""
    return sealed[:-1] + bytes([sealed[-1] ^ 1])


@dataclass
class Side:
    """One node's sealing and what is under it."""

    home: Path
    sealing: Sealing
    store: ContentStore
    workspaces: Workspaces
    keys: ContentKeys
    stated: dict[bytes, int]

    async def hpke_key(self) -> bytes:
        return await self.sealing.public_key(NOW)

    def add_model(self) -> None:
        folder = self.home / "store" / "models" / MODEL.cid.hex()
        folder.mkdir(parents=True)
        (folder / "manifest.json").write_bytes(MODEL.encode())


def side(home: Path) -> Side:
    store, workspaces = ContentStore(home / "store"), Workspaces(home / "work")
    keys = ContentKeys(SecretFiles(home / "keys" / "content"))
    secrets = HpkeSecrets(SecretFiles(home / "keys" / "hpke"))
    stated: dict[bytes, int] = {}
    sealing = Sealing(secrets, keys, store, workspaces, home / "results", stated.get, DOMAIN)
    return Side(home, sealing, store, workspaces, keys, stated)


@pytest.fixture
def client(tmp_path: Path) -> Side:
    return side(tmp_path / "client")


@pytest.fixture
def node(tmp_path: Path) -> Side:
    return side(tmp_path / "node")


@pytest.fixture
def seat(tmp_path: Path) -> Side:
    return side(tmp_path / "seat")


async def hire(client: Side, node: Side, *, inline: bool = True, asked: bytes = CHAT) -> tuple[StoredInput, OpenInput]:
    """The client's input, and the order to open it at the node."""
    stored = await client.sealing.store_input(asked)
    sealed = await client.sealing.perform(SealKey(stored.input_cid, await node.hpke_key()))
    assert isinstance(sealed, KeySealed)
    content = stored.sealed if inline else b""
    return stored, OpenInput(JOB, stored.input_cid, stored.content_key_hash, sealed.sealed_key, content)


# --- the seal itself ------------------------------------------------------------------------------------------------
@given(content=st.binary(max_size=300), label=st.binary(max_size=40))
def test_sealed_content_opens(content: bytes, label: bytes) -> None:
    sealed = seal(KEY, label, content)
    assert unseal(KEY, label, sealed) == content
    assert len(sealed) == sealed_size(len(content))
    assert seal(KEY, label, content) == sealed


@given(content=st.binary(max_size=100), place=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_every_bit_counts(content: bytes, place: int, bit: int) -> None:
    sealed = bytearray(seal(KEY, b"input", content))
    sealed[place % len(sealed)] ^= 1 << bit
    with pytest.raises(Unopened):
        unseal(KEY, b"input", bytes(sealed))


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES])
def test_chunks_cannot_be_cut_off_moved_or_added(size: int) -> None:
    content = hashlib.shake_128(b"content").digest(size)
    sealed = seal(KEY, b"input", content)
    assert unseal(KEY, b"input", sealed) == content
    assert len(sealed) == sealed_size(size)
    step = CHUNK_BYTES + 16
    head, chunks = sealed[:16], [sealed[at : at + step] for at in range(16, len(sealed), step)]
    wrong = {
        "last chunk cut off": head + b"".join(chunks[:-1]),
        "last byte cut off": sealed[:-1],
        "chunk added": sealed + chunks[-1],
        "first two swapped": head + b"".join([*chunks[1::-1], *chunks[2:]]) if len(chunks) > 2 else b"",
        "nothing": b"",
    }
    for changed in wrong.values():
        with pytest.raises(Unopened):
            unseal(KEY, b"input", changed)


def test_bytes_are_those_of_version_one() -> None:
    # A peer in another language, and a blob sealed before an upgrade, must open as before.
    assert (
        seal(KEY, b"input", b"content").hex()
        == "f8ed43fd67845d1033d8198dc64c9e4ebdc31ca97e93fba9325730249fd1149dd62b717e892488"
    )


def test_label_and_key_count() -> None:
    sealed = seal(KEY, b"result" + JOB, b"content")
    for key, label in ((KEY, b"input"), (KEY, b"result" + BATCH), (b"\x34" * 32, b"result" + JOB)):
        with pytest.raises(Unopened):
            unseal(key, label, sealed)


def test_same_label_with_other_content_uses_another_nonce() -> None:
    # Two runs of one job may differ; with one nonce the difference would show through.
    first, second = seal(KEY, b"frame", b"\0" * 16), seal(KEY, b"frame", b"\1" * 16)
    body = bytes(a ^ b for a, b in zip(first[16:32], second[16:32], strict=True))
    assert first[:16] != second[:16]
    assert body != b"\1" * 16


# --- inputs ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("inline", [True, False])
async def test_input_reaches_the_node_it_was_sealed_for(client: Side, node: Side, inline: bool) -> None:
    stored, order = await hire(client, node, inline=inline)
    if not inline:
        with pytest.raises(AdapterError, match="is not in the content store"):
            await node.sealing.perform(order)
        path = node.store.blob_path(stored.input_cid)
        path.parent.mkdir(parents=True)
        found = client.store.find(stored.input_cid)
        assert found is not None
        path.write_bytes(found.read_bytes())
    assert await node.sealing.perform(order) == InputOpened(JOB)
    assert node.workspaces.of_job(JOB).get("input.json") == CHAT
    assert hashlib.sha256(node.keys.get(stored.input_cid) or b"").digest() == stored.content_key_hash
    # Asked again after a crash it does no harm.
    assert await node.sealing.perform(order) == InputOpened(JOB)


async def test_only_ciphertext_is_kept_of_an_input(client: Side) -> None:
    stored = await client.sealing.store_input(CHAT)
    assert cid_of(stored.sealed) == stored.input_cid
    assert b"Hello" not in stored.sealed
    held = b"".join(path.read_bytes() for path in client.home.rglob("*") if path.is_file())
    assert b"Hello" not in held
    other = await client.sealing.store_input(CHAT)
    assert other.sealed != stored.sealed


@pytest.mark.parametrize("content", [b"", b"x" * (MAX_INPUT_BYTES + 1)])
async def test_input_of_no_possible_size_is_not_taken(client: Side, content: bytes) -> None:
    with pytest.raises(ValueError, match="an input has 1 to"):
        await client.sealing.store_input(content)


TAMPERED: dict[str, Callable[[OpenInput], OpenInput]] = {
    "key of another input": lambda order: replace(order, input_cid=cid_of(order.sealed_input + b"x")),
    "other key hash": lambda order: replace(order, content_key_hash=bytes(32)),
    "changed key": lambda order: replace(order, sealed_key=changed(order.sealed_key)),
    "no key": lambda order: replace(order, sealed_key=b""),
    "changed input": lambda order: replace(order, sealed_input=changed(order.sealed_input)),
    "cut input": lambda order: replace(order, sealed_input=order.sealed_input[:-1]),
}


@pytest.mark.parametrize("how", TAMPERED)
async def test_tampered_order_is_the_clients_fault(client: Side, node: Side, how: str) -> None:
    _, order = await hire(client, node)
    with pytest.raises(Malformed):
        await node.sealing.perform(TAMPERED[how](order))
    assert node.workspaces.of_job(JOB).get("input.json") is None
    assert node.keys.get(Cid(order.input_cid)) is None


@pytest.mark.parametrize("inline", [True, False])
async def test_input_that_is_larger_than_its_client_signed_is_refused(client: Side, node: Side, inline: bool) -> None:
    stored, order = await hire(client, node, inline=inline)
    path = node.store.blob_path(stored.input_cid)
    path.parent.mkdir(parents=True)
    path.write_bytes(stored.sealed)
    node.stated[JOB] = len(stored.sealed) - 1
    with pytest.raises(Malformed, match=f"it has {len(stored.sealed)} bytes sealed, and its request says"):
        await node.sealing.perform(order)
    assert node.workspaces.of_job(JOB).get("input.json") is None
    node.stated[JOB] = len(stored.sealed)
    assert await node.sealing.perform(order) == InputOpened(JOB)


async def test_input_over_the_limit_is_not_read(client: Side, node: Side) -> None:
    _, order = await hire(client, node, inline=False)
    path = node.store.blob_path(Cid(order.input_cid))
    path.parent.mkdir(parents=True)
    with path.open("wb") as file:
        file.truncate(sealed_size(MAX_INPUT_BYTES) + 1)
    with pytest.raises(Malformed, match="too large"):
        await node.sealing.perform(order)


async def test_key_that_opens_other_content_is_refused(client: Side, node: Side) -> None:
    """The id and the key hash are right, but the input was sealed under another key than the one sent."""
    forged = seal(b"\x44" * 32, b"input", CHAT)
    key = b"\x45" * 32
    order = OpenInput(
        JOB,
        cid_of(forged),
        hashlib.sha256(key).digest(),
        seal_key(key, cid_of(forged), await node.hpke_key()),
        forged,
    )
    with pytest.raises(Malformed, match="does not open"):
        await node.sealing.perform(order)


async def test_order_sealed_for_one_node_opens_at_no_other(client: Side, node: Side, seat: Side) -> None:
    _, order = await hire(client, node)
    await seat.hpke_key()
    with pytest.raises(Malformed, match="not sealed to this node"):
        await seat.sealing.perform(order)


async def test_key_sealed_before_a_rotation_still_opens(client: Side, node: Side) -> None:
    _, order = await hire(client, node)
    old = await node.hpke_key()
    assert await node.sealing.public_key(NOW + 86_400_000) != old
    assert await node.sealing.perform(order) == InputOpened(JOB)
    # Three days on, the old secret is gone.
    await node.sealing.public_key(NOW + 3 * 86_400_000)
    with pytest.raises(Malformed, match="not sealed to this node"):
        await node.sealing.perform(order)


async def test_key_of_no_node_is_a_peers_fault(client: Side) -> None:
    stored = await client.sealing.store_input(CHAT)
    with pytest.raises(Malformed, match="not an encryption key"):
        await client.sealing.perform(SealKey(stored.input_cid, bytes(32)))


async def test_key_that_is_no_longer_needed_is_wiped_with_its_input(client: Side, node: Side) -> None:
    stored, _ = await hire(client, node)
    kept = await client.sealing.store_input(CHAT)
    far = 2**53
    assert await client.sealing.forget_before(0, ()) == 0
    assert await client.sealing.forget_before(far, {kept.input_cid}) == 1
    with pytest.raises(AdapterError, match="is not here"):
        await client.sealing.perform(SealKey(stored.input_cid, await node.hpke_key()))
    assert client.store.find(stored.input_cid) is None
    assert client.store.find(kept.input_cid) is not None
    await client.sealing.perform(SealKey(kept.input_cid, await node.hpke_key()))


async def test_full_disk_is_a_failure_of_the_effect(client: Side, node: Side) -> None:
    _, order = await hire(client, node)
    (node.home / "work").write_text("a file where the folder should be")
    with pytest.raises(AdapterError) as caught:
        await node.sealing.perform(order)
    assert caught.value.transient


# --- frames ---------------------------------------------------------------------------------------------------------
async def test_streamed_tokens_reach_the_client(client: Side, node: Side) -> None:
    stored, order = await hire(client, node)
    await node.sealing.perform(order)
    sealed = await node.sealing.perform(SealFrame(JOB, stored.input_cid, 3, (1, 49_151, 0)))
    assert isinstance(sealed, FrameSealed)
    opened = await client.sealing.perform(OpenFrame(JOB, stored.input_cid, 3, sealed.sealed))
    assert opened == FrameOpened(JOB, 3, (1, 49_151, 0))
    for wrong in (
        OpenFrame(JOB, stored.input_cid, 4, sealed.sealed),
        OpenFrame(BATCH, stored.input_cid, 3, sealed.sealed),
        OpenFrame(JOB, stored.input_cid, 3, sealed.sealed[:-1]),
        OpenFrame(JOB, stored.input_cid, 3, b""),
    ):
        with pytest.raises(Malformed):
            await client.sealing.perform(wrong)


async def test_frame_of_half_a_token_is_refused(client: Side) -> None:
    stored = await client.sealing.store_input(CHAT)
    key = client.keys.get(stored.input_cid)
    assert key is not None
    sealed = seal(key, b"frame" + JOB + bytes(4), b"\0\0\0\0\1")
    with pytest.raises(Malformed):
        await client.sealing.perform(OpenFrame(JOB, stored.input_cid, 0, sealed))


async def test_frame_that_no_message_could_carry_is_our_bug(client: Side) -> None:
    stored = await client.sealing.store_input(CHAT)
    with pytest.raises(LocalProtocolError):
        await client.sealing.perform(SealFrame(JOB, stored.input_cid, 0, (1,) * 4_001))


# --- results --------------------------------------------------------------------------------------------------------
async def deliver(
    client: Side, node: Side, content: bytes, max_new_tokens: int = 20, kind: int = GENERATE
) -> tuple[ResultSealed, OpenResult]:
    """A node's result, sealed, and the client's order to open it."""
    stored, order = await hire(client, node, asked=TEXTS if kind else CHAT)
    await node.sealing.perform(order)
    client.add_model()
    node.workspaces.of_job(JOB).put("result.json", content)
    sealed = await node.sealing.perform(SealResult(JOB, stored.input_cid))
    assert isinstance(sealed, ResultSealed)
    wish = OpenResult(JOB, stored.input_cid, MODEL.cid, kind, max_new_tokens, sealed.blob_cid, sealed.sealed_result)
    return sealed, wish


async def test_result_reaches_the_client_and_is_kept_for_the_user(client: Side, node: Side) -> None:
    content = result_json([5, 6, 7])
    sealed, wish = await deliver(client, node, content)
    assert cid_of(sealed.sealed_result) == sealed.blob_cid
    digest = hashlib.sha256(content).digest()
    assert await client.sealing.perform(wish) == ResultOpened(JOB, digest, 3, "eos", "")
    kept = client.home / "results" / f"{JOB.hex()}.json"
    assert kept.read_bytes() == content
    assert kept.stat().st_mode & 0o777 == 0o600


async def test_sealing_again_gives_the_same_blob_under_another_salt(client: Side, node: Side) -> None:
    first, wish = await deliver(client, node, result_json([5]))
    again = await node.sealing.perform(SealResult(JOB, wish.input_cid))
    assert isinstance(again, ResultSealed)
    assert (again.blob_cid, again.sealed_result) == (first.blob_cid, first.sealed_result)
    assert again.salt != first.salt


async def test_large_result_goes_by_the_content_store(client: Side, node: Side) -> None:
    content = result_json([99] * 12_000, finish="length")
    assert len(content) > MAX_INLINE_BYTES
    sealed, wish = await deliver(client, node, content, 12_000)
    assert sealed.sealed_result == b""
    path = node.store.find(Cid(sealed.blob_cid))
    assert path is not None
    with pytest.raises(AdapterError, match="is not in the content store"):
        await client.sealing.perform(wish)
    client.store.blob_path(Cid(sealed.blob_cid)).write_bytes(path.read_bytes())
    opened = await client.sealing.perform(wish)
    assert isinstance(opened, ResultOpened)
    assert (opened.new_tokens, opened.finish, opened.problem) == (12_000, "length", "")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (result_json([5], salt="cd" * 16), "salt"),
        (result_json([5], job=BATCH), "job_id"),
        (result_json([5, 2, 6]), "a stop token inside of the answer"),
        (result_json([5], finish="length"), "cut short"),
        (result_json([5] * 21), "output_token_ids: count"),
        (b"sorry", "result.json is not JSON"),
    ],
)
async def test_result_that_breaks_a_rule_is_not_accepted(
    client: Side, node: Side, content: bytes, problem: str
) -> None:
    _, wish = await deliver(client, node, content)
    opened = await client.sealing.perform(wish)
    assert opened == ResultOpened(JOB, hashlib.sha256(content).digest(), 0, "", problem)
    assert not (client.home / "results").exists()


async def test_reading_is_opened_as_what_was_asked_for(client: Side, node: Side) -> None:
    content = reading_json()
    _, wish = await deliver(client, node, content, 3, CLASSIFY)
    assert await client.sealing.perform(wish) == ResultOpened(JOB, hashlib.sha256(content).digest(), 3, "", "")
    assert (client.home / "results" / f"{JOB.hex()}.json").read_bytes() == content


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (reading_json(labels=("b", "a")), "labels: not those that were asked for"),
        (reading_json(tokens=(3,)), "tokens: count"),
        (reading_json(tokens=(33, 64)), "more was read than was paid for"),
        (result_json([5]), "tokens"),
    ],
)
async def test_reading_of_something_else_is_not_accepted(
    client: Side, node: Side, content: bytes, problem: str
) -> None:
    _, wish = await deliver(client, node, content, 3, CLASSIFY)
    opened = await client.sealing.perform(wish)
    assert opened == ResultOpened(JOB, hashlib.sha256(content).digest(), 0, "", problem)


async def test_result_that_is_not_the_signed_blob_is_not_accepted(client: Side, node: Side) -> None:
    sealed, wish = await deliver(client, node, result_json([5]))
    for wrong in (
        replace(wish, blob_cid=bytes(32)),
        replace(wish, sealed_result=changed(sealed.sealed_result)),
        replace(wish, job_id=BATCH),
    ):
        opened = await client.sealing.perform(wrong)
        assert isinstance(opened, ResultOpened)
        assert opened.problem


async def test_result_that_is_not_there_cannot_be_sealed(client: Side, node: Side) -> None:
    stored, order = await hire(client, node)
    await node.sealing.perform(order)
    with pytest.raises(AdapterError, match="no result"):
        await node.sealing.perform(SealResult(JOB, stored.input_cid))


async def test_result_of_a_model_that_is_not_here_cannot_be_judged(client: Side, node: Side) -> None:
    _, wish = await deliver(client, node, result_json([5]))
    with pytest.raises(AdapterError, match="manifest"):
        await client.sealing.perform(replace(wish, manifest=bytes(32)))


# --- samples --------------------------------------------------------------------------------------------------------
async def draw(client: Side, node: Side, seat: Side, content: bytes, kind: int = GENERATE) -> OpenSample:
    """The opening of a leaf for a drawn seat."""
    sealed, wish = await deliver(client, node, content, kind=kind if kind < len(KINDS) else EMBED)
    stored = client.store.find(Cid(wish.input_cid))
    key = client.keys.get(Cid(wish.input_cid))
    assert stored is not None
    assert key is not None
    details = JobDetails(
        bytes(32),
        bytes(32),
        100,
        9,
        5,
        MODEL.cid,
        wish.input_cid,
        hashlib.sha256(key).digest(),
        0,
        bytes(32),
        20,
        2,
        1_000,
        NOW // 1000,
        0,
        114,
        kind_flags(kind),
    )
    job = SettledJob(
        job_id=JOB,
        assignment=Assignment(ZERO_ADDRESS, ZERO_ADDRESS, ZERO_ADDRESS, 1, 114, struct_hash(details)),
        details=details,
        signature=bytes(65),
        receipt=None,
        result=Result(JOB, hashlib.sha256(content).digest(), bytes(32), sealed.blob_cid),
        salt=sealed.salt,
    )
    opening = await node.sealing.perform(SealKey(wish.input_cid, await seat.hpke_key()))
    assert isinstance(opening, KeySealed)
    return OpenSample(BATCH, 4, job, opening.sealed_key, stored.read_bytes(), sealed.sealed_result)


@pytest.mark.parametrize("with_model", [True, False])
async def test_seat_opens_a_reading_as_what_the_papers_say(
    client: Side, node: Side, seat: Side, with_model: bool
) -> None:
    if with_model:
        seat.add_model()
    opened = await seat.sealing.perform(await draw(client, node, seat, reading_json(), CLASSIFY))
    assert opened == SampleOpened(BATCH, 4, 2, "")
    assert seat.workspaces.of_sample(BATCH, 4).get("input.json") == TEXTS


@pytest.mark.parametrize(
    ("kind", "problem"), [(EMBED, "the input's labels: count"), (7, "there are no jobs of kind 7")]
)
async def test_reading_of_another_kind_than_the_papers_say_is_a_problem(
    client: Side, node: Side, seat: Side, kind: int, problem: str
) -> None:
    seat.add_model()
    opened = await seat.sealing.perform(await draw(client, node, seat, reading_json(), kind))
    assert opened == SampleOpened(BATCH, 4, 0, problem)


STOPS = {
    "signed": True,
    "signed by another key": False,
    "of another job": False,
    "no signature": False,
    "no text": False,
}


@pytest.mark.parametrize("how", STOPS)
@pytest.mark.parametrize("with_model", [True, False])
async def test_seat_lets_an_answer_end_early_by_the_signature_of_its_client_alone(
    client: Side, node: Side, seat: Side, how: str, with_model: bool
) -> None:
    ids, signer = list(range(5, 12)), address_of(PrivateKey(b"\x01" * 32).public_key.format())
    order = Assignment(signer, signer, ZERO_ADDRESS, 1, 114, bytes(32))
    job = digest(replace(order, index=2) if how == "of another job" else order, DOMAIN)
    secret = b"\x02" * 32 if how == "signed by another key" else b"\x01" * 32
    signature = sign_digest(digest(StopOrder(job), DOMAIN), secret)
    told = json.loads(result_json(ids, finish=STOP_ORDER))
    if how != "no signature":
        told[STOP_ORDER] = 5 if how == "no text" else signature.hex()
    content = json.dumps(told, sort_keys=True, separators=(",", ":")).encode()
    wish = await draw(client, node, seat, content)
    wish = replace(wish, job=replace(wish.job, assignment=order))
    if with_model:
        seat.add_model()
    # A leaf without it is no malformed content: the pass over it finds that it is cut short, as every auditor's does.
    assert await seat.sealing.perform(wish) == SampleOpened(BATCH, 4, len(ids), "")
    kept = seat.workspaces.of_sample(BATCH, 4).get("stop_order.bin")
    assert kept == (signature if STOPS[how] else None)


@pytest.mark.parametrize("with_model", [True, False])
async def test_seat_gets_what_the_node_answered(client: Side, node: Side, seat: Side, with_model: bool) -> None:
    content = result_json([5, 6])
    wish = await draw(client, node, seat, content)
    if with_model:
        seat.add_model()
    assert await seat.sealing.perform(wish) == SampleOpened(BATCH, 4, 2, "")
    workspace = seat.workspaces.of_sample(BATCH, 4)
    assert (workspace.get("input.json"), workspace.get("result.json")) == (CHAT, content)


async def test_a_seat_shows_an_auditor_what_it_was_shown(client: Side, node: Side, seat: Side, tmp_path: Path) -> None:
    content = result_json([5, 6])
    wish = await draw(client, node, seat, content)
    input_cid = wish.job.details.input_cid
    auditor = side(tmp_path / "auditor")
    with pytest.raises(AdapterError, match="not here"):
        await seat.sealing.perform(SealKey(input_cid, await auditor.hpke_key()))
    await seat.sealing.perform(wish)
    sealed = await seat.sealing.perform(SealKey(input_cid, await auditor.hpke_key()))
    assert isinstance(sealed, KeySealed)
    shown = replace(wish, sealed_key=sealed.sealed_key)
    assert await auditor.sealing.perform(shown) == SampleOpened(BATCH, 4, 2, "")
    assert auditor.workspaces.of_sample(BATCH, 4).get("input.json") == CHAT
    # It forgets the key when it forgets the content.
    assert await seat.sealing.forget_before(2**52, frozenset()) == 1
    assert seat.keys.get(Cid(input_cid)) is None


def with_details(wish: OpenSample, **changes: object) -> OpenSample:
    return replace(wish, job=replace(wish.job, details=replace(wish.job.details, **changes)))  # type: ignore[arg-type]


def with_result(wish: OpenSample, **changes: object) -> OpenSample:
    return replace(wish, job=replace(wish.job, result=replace(wish.job.result, **changes)))  # type: ignore[arg-type]


CONTRADICTIONS: dict[str, Callable[[OpenSample], OpenSample]] = {
    "the content key is not sealed to this node": lambda wish: replace(wish, sealed_key=b""),
    "the content key is not the one that was agreed on": lambda wish: with_details(wish, content_key_hash=bytes(32)),
    "the sealed content is not the one that was agreed on": lambda wish: replace(
        wish, sealed_input=wish.sealed_input + b"x"
    ),
    "the result is not the one that the node signed": lambda wish: with_result(wish, result_hash=bytes(32)),
    "output_token_ids: count": lambda wish: with_details(wish, max_new_tokens=1),
}


@pytest.mark.parametrize("problem", CONTRADICTIONS)
async def test_leaf_that_contradicts_its_content_is_said_to(client: Side, node: Side, seat: Side, problem: str) -> None:
    wish = await draw(client, node, seat, result_json([5, 6]))
    seat.add_model()
    assert await seat.sealing.perform(CONTRADICTIONS[problem](wish)) == SampleOpened(BATCH, 4, 0, problem)
    assert seat.workspaces.of_sample(BATCH, 4).get("result.json") is None


async def test_sealed_result_that_is_not_the_signed_blob_is_said_to_be(client: Side, node: Side, seat: Side) -> None:
    wish = await draw(client, node, seat, result_json([5, 6]))
    other = replace(wish, sealed_result=changed(wish.sealed_result))
    opened = await seat.sealing.perform(other)
    assert opened == SampleOpened(BATCH, 4, 0, "the sealed content is not the one that was agreed on")


@pytest.mark.parametrize("content", [b"[]", b"{}", b'{"output_token_ids":3}', b"\xff", b"[" * 20_000])
async def test_result_that_is_none_is_a_problem_also_without_the_model(
    client: Side, node: Side, seat: Side, content: bytes
) -> None:
    opened = await seat.sealing.perform(await draw(client, node, seat, content))
    assert isinstance(opened, SampleOpened)
    assert opened.problem
