"""Every key of the configuration, from every layer, given everything that it should not get."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pytest

from node import config
from node.config import Config, load
from node.wallet.home import to_toml
from protocol.errors import ConfigError
from tests.unit.node.hostile import FILES, TEXTS

KEYS = list(config._KEYS)
WRONG: dict[str, Any] = {
    "int": 7,
    "minus": -1,
    "huge": 10**4_000,
    "float": 0.5,
    "nan": float("nan"),
    "inf": float("inf"),
    "flag": True,
    "list": [],
    "list of ints": [1, 2],
    "list of lists": [["a"]],
    "long list": ["a"] * 10_000,
    "table": {"a": 1},
    "date": datetime.date(2026, 11, 24),
    "bytes": b"a",
    "none": None,
    "NUL": "a\0b",
    "megabyte": "a" * (1 << 20),
}
VALUES = {**TEXTS, **WRONG}


def refusal(make: Any) -> str:
    """The refusal; empty if it was taken."""
    try:
        built = make()
    except ConfigError as error:
        said = f"{error}{error.hint}"
        assert len(said) < 3_000
        return str(error)
    require_sound(built)
    return ""


def require_sound(built: Config) -> None:
    """Nothing in it that a path, a log or a terminal would choke on, and every value of its own type."""
    defaults = {setting.key: setting.value for setting in load({}).settings()}
    for setting in built.settings():
        values = setting.value if isinstance(setting.value, tuple) else (setting.value,)
        for value in values:
            if isinstance(value, str | Path):
                assert str(value).isprintable(), setting
                assert len(str(value)) <= config.MAX_PATH + 4_096, setting.key
        default = defaults[setting.key]
        if default is not None:
            assert isinstance(setting.value, type(default)), setting


@pytest.mark.parametrize("key", KEYS)
def test_value_of_another_kind_is_refused_by_its_key_and_layer(key: str, tmp_path: Path) -> None:
    base = {} if key == "node.data_dir" else {"node.data_dir": str(tmp_path)}
    for about, value in VALUES.items():
        said = refusal(lambda value=value: load({}, {**base, key: value}))
        named = said.startswith(f"{key} = ") and "(flag --" in said
        # A data directory that cannot be looked into is refused with its settings file.
        assert not said or named or said.startswith("cannot read "), f"{about}: {said[:200]}"
        assert said.isprintable(), about


@pytest.mark.parametrize("key", KEYS)
def test_variable_of_another_kind_is_refused_by_its_name(key: str, tmp_path: Path) -> None:
    name = config.PREFIX + key.replace(".", "_").upper()
    base = {} if key == "node.data_dir" else {"VCOIN_NODE_DATA_DIR": str(tmp_path)}
    for about, value in TEXTS.items():
        said = refusal(lambda value=value: load({**base, name: value}))
        # A data directory that cannot be looked into is refused with its settings file.
        assert not said or f"(environment {name})" in said or said.startswith("cannot read "), f"{about}: {said[:200]}"


@pytest.mark.parametrize("key", KEYS)
def test_value_of_another_kind_in_the_file_is_refused_with_the_file(key: str, tmp_path: Path) -> None:
    section, name = key.split(".")
    file = tmp_path / "config.toml"
    written = [*TEXTS.values(), 7, -1, 0.5, True, [], [1, 2], [["a"]], "a\0b"]
    for value in written:
        if isinstance(value, str) and not value.isascii() and "\udcff" in value:
            # TOML cannot hold it.
            continue
        file.write_text(to_toml({section: {name: value}}), "utf-8")
        said = refusal(lambda: load({"VCOIN_NODE_DATA_DIR": str(tmp_path)}, {}, file))
        assert not said or str(file) in said, f"{value!r:.60}: {said[:200]}"


@pytest.mark.parametrize("about", FILES)
def test_file_that_is_no_settings_is_refused_with_its_name(about: str, tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_bytes(FILES[about])
    said = refusal(lambda: load({"VCOIN_NODE_DATA_DIR": str(tmp_path)}))
    # An empty file sets nothing.
    assert said == "" if about == "empty" else str(file) in said
    assert said.isprintable()


@pytest.mark.parametrize("where", [".", "/dev/zero", "/proc/self/mem", "config.toml/x", "a" * 300])
def test_what_is_no_file_is_refused(where: str, tmp_path: Path) -> None:
    (tmp_path / "config.toml").touch()
    said = refusal(lambda: load({"VCOIN_CONFIG": str(tmp_path / where)}))
    assert str(tmp_path / where) in said or where in said


@pytest.mark.parametrize(
    "name", ["VCOIN_", "VCOIN_NODE_", "VCOIN_" + "A" * 5_000, "VCOIN_\x1b[2J", "VCOIN_NODE_PRICE "]
)
def test_odd_variable_is_refused_in_a_line(name: str) -> None:
    said = refusal(lambda: load({name: "1"}))
    assert said.startswith("unknown environment variable: VCOIN_")
    assert len(said) < 400
