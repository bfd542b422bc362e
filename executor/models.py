"""The model store: folders named by the hash of their manifest, whose files are checked when they are added.

<store>/models/<manifest hex>/manifest.json and the files it names, all readable by the worker
A model is a Hugging Face folder, or a GGUF file with the files that are made of its header. One with a LoRA adapter has
the files of its base, which are links, and those of the adapter.
"""

import json
import os
import shutil
import struct
import tempfile
from collections.abc import Callable, Sequence
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any

from executor.containers.sandbox import MIB
from executor.runner.gguf.header import BadGguf, Header, read_header
from executor.runner.gguf.layout import MODEL_FILE, config_of, parameters_of, require_tensors
from executor.runner.gguf.tokenizer import tokenizer_files
from executor.runner.lora import (
    CONFIG,
    PEFT_CONFIG,
    PEFT_WEIGHTS,
    WEIGHTS,
    BadAdapter,
    pairs_of,
    require_fit,
    scale_of,
)
from executor.workspace.folders import disk_errors
from protocol.errors import ExecutorError, RemoteProtocolError
from protocol.stages.blob import RUNTIME_BYTES, ModelFile, ModelManifest, read_manifest
from protocol.stages.memory import GGUF_SUFFIX, WEIGHTS_SUFFIX
from protocol.wire.ids import Cid

MANIFEST = "manifest.json"
# Data only: loading a pickle runs code.
DATA_SUFFIXES = (".safetensors", ".json", ".jinja", ".txt", ".model")
STORED_BYTES = {"BF16": ("bf16", 2), "F16": ("fp16", 2), "F32": ("fp32", 4)}
MAX_HEADER_BYTES = 64 * MIB


class ModelUnusable(ExecutorError):
    """A folder is no model that can be served, or differs from its manifest."""


class ModelStore:
    """All models of this machine. Every call blocks. A crash leaves no half model, and a model may be added twice."""

    def __init__(self, root: Path) -> None:
        self._models = root / "models"

    def path(self, cid: bytes) -> Path:
        return self._models / cid.hex()

    def manifest(self, cid: bytes) -> ModelManifest:
        """Raises: ModelUnusable if the model is not here."""
        try:
            data = (self.path(cid) / MANIFEST).read_bytes()
        except OSError as error:
            raise ModelUnusable(f"model {cid.hex()[:12]} is not in the store") from error
        if sha256(data).digest() != cid:
            raise ModelUnusable(f"the manifest of model {cid.hex()[:12]} was changed")
        return _read(data)

    def manifests(self) -> tuple[ModelManifest, ...]:
        """Every model with an intact manifest; its files are not read again. Raises: ExecutorError."""
        found = []
        with disk_errors():
            for path in sorted(self._models.glob("*/" + MANIFEST)):
                data = path.read_bytes()
                if sha256(data).hexdigest() == path.parent.name:
                    found.append(_read(data))
        return tuple(found)

    def verify(self, cid: bytes) -> ModelManifest:
        """Read every file of a model again. Raises: ModelUnusable with the name of the changed file."""
        manifest = self.manifest(cid)
        for entry in manifest.files:
            if not _is(self.path(cid) / entry.path, entry):
                raise ModelUnusable(f"{entry.path} of model {manifest.name} is missing or was changed")
        return manifest

    def require_format(self, manifest: ModelManifest) -> None:
        """Raises: ModelUnusable if the weights are in another number format than the manifest states.

        The need of a job is counted by the format. A peer's manifest may state a wider one, and so fewer weights.
        """
        paths = [self.path(manifest.cid) / file.path for file in manifest.files]
        if not any(path.suffix in (WEIGHTS_SUFFIX, GGUF_SUFFIX) for path in paths):
            # The runner loads nothing else, and says so.
            return
        found, _ = _weights(paths)
        if found != manifest.dtype:
            raise ModelUnusable(
                f"model {manifest.name} states {manifest.dtype[:16]} weights, and its files hold {found}"
            )

    def add(self, source: Path, name: str) -> ModelManifest:
        """Copy a local Hugging Face folder or GGUF file into the store, under the hash of its manifest.

        Raises: ModelUnusable; ExecutorError, for example if the disk is full.
        """
        with disk_errors():
            if source.is_dir():
                return self._add(source, name, shutil.copyfile)
            if not source.is_file():
                raise ModelUnusable(f"there is no folder or file {source}")
            # Before gigabytes are copied.
            unfold(source)
            self._models.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=self._models, prefix=".new-") as made:
                folder = Path(made)
                shutil.copyfile(source, folder / MODEL_FILE)
                # The file may have changed meanwhile: only the copy counts.
                for path, content in unfold(folder / MODEL_FILE).items():
                    (folder / path).write_bytes(content)
                return self._add(folder, name, Path.rename)

    def add_adapted(self, source: Path, base_cid: bytes) -> ModelManifest:
        """Add a model that is another one of the store with a LoRA adapter, which lies in a folder as PEFT writes it.

        Raises: ModelUnusable; ExecutorError, for example if the disk is full.
        """
        base = self.verify(base_cid)
        weights = [each.path for each in base.files if each.path.endswith(WEIGHTS_SUFFIX)]
        if WEIGHTS in weights or not weights:
            raise ModelUnusable(f"{base.name} is no base: an adapter needs a model of safetensors that has none yet")
        with disk_errors():
            missing = [each for each in (PEFT_CONFIG, PEFT_WEIGHTS) if not (source / each).is_file()]
            if missing:
                raise ModelUnusable(f"there is no {missing[0]} in {source}: an adapter is a folder as PEFT saves it")
            with tempfile.TemporaryDirectory(dir=self._models, prefix=".new-") as made:
                folder = Path(made)
                # The files may change meanwhile: only the copies count.
                shutil.copyfile(source / PEFT_CONFIG, folder / CONFIG)
                shutil.copyfile(source / PEFT_WEIGHTS, folder / WEIGHTS)
                _require_adapter(folder, [self.path(base_cid) / each for each in weights])
                for entry in base.files:
                    _link(self.path(base_cid) / entry.path, folder / entry.path)
                return self._add(folder, f"{base.name}+{source.name}", Path.rename)

    def _add(self, folder: Path, name: str, put: Callable[[Path, Path], object]) -> ModelManifest:
        """Args: put, brings a file of the folder to its place."""
        manifest = describe(folder, name)
        target = self.path(manifest.cid)
        if target.is_dir():
            return self.verify(manifest.cid)
        self._models.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._models, prefix=".new-") as made:
            new = Path(made) / "model"
            new.mkdir(mode=0o755)
            for entry in manifest.files:
                put(folder / entry.path, new / entry.path)
                # The folder may change meanwhile: only the copy counts.
                if not _is(new / entry.path, entry):
                    raise ModelUnusable(f"{entry.path} changed while it was copied")
            (new / MANIFEST).write_bytes(manifest.encode())
            for path in new.iterdir():
                path.chmod(0o644)
            new.chmod(0o755)
            new.rename(target)
        return manifest


def unfold(path: Path) -> dict[str, bytes]:
    """What lies beside a GGUF file in the store: its configuration and its tokenizer, made of its header.

    Raises: ModelUnusable if the model cannot be run, with the reason and what to do.
    """
    try:
        header = read_header(path)
        config = config_of(header)
        files = tokenizer_files(header, config["max_position_embeddings"])
    except BadGguf as error:
        raise ModelUnusable(f"{path.name} cannot be added: {error}") from error
    return {"config.json": json.dumps(config, indent=1, sort_keys=True).encode(), **files}


def describe(folder: Path, name: str) -> ModelManifest:
    """The manifest of a model's folder: weights, tokenizer.json, config.json. Raises: ModelUnusable."""
    paths = _files(folder)
    config, generation = _object(folder / "config.json"), _object(folder / "generation_config.json", needed=False)
    dtype, parameters = _weights(paths)
    try:
        stops = generation.get("eos_token_id", config["eos_token_id"])
        eos_ids = tuple(stops) if isinstance(stops, list) else (stops,)
        pad_id = config.get("pad_token_id")
        heads = int(config.get("num_key_value_heads") or config["num_attention_heads"])
        width = int(config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"])
        layers, context = int(config["num_hidden_layers"]), int(config["max_position_embeddings"])
        # For the widest class: each weight in float32, and the keys and values of a full context.
        needs = 4 * parameters + 2 * 4 * layers * heads * width * context + RUNTIME_BYTES
        return ModelManifest(
            name=name,
            files=tuple(_entry(path) for path in paths),
            tokenizer=_tokenizer(paths),
            eos_ids=tuple(int(i) for i in eos_ids),
            pad_id=int(pad_id if pad_id is not None else eos_ids[0]),
            dtype=dtype,
            hidden=int(config["hidden_size"]),
            vocab=int(config["vocab_size"]),
            layers=layers,
            context=context,
            needs_bytes=needs,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ModelUnusable(f"config.json lacks or misstates {error}") from error


def _link(source: Path, target: Path) -> None:
    """A second name for a file of the store, whose content never changes; a copy where the disk has no links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _require_adapter(folder: Path, weights: Sequence[Path]) -> None:
    """Raises: ModelUnusable unless the adapter of a folder can be added to a base with these weights."""
    path = folder / WEIGHTS
    try:
        found = _shapes(path)
        formats = {dtype for dtype, _ in found.values()}
        if not formats <= STORED_BYTES.keys():
            raise ModelUnusable(f"the adapter must be of BF16, F16 or F32, found {', '.join(sorted(formats))}")
        scale_of((folder / CONFIG).read_bytes())
        base = {name: shape for each in weights for name, (_, shape) in _shapes(each).items()}
        require_fit(pairs_of(found), {name: shape for name, (_, shape) in found.items()}, base)
    except BadAdapter as error:
        raise ModelUnusable(str(error)) from error


def _shapes(path: Path) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Number format and shape of each tensor. Raises: ModelUnusable."""
    try:
        data_at, header = _header(path)
        tensors = {str(name): each for name, each in header.items() if name != "__metadata__"}
        _require_size(path, data_at + max((each["data_offsets"][1] for each in tensors.values()), default=0))
        return {name: (str(each["dtype"]), tuple(map(int, each["shape"]))) for name, each in tensors.items()}
    except (ValueError, TypeError, AttributeError, KeyError, IndexError, struct.error) as error:
        raise ModelUnusable(f"{path.name} is no safetensors file") from error


def _files(folder: Path) -> list[Path]:
    """The files of a model, by name. A GGUF file counts only as that of a folder that `unfold` has made."""
    there = sorted(path for path in folder.iterdir() if path.is_file() and path.name != MANIFEST)
    found = [path for path in there if path.suffix in DATA_SUFFIXES]
    if any(path.suffix == WEIGHTS_SUFFIX for path in found):
        return found
    ggufs = [path for path in there if path.suffix == GGUF_SUFFIX]
    if ggufs and not (folder / "config.json").is_file():
        raise ModelUnusable(f"{folder.name} has no config.json: add {ggufs[0].name} by itself, as a file")
    return sorted([*found, *(path for path in ggufs if path.name == MODEL_FILE)])


def _read(data: bytes) -> ModelManifest:
    try:
        return read_manifest(data)
    except RemoteProtocolError as error:
        raise ModelUnusable(str(error)) from error


def _entry(path: Path) -> ModelFile:
    with path.open("rb") as file:
        return ModelFile(path.name, Cid(file_digest(file, "sha256").digest()), path.stat().st_size)


def _is(path: Path, entry: ModelFile) -> bool:
    try:
        return path.stat().st_size == entry.size and _entry(path).sha256 == entry.sha256
    except OSError:
        return False


def _tokenizer(paths: Sequence[Path]) -> str:
    if not any(path.name == "tokenizer.json" for path in paths):
        raise ModelUnusable("there is no tokenizer.json, which a client needs to turn ids into text")
    return "tokenizer.json"


def _object(path: Path, *, needed: bool = True) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        if not needed:
            return {}
        raise ModelUnusable(f"there is no {path.name}") from None
    except (OSError, ValueError) as error:
        raise ModelUnusable(f"{path.name} cannot be read") from error
    if not isinstance(found, dict):
        raise ModelUnusable(f"{path.name} is no object")
    return found


def _weights(paths: Sequence[Path]) -> tuple[str, int]:
    """Number format and count of the weights, from the headers of their files."""
    for path in paths:
        if path.suffix == GGUF_SUFFIX:
            return _gguf_weights(path)
    formats, parameters = set(), 0
    for path in paths:
        if path.suffix == WEIGHTS_SUFFIX and path.name != WEIGHTS:
            try:
                data_at, header = _header(path)
                tensors = [(str(t["dtype"]), t["data_offsets"]) for t in header.values() if "dtype" in t]
                formats |= {dtype for dtype, _ in tensors}
                parameters += sum(
                    (end - start) // STORED_BYTES.get(dtype, ("", 1))[1] for dtype, (start, end) in tensors
                )
                _require_size(path, data_at + max((end for _, (_, end) in tensors), default=0))
            except (OSError, ValueError, TypeError, AttributeError, KeyError, struct.error) as error:
                raise ModelUnusable(f"{path.name} is no safetensors file") from error
    if len(formats) != 1 or not formats <= STORED_BYTES.keys():
        raise ModelUnusable(f"the weights must be safetensors of one number format, found {sorted(formats)}")
    return STORED_BYTES[formats.pop()][0], parameters


def _require_size(path: Path, wanted: int) -> None:
    size = path.stat().st_size
    if size != wanted:
        raise ModelUnusable(f"{path.name} has {size} bytes, and its header says {wanted}: copy or download it again")


def _gguf_weights(path: Path) -> tuple[str, int]:
    """Number format of a GGUF file, and how many weights a file of its size may hold."""
    try:
        header: Header = read_header(path)
        found = require_tensors(config_of(header), header.tensors)
    except (BadGguf, OSError) as error:
        raise ModelUnusable(f"{path.name} cannot be run: {error}") from error
    return found, parameters_of(found, path.stat().st_size)


def _header(path: Path) -> tuple[int, dict[str, Any]]:
    """Where the data of a safetensors file begins, and what its header says of it."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        if length > MAX_HEADER_BYTES:
            raise ValueError("too long")
        header: dict[str, Any] = json.loads(file.read(length))
        return 8 + length, header
