"""What an image weighs before it is built, and the locks that its bytes come from."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from executor import images
from executor.cuda import image as cuda
from executor.cuda.requirement import release_of, toolkit_faults
from executor.image_weight import ImageWeight, fetch_bytes, wheels


def test_weight_of_the_image_for_cards_is_that_of_its_lock() -> None:
    sizes = [int(size) for size in re.findall(r"# (\d+) bytes$", cuda.LOCK.read_text(), re.MULTILINE)]
    assert fetch_bytes(cuda.LOCK) == sum(sizes)
    assert cuda.weight().fetch_bytes == sum(sizes) + cuda.DEBIAN_BYTES
    assert cuda.weight().disk_bytes > 5_000_000_000
    more = cuda.weight(llama=True)
    assert more.fetch_bytes == cuda.weight().fetch_bytes + fetch_bytes(cuda.TOOLKIT_LOCK)
    assert more.build_s > cuda.weight().build_s


def test_weight_is_a_sentence_of_gigabytes_and_minutes() -> None:
    assert ImageWeight(3_100_000_000, 6_040_000_000, 90).sentence("cuda") == (
        "cuda: fetches 3.1 GB, takes 6.0 GB of disk and about 2 minutes on two cores"
    )


@pytest.mark.parametrize("line", ["torch==2.15.0", "torch==2.15.0 --hash=sha256:" + "0" * 64, "torch  # 12 bytes"])
def test_lock_without_hash_or_size_is_refused(tmp_path: Path, line: str) -> None:
    (tmp_path / "a.lock").write_text(f"# head\n{line}\n")
    with pytest.raises(ValueError, match=r"a\.lock:2 has no hash or no size"):
        wheels(tmp_path / "a.lock")


@pytest.mark.parametrize("lock", [cuda.LOCK, cuda.TOOLKIT_LOCK], ids=lambda lock: lock.name)
def test_wheels_are_of_one_release_of_cuda(lock: Path) -> None:
    release = {each.version for each in wheels(lock) if each.name in ("nvidia-cuda-runtime", "nvidia-cuda-nvcc")}
    assert {tuple(version.split(".")[:2]) for version in release} == {tuple(cuda.CUDA.split("."))}


def test_both_locks_have_the_same_version_of_what_both_take() -> None:
    runtime, toolkit = ({each.name: each.version for each in wheels(lock)} for lock in (cuda.LOCK, cuda.TOOLKIT_LOCK))
    shared = runtime.keys() & toolkit.keys()
    assert "nvidia-cublas" in shared
    assert {name: runtime[name] for name in shared} == {name: toolkit[name] for name in shared}


def test_runner_and_image_for_cards_take_the_same_libraries() -> None:
    pin = re.compile(r"^([\w-]+==\S+)", re.MULTILINE)
    ours = set(pin.findall((images.RUNNER / "requirements.in").read_text()))
    assert ours == set(pin.findall((cuda.FOLDER / "requirements.in").read_text()))


def test_compiler_of_the_lock_makes_the_kernels_that_the_dockerfile_asks_for() -> None:
    text = (cuda.FOLDER / "Dockerfile").read_text()
    architectures = re.search(r'CUDA_ARCHITECTURES="([^"]+)"', text)
    assert architectures
    (compiler,) = (each.version for each in wheels(cuda.TOOLKIT_LOCK) if each.name == "nvidia-cuda-nvcc")
    assert toolkit_faults(release_of(cuda.CUDA), compiler, architectures[1].split(";")) == ()


def test_sources_of_llama_are_those_of_the_runner() -> None:
    found = cuda.llama_source()
    assert re.fullmatch(r"[0-9a-f]{64}", found["LLAMA_SHA256"])
    assert found["LLAMA_URL"] in (images.RUNNER / "Dockerfile").read_text()


@pytest.mark.parametrize("folder", [images.RUNNER, cuda.FOLDER], ids=lambda folder: folder.name)
def test_every_dockerfile_takes_its_base_as_an_argument(folder: Path) -> None:
    lines = (folder / "Dockerfile").read_text().splitlines()
    stages = {line.split(" AS ")[1] for line in lines if line.startswith("FROM ") and " AS " in line}
    bases = {line.split()[1] for line in lines if line.startswith("FROM ")}
    assert f"ARG BASE={images.BASE}" in lines
    assert {base for base in bases if not base.startswith("${")} <= stages


def test_name_follows_the_runner_the_locks_and_the_choice_of_llama() -> None:
    assert cuda.tag() == f"vcoin-runner-cuda:{cuda.runtime()[:12]}"
    assert cuda.tag() != cuda.tag(llama=True)
