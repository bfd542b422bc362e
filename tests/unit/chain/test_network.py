"""The deployment file, and addresses that are foretold."""

import json
from pathlib import Path

import pytest

from chain.contracts.network import Addresses, Deployment, Network, read_deployment
from chain.deploy.deployment import created_by
from chain.rpc.endpoints import Rpc
from chain.rpc.ethereum import Ethereum
from protocol.errors import ConfigError
from protocol.wire.ids import checksum

ADDRESSES = Addresses(*(checksum("0x" + f"{index:02x}" * 20) for index in range(1, 11)))
DEPLOYMENT = Deployment(31337, "local", checksum("0x" + "aa" * 20), 3, 17, ADDRESSES, tuple("abcdefghij"))


def test_a_file_comes_back_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "31337.json"
    DEPLOYMENT.write(path)
    assert read_deployment(path) == DEPLOYMENT
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_a_plan_without_hashes_is_not_complete() -> None:
    assert DEPLOYMENT.complete
    assert not Deployment(31337, "local", DEPLOYMENT.deployer, 3, 17, ADDRESSES).complete


def test_signatures_count_at_its_settlement() -> None:
    assert (DEPLOYMENT.domain.chain_id, DEPLOYMENT.domain.contract) == (31337, ADDRESSES.settlement)


def test_a_missing_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no deployment file") as caught:
        read_deployment(tmp_path / "none.json")
    assert caught.value.hint


@pytest.mark.parametrize("change", ["v", "addresses", "chain_id", "code_hashes"])
def test_a_file_that_lacks_something_is_none(tmp_path: Path, change: str) -> None:
    path = tmp_path / "file.json"
    DEPLOYMENT.write(path)
    plain = json.loads(path.read_text())
    del plain[change]
    path.write_text(json.dumps(plain))
    with pytest.raises(ConfigError, match="is no deployment file"):
        read_deployment(path)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"v": 2}', "null"])
def test_other_files_are_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "file.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match="is no deployment file"):
        read_deployment(path)


@pytest.mark.parametrize(
    ("nonce", "address"),
    [
        # From go-ethereum's test of CreateAddress.
        (0, "0x333c3310824b7c685133F2BeDb2CA4b8b4DF633d"),
        (1, "0x8bda78331c916a08481428e4b07c96d3e916d165"),
        (2, "0xc9ddedf451bc62ce88bf9292afb13df35b670699"),
    ],
)
def test_a_contracts_address_follows_from_its_creators_nonce(nonce: int, address: str) -> None:
    assert created_by(checksum("0x970e8128ab834e8eac17ab8e3812f010678cf791"), nonce) == checksum(address)


async def test_a_deployment_that_was_never_finished_is_no_network() -> None:
    begun = Deployment(31_337, "local", ADDRESSES.token, 0, 1, ADDRESSES)
    # Refused before anything is asked: no endpoint is needed.
    network = Network(Ethereum(Rpc(["http://127.0.0.1:1"], begun.chain_id)), ADDRESSES)
    with pytest.raises(ConfigError, match="never finished"):
        await network.require(begun)
