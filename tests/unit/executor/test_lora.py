"""LoRA adapters: what is taken, what is refused and why, and the models that they make of a base."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from executor.models import ModelStore, ModelUnusable
from executor.runner.lora import OFF, BadAdapter, pairs_of, require_fit, scale_of
from tests.support.scenes.adapters import TARGET, halves, make_adapter, make_base, said, tensors


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "store")


@pytest.fixture
def base(tmp_path: Path, store: ModelStore) -> bytes:
    return store.add(make_base(tmp_path / "plain"), "plain").cid


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    return make_adapter(tmp_path / "pirate")


def test_products_are_scaled_by_alpha_over_rank_or_its_root() -> None:
    assert scale_of(said()) == 2.0
    assert scale_of(said(use_rslora=True)) == 4.0


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (said(peft_type="IA3"), "no LoRA adapter of PEFT"),
        (b"[]", "no LoRA adapter of PEFT"),
        (b"{", "lacks or misstates"),
        (json.dumps({"peft_type": "LORA", "r": 4}).encode(), "lacks or misstates 'lora_alpha'"),
        (said(r=0), "rank of an adapter is 1 to 1024"),
        (said(r=1_025), "rank of an adapter is 1 to 1024"),
        (said(r=2.5), "rank of an adapter"),
        (said(lora_alpha="nan"), "its alpha a number"),
        (said(bias="all"), "trains biases"),
        *((said(**{name: [1]}), f"the adapter has {name}") for name in OFF),
    ],
)
def test_an_adapter_that_computes_otherwise_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(BadAdapter, match=words):
        scale_of(data)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ([], "changes nothing"),
        (list(halves())[:1], "no half of a pair"),
        ([*halves(), "x.weight"], "no half of a pair"),
        ([*halves(), f"base_model.model.{TARGET}.lora_magnitude_vector"], "no half of a pair"),
        ([f"base_model.model.lm_head.lora_{each}.weight" for each in "AB"], "only the matrices of layers"),
        ([f"base_model.model.model.embed_tokens.lora_{each}.weight" for each in "AB"], "only the matrices of layers"),
    ],
)
def test_tensors_that_are_no_pairs_of_layers_are_refused(names: list[str], words: str) -> None:
    with pytest.raises(BadAdapter, match=words):
        pairs_of(names)


@pytest.mark.parametrize(
    ("shapes", "there"),
    [
        (halves(down=(4, 9)), {f"{TARGET}.weight": (6, 8)}),
        (halves(up=(6, 5)), {f"{TARGET}.weight": (6, 8)}),
        (halves(up=(7, 4)), {f"{TARGET}.weight": (6, 8)}),
        (halves(down=(4,)), {f"{TARGET}.weight": (6, 8)}),
        (halves(), {"model.layers.1.self_attn.q_proj.weight": (6, 8)}),
        (halves(), {f"{TARGET}.weight": (6,)}),
    ],
)
def test_an_adapter_of_another_base_is_refused(
    shapes: dict[str, tuple[int, ...]], there: dict[str, tuple[int, ...]]
) -> None:
    with pytest.raises(BadAdapter, match="made for another base"):
        require_fit(pairs_of(shapes), shapes, there)


def test_a_model_with_an_adapter_is_one_of_its_own_that_shares_its_bases_files(
    store: ModelStore, base: bytes, adapter: Path
) -> None:
    made = store.add_adapted(adapter, base)
    assert (made.name, made.dtype) == ("plain+pirate", "bf16")
    assert made.cid != base
    plain = store.manifest(base)
    assert set(made.files) > set(plain.files)
    assert {each.path for each in set(made.files) - set(plain.files)} == {"adapter.json", "adapter.safetensors"}
    assert store.verify(made.cid) == made == store.add_adapted(adapter, base)
    store.require_format(made)
    for each in plain.files:
        ours, theirs = store.path(made.cid) / each.path, store.path(base) / each.path
        assert ours.stat().st_ino == theirs.stat().st_ino
    (adapter / "adapter_config.json").write_bytes(said(lora_alpha=9))
    assert store.add_adapted(adapter, base).cid != made.cid


def test_on_a_disk_without_links_its_files_are_copies(
    store: ModelStore, base: bytes, adapter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no links here")

    monkeypatch.setattr("os.link", refuse)
    assert store.verify(store.add_adapted(adapter, base).cid)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("adapter_config.json", said(use_dora=True), "the adapter has use_dora"),
        ("adapter_model.safetensors", tensors(halves(down=(4, 9))), "made for another base"),
        ("adapter_model.safetensors", tensors(halves(), "F64"), "must be of BF16, F16 or F32, found F64"),
        ("adapter_model.safetensors", tensors(halves())[:-1], "copy or download it again"),
        ("adapter_model.safetensors", b"\xff" * 16, "no safetensors file"),
        ("adapter_model.safetensors", tensors({}), "changes nothing"),
    ],
)
def test_a_damaged_or_strange_adapter_leaves_nothing_behind(
    store: ModelStore, base: bytes, adapter: Path, name: str, content: bytes, words: str
) -> None:
    (adapter / name).write_bytes(content)
    with pytest.raises(ModelUnusable, match=words):
        store.add_adapted(adapter, base)
    assert [path.name for path in store.path(base).parent.iterdir()] == [base.hex()]


def test_only_a_whole_model_without_an_adapter_is_a_base(store: ModelStore, base: bytes, adapter: Path) -> None:
    made = store.add_adapted(adapter, base)
    with pytest.raises(ModelUnusable, match="plain\\+pirate is no base"):
        store.add_adapted(adapter, made.cid)
    with pytest.raises(ModelUnusable, match="is not in the store"):
        store.add_adapted(adapter, bytes(32))
    (adapter / "adapter_config.json").unlink()
    with pytest.raises(ModelUnusable, match=r"there is no adapter_config.json"):
        store.add_adapted(adapter, base)
    with pytest.raises(ModelUnusable, match=r"there is no adapter_config.json"):
        store.add_adapted(adapter / "nowhere", base)
