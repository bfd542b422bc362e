"""Models in the store as their owner sees them: states, sizes, pins, last use, and removal beside other processes."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from p2p import holdings as holdings_module
from p2p.folders import GONE
from p2p.holdings import HoldingState, ModelHoldings, ModelInUse
from p2p.store import PARTIAL_KEPT_S, ContentStore
from protocol.wire.ids import Cid, cid_of
from tests.support.scenes.stored_models import TOKENIZER, begin_model, names, put_model


@pytest.fixture
def holdings(tmp_path: Path) -> ModelHoldings:
    return ModelHoldings(tmp_path)


def test_states_and_sizes_of_models(holdings: ModelHoldings, tmp_path: Path) -> None:
    whole = put_model(tmp_path, "whole", 1_000, used_s=500.0)
    begun = begin_model(tmp_path, "begun", 1_000, here=300)
    described = put_model(tmp_path, "described", 1_000)
    holdings.retire(described.cid, keep_description=True)
    assert names(tmp_path) == {"begun": "partial", "described": "description", "whole": "whole"}
    kept = len(whole.encode()) + len(TOKENIZER)
    found = holdings.find(whole.cid)
    assert found is not None
    assert (found.held_bytes, found.weights_bytes, found.used_s) == (kept + 1_000, 1_000, 500.0)
    partial = holdings.find(begun.cid)
    assert partial is not None
    assert partial.weights_bytes == 300 + len(begun.encode()) + len(TOKENIZER)
    assert holdings.total_bytes() == sum(each.held_bytes for each in holdings.all())
    assert holdings.find(Cid(bytes(32))) is None


def test_strange_names_in_the_store_are_passed_over(holdings: ModelHoldings, tmp_path: Path) -> None:
    put_model(tmp_path, "whole", 10)
    for name in ("x", "zz" * 32, ".new-abc", "AB" * 32):
        (tmp_path / "models" / name).mkdir()
    (tmp_path / "partial" / "model-..").mkdir(parents=True)
    assert names(tmp_path) == {"whole": "whole"}


def test_strange_names_and_contents_among_descriptions_are_passed_over(tmp_path: Path) -> None:
    model = put_model(tmp_path, "whole", 10)
    ModelHoldings(tmp_path).retire(model.cid, keep_description=True)
    no_manifest = b'{"v":1}'
    for name in ("zz" * 32, cid_of(no_manifest).hex()):
        (tmp_path / "descriptions" / name).mkdir()
        (tmp_path / "descriptions" / name / "manifest.json").write_bytes(no_manifest)
    assert ContentStore(tmp_path).descriptions() == (model,)
    assert names(tmp_path) == {"whole": "description"}


def test_removal_of_a_linked_model_takes_the_link_and_leaves_what_it_names(
    holdings: ModelHoldings, tmp_path: Path
) -> None:
    model = put_model(tmp_path, "whole", 10)
    elsewhere = tmp_path / "elsewhere"
    linked = tmp_path / "models" / model.cid.hex()
    linked.rename(elsewhere)
    linked.symlink_to(elsewhere)
    holdings.retire(model.cid, keep_description=False)
    assert names(tmp_path) == {}
    assert list((tmp_path / "partial").iterdir()) == []
    assert (elsewhere / "model.safetensors").stat().st_size == 10


def test_copy_that_a_killed_process_left_among_models_is_swept_after_a_day(
    holdings: ModelHoldings, tmp_path: Path
) -> None:
    left = tmp_path / "models" / ".new-abc" / "model"
    left.mkdir(parents=True)
    (left / "model.safetensors").write_bytes(bytes(500))
    begun_s = (left / "model.safetensors").stat().st_mtime
    store = ContentStore(tmp_path)
    store.sweep(begun_s + PARTIAL_KEPT_S - 60)
    assert holdings.total_bytes() == 500
    store.sweep(begun_s + PARTIAL_KEPT_S + 60)
    assert holdings.total_bytes() == 0


def test_model_that_is_pinned_after_its_eviction_was_planned_stays(holdings: ModelHoldings, tmp_path: Path) -> None:
    model = put_model(tmp_path, "whole", 10)
    holdings.pin(model.cid, is_pinned=True)
    with pytest.raises(ModelInUse, match="pinned"):
        holdings.retire(model.cid, keep_description=True)
    assert names(tmp_path) == {"whole": "whole"}


def test_pin_and_last_use_are_kept_on_disk(holdings: ModelHoldings, tmp_path: Path) -> None:
    model = put_model(tmp_path, "whole", 10)
    holdings.pin(model.cid, is_pinned=True)
    holdings.touch(model.cid, 1_234.0)
    again = ModelHoldings(tmp_path).find(model.cid)
    assert again is not None
    assert (again.is_pinned, again.used_s) == (True, 1_234.0)
    holdings.pin(model.cid, is_pinned=False)
    holdings.pin(model.cid, is_pinned=False)
    again = holdings.find(model.cid)
    assert again is not None
    assert not again.is_pinned


def test_removal_leaves_nothing_of_a_model(holdings: ModelHoldings, tmp_path: Path) -> None:
    for model in (put_model(tmp_path, "whole", 10), begin_model(tmp_path, "begun", 1_000, here=300)):
        holdings.pin(model.cid, is_pinned=True)
        holdings.retire(model.cid, keep_description=False)
        assert holdings.find(model.cid) is None
    assert holdings.total_bytes() == 0
    assert list((tmp_path / "partial").iterdir()) == []


def test_eviction_keeps_the_description(holdings: ModelHoldings, tmp_path: Path) -> None:
    model = put_model(tmp_path, "whole", 1_000)
    holdings.retire(model.cid, keep_description=True)
    store = ContentStore(tmp_path)
    assert (store.model(model.cid), store.description(model.cid)) == (None, model)
    assert holdings.total_bytes() == len(model.encode()) + len(TOKENIZER)


def test_model_that_is_held_stays_until_it_is_let_go(holdings: ModelHoldings, tmp_path: Path) -> None:
    model = put_model(tmp_path, "whole", 10)
    held = [holdings.hold(model.cid), ModelHoldings(tmp_path).hold(model.cid)]
    for descriptor in held:
        with pytest.raises(ModelInUse, match="a job or a check"):
            holdings.retire(model.cid, keep_description=False)
        os.close(descriptor)
    holdings.retire(model.cid, keep_description=False)
    assert names(tmp_path) == {}


def test_model_that_is_being_fetched_stays(holdings: ModelHoldings, tmp_path: Path) -> None:
    model = begin_model(tmp_path, "begun", 1_000, here=300)
    content = model.file("model.safetensors").sha256
    partial = ContentStore(tmp_path).partial(content)
    with pytest.raises(ModelInUse, match="being fetched"):
        holdings.retire(model.cid, keep_description=False)
    assert names(tmp_path) == {"begun": "partial"}
    partial.close()
    holdings.retire(model.cid, keep_description=False)
    assert names(tmp_path) == {}


HOLDER = """
import sys
from pathlib import Path
from p2p.holdings import ModelHoldings
ModelHoldings(Path(sys.argv[1])).hold(bytes.fromhex(sys.argv[2]))
print("held", flush=True)
sys.stdin.read()
"""


def test_lock_of_a_killed_process_is_free(holdings: ModelHoldings, tmp_path: Path) -> None:
    model = put_model(tmp_path, "whole", 10)
    command = [sys.executable, "-c", HOLDER, str(tmp_path), model.cid.hex()]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(ModelInUse):
            holdings.retire(model.cid, keep_description=True)
        process.send_signal(signal.SIGKILL)
    holdings.retire(model.cid, keep_description=True)
    assert names(tmp_path) == {"whole": "description"}


class Killed(BaseException):
    """The process ends here."""


def test_process_killed_in_the_middle_of_an_eviction_leaves_no_half_model(
    holdings: ModelHoldings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = put_model(tmp_path, "whole", 1_000)

    def killed(_aside: Path) -> None:
        raise Killed

    monkeypatch.setattr(holdings_module, "discard", killed)
    with pytest.raises(Killed):
        holdings.retire(model.cid, keep_description=True)
    found = holdings.find(model.cid)
    assert found is not None
    assert found.state is HoldingState.DESCRIBED
    (left,) = (tmp_path / "partial").glob(GONE + "*")
    assert (left / "model.safetensors").is_file()
    # Its bytes count against the quota until the next fetch or start sweeps them.
    assert holdings.total_bytes() > 1_000
    ContentStore(tmp_path).sweep(0.0)
    assert list((tmp_path / "partial").iterdir()) == []


def test_process_killed_before_the_weights_go_leaves_the_whole_model(
    holdings: ModelHoldings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = put_model(tmp_path, "whole", 1_000)

    def killed(_folder: Path, _partial: Path) -> Path:
        raise Killed

    monkeypatch.setattr(holdings_module, "set_aside", killed)
    with pytest.raises(Killed):
        holdings.retire(model.cid, keep_description=True)
    assert ContentStore(tmp_path).model(model.cid) == model
    assert names(tmp_path) == {"whole": "whole"}
