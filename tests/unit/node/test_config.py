"""Layers of the configuration, and what is said when one of them cannot be used."""

from pathlib import Path

import pytest

from node import config
from node.config import Config, load
from protocol.errors import ConfigError
from protocol.params import DEFAULT_PRICE_WEI, VCN


def origin(built: Config, key: str) -> str:
    return next(setting.origin for setting in built.settings() if setting.key == key)


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_defaults_stand_alone(tmp_path: Path) -> None:
    built = load({"VCOIN_NODE_DATA_DIR": str(tmp_path)})
    assert built.node.price == DEFAULT_PRICE_WEI
    assert built.node.roles == ("requester", "provider", "verifier")
    assert built.executor.store == tmp_path / "store"
    assert built.api.socket == tmp_path / "vcoin.sock"
    assert origin(built, "node.price") == "default"


def test_each_layer_covers_the_one_below(tmp_path: Path) -> None:
    file = write(
        tmp_path / "a.toml", '[node]\nname = "file"\nprice = "1"\n[chain]\npoll_ms = 500\n[p2p]\nfast = true\n'
    )
    environment = {"VCOIN_NODE_PRICE": "2", "VCOIN_CHAIN_POLL_MS": "600"}
    built = load(environment, {"chain.poll_ms": "700"}, file)
    assert (built.node.name, built.node.price, built.chain.poll_ms) == ("file", 2 * VCN, 700)
    assert origin(built, "node.name") == str(file)
    assert origin(built, "node.price") == "environment VCOIN_NODE_PRICE"
    assert origin(built, "chain.poll_ms") == "flag --chain-poll-ms"


def test_file_of_the_data_directory_is_found_by_itself(tmp_path: Path) -> None:
    write(tmp_path / "config.toml", '[node]\nname = "found"\n')
    assert load({"VCOIN_NODE_DATA_DIR": str(tmp_path)}).node.name == "found"
    assert load({}, {"node.data_dir": str(tmp_path)}).node.name == "found"


def test_file_of_the_variable_moves_the_data_directory(tmp_path: Path) -> None:
    file = write(tmp_path / "b.toml", '[node]\ndata_dir = "here"\n[executor]\nstore = "shared"\n')
    built = load({"VCOIN_CONFIG": str(file)})
    # Relative to the file, so that a folder with its configuration can be moved as a whole.
    assert built.node.data_dir == tmp_path / "here"
    assert built.executor.store == tmp_path / "shared"
    assert built.api.socket == tmp_path / "here" / "vcoin.sock"


def test_missing_file_that_was_named_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no configuration file"):
        load({}, file=tmp_path / "none.toml")


def test_lists_and_sizes_are_read_from_text() -> None:
    environment = {
        "VCOIN_P2P_ANNOUNCE": "/ip4/127.0.0.1/tcp/1, /ip4/127.0.0.1/tcp/2",
        "VCOIN_EXECUTOR_MEMORY": "6GiB",
        "VCOIN_EXECUTOR_CPUS": "1.5",
        "VCOIN_NODE_PRICE": "0.25",
    }
    built = load(environment)
    assert built.p2p.announce == ("/ip4/127.0.0.1/tcp/1", "/ip4/127.0.0.1/tcp/2")
    assert load({}, {"p2p.listen": ["/ip4/127.0.0.1/tcp/3"]}).p2p.listen == "/ip4/127.0.0.1/tcp/3"
    assert (built.executor.memory, built.executor.cpus, built.node.price) == (6 * 2**30, 1.5, VCN // 4)


@pytest.mark.parametrize("given", ["", "127.0.0.1:9464", "127.0.0.2:0", "[::1]:9464"])
def test_metrics_are_served_on_this_machine_or_nowhere(given: str) -> None:
    assert load({}).metrics.listen == ""
    assert load({}, {"metrics.listen": given}).metrics.listen == given


@pytest.mark.parametrize("given", ["", "127.0.0.1:8402", "0.0.0.0:443", "[::]:8402"])
def test_gateway_listens_at_an_address_or_nowhere(given: str) -> None:
    assert load({}).gateway.listen == ""
    assert load({}, {"gateway.listen": given}).gateway.listen == given


@pytest.mark.parametrize("given", ["", "127.0.0.1:8545", "ws://127.0.0.1:8545", "http://", '["http://127.0.0.1:8545"]'])
def test_endpoint_that_is_no_url_is_refused(given: str) -> None:
    assert load({}, {"chain.rpc_urls": "http://a:1, https://b/key"}).chain.rpc_urls == ("http://a:1", "https://b/key")
    with pytest.raises(ConfigError, match=r"chain\.rpc_urls"):
        load({}, {"chain.rpc_urls": given})


@pytest.mark.parametrize(
    ("text", "meant", "where"),
    [
        ("[nodes]\n", "node", "section in"),
        ('[node]\nroels = ["requester"]\n', "node.roles", "key in"),
        ("[chain]\nrpc_url = []\n", "chain.rpc_urls", "key in"),
    ],
)
def test_unknown_key_of_the_file_is_refused(tmp_path: Path, text: str, meant: str, where: str) -> None:
    file = write(tmp_path / "c.toml", text)
    with pytest.raises(ConfigError, match=where) as caught:
        load({}, file=file)
    assert caught.value.hint == f"did you mean {meant}?"
    assert str(file) in str(caught.value)


def test_unknown_variable_is_refused() -> None:
    with pytest.raises(ConfigError, match="environment variable: VCOIN_NODE_RULES") as caught:
        load({"VCOIN_NODE_RULES": "requester"})
    assert caught.value.hint == "did you mean VCOIN_NODE_ROLES?"


def test_unknown_flag_is_refused_and_foreign_variables_are_not() -> None:
    with pytest.raises(ConfigError, match=r"unknown flag: node\.prize") as caught:
        load({"PATH": "/bin", "VCOINS": "1", "VCOIN_CACHE": "/tmp"}, {"node.prize": "1"})
    assert caught.value.hint == "did you mean node.price?"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("node.roles", "requester,miner"),
        ("node.roles", ""),
        ("node.price", "-1"),
        ("node.price", "1e-19"),
        ("node.price", "much"),
        ("node.price", "inf"),
        ("node.client", "0xF39Fd6e51aad88F6F4ce6aB8827279cffFb92266"),
        ("p2p.fast", "maybe"),
        ("metrics.listen", "9464"),
        ("metrics.listen", "127.0.0.1"),
        ("metrics.listen", "127.0.0.1:99999"),
        ("metrics.listen", "127.0.0.1:x"),
        ("metrics.listen", "127.0.0.1:9464/metrics"),
        ("metrics.listen", "me@127.0.0.1:9464"),
        ("metrics.listen", "0.0.0.0:9464"),
        ("metrics.listen", "192.168.1.5:9464"),
        ("metrics.listen", "example.com:9464"),
        ("metrics.listen", "[::1"),
        ("metrics.listen", 9464),
        ("gateway.listen", "8402"),
        ("gateway.listen", "localhost:8402"),
        ("gateway.listen", "127.0.0.1"),
        ("gateway.listen", "me@127.0.0.1:8402"),
        ("gateway.hosts", "https://api.example.com"),
        ("gateway.hosts", "api.example.com:443"),
        ("gateway.certificate", ""),
        ("chain.poll_ms", "0"),
        ("chain.poll_ms", True),
        ("p2p.listen", "/ip4/127.0.0.1/tcp/1,/ip4/127.0.0.1/tcp/2"),
        ("executor.slots", "many"),
        ("executor.memory", "1KiB"),
        ("executor.memory", "4 parsecs"),
        ("executor.models", "smollm2"),
        ("executor.models", "any," + "0" * 64),
        ("executor.models_limit", "-1GiB"),
        ("executor.store_bytes", "much"),
        ("executor.cpus", "0"),
        ("executor.store", ""),
        ("log.format", "xml"),
    ],
)
def test_value_that_cannot_be_used_names_its_key_and_origin(key: str, value: object) -> None:
    with pytest.raises(ConfigError) as caught:
        load({}, {key: value})
    assert str(caught.value).startswith(f"{key} = {value!r} (flag --")


def test_file_that_is_not_toml_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not TOML"):
        load({}, file=write(tmp_path / "d.toml", "node = [\n"))


def test_every_key_says_what_it_means() -> None:
    listed = list(load({}).settings())
    assert len(listed) == len({setting.key for setting in listed}) > 20
    assert all(setting.help for setting in listed)


def test_configuration_cannot_be_changed() -> None:
    built = load({})
    with pytest.raises(AttributeError):
        built.node.name = "other"  # type: ignore[misc]
    assert config.FILE_VARIABLE == "VCOIN_CONFIG"
