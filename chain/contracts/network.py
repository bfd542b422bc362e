"""The contracts of one network, by name, and the file that says where they are."""

import json
from collections.abc import Iterator
from dataclasses import asdict, astuple, dataclass, fields
from pathlib import Path
from typing import Any

from eth_utils.crypto import keccak

from chain.abi.interface import CONTRACTS
from chain.contracts.audits import Audits
from chain.contracts.beacon import Beacon
from chain.contracts.court import Court
from chain.contracts.facts import Fact
from chain.contracts.fraud_proofs import FraudProofs
from chain.contracts.guardian import Guardian
from chain.contracts.panel import Panel
from chain.contracts.params import Params
from chain.contracts.settlement import Settlement
from chain.contracts.stakes import Stakes
from chain.contracts.timelock import Timelock
from chain.contracts.token import Token
from chain.rpc.ethereum import Ethereum, Log
from protocol.errors import ChainError, ConfigError
from protocol.wire.envelope import Domain
from protocol.wire.ids import Address, checksum

MAX_CHARS = 1 << 16
_COUNTS = ("chain_id", "first_nonce", "block")


@dataclass(frozen=True, slots=True)
class Addresses:
    """The address of each contract, in the order of CONTRACTS."""

    token: Address
    timelock: Address
    params: Address
    beacon: Address
    stakes: Address
    settlement: Address
    court: Address
    guardian: Address
    fraud_proofs: Address
    audits: Address


@dataclass(frozen=True, slots=True)
class Deployment:
    """A network on one chain. `block` is not after its first contract; `code_hashes` are the keccaks of their codes."""

    chain_id: int
    profile: str
    deployer: Address
    first_nonce: int
    block: int
    addresses: Addresses
    code_hashes: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether every contract was deployed, its rows written, and all of it verified."""
        return len(self.code_hashes) == len(fields(Addresses))

    @property
    def domain(self) -> Domain:
        """The domain of message signatures."""
        return Domain(self.chain_id, self.addresses.settlement)

    def write(self, path: Path) -> None:
        """Replace the file in one step."""
        draft = path.with_suffix(".part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            draft.write_text(json.dumps({"v": 1, **asdict(self)}, indent=2) + "\n", encoding="utf-8")
            draft.replace(path)
        except OSError as error:
            raise ConfigError(f"{path} cannot be written: {error.strerror}") from error


def read_deployment(path: Path) -> Deployment:
    """The deployment that a file names.

    Raises: ConfigError if there is none.
    """
    try:
        with path.open(encoding="utf-8") as file:
            # A longer file is cut, and then is no JSON any more.
            plain: dict[str, Any] = json.loads(file.read(MAX_CHARS))
        if plain.pop("v") != 1:
            raise ValueError("version")
        addresses = Addresses(**{name: checksum(text) for name, text in plain.pop("addresses").items()})
        hashes = tuple(_hash(text) for text in plain.pop("code_hashes"))
        plain["deployer"] = checksum(plain["deployer"])
        if type(plain["profile"]) is not str or not all(_is_count(plain[name]) for name in _COUNTS):
            raise ValueError("a field of another kind")
        return Deployment(**plain, addresses=addresses, code_hashes=hashes)
    except FileNotFoundError as error:
        raise ConfigError(f"there is no deployment file {path}", "deploy the contracts, or get the file") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ConfigError(f"{path} is no deployment file: {error!r:.200}") from error


def _hash(text: Any) -> str:
    if type(text) is not str:
        raise ValueError("no hash")
    return text


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 64


class Network:
    """The contracts of a deployment on a chain that answers."""

    def __init__(self, ethereum: Ethereum, addresses: Addresses) -> None:
        self.ethereum = ethereum
        self.addresses = addresses
        self.token = Token(ethereum, addresses.token)
        self.timelock = Timelock(ethereum, addresses.timelock)
        self.params = Params(ethereum, addresses.params)
        self.beacon = Beacon(ethereum, addresses.beacon)
        self.stakes = Stakes(ethereum, addresses.stakes)
        self.settlement = Settlement(ethereum, addresses.settlement)
        self.court = Court(ethereum, addresses.court)
        self.guardian = Guardian(ethereum, addresses.guardian)
        self.fraud_proofs = FraudProofs(ethereum, addresses.fraud_proofs)
        self.audits = Audits(ethereum, addresses.audits)
        told = (self.params, self.beacon, self.stakes, self.settlement, self.court, self.fraud_proofs, self.audits)
        self._speakers = {each.address: each for each in told}

    def by_name(self) -> Iterator[tuple[str, Address]]:
        """Every contract and where it is."""
        return zip(CONTRACTS, astuple(self.addresses), strict=True)

    async def panel(self) -> Panel:
        """The arbiters of its court, who have no address in a deployment file."""
        return Panel(self.ethereum, await self.court.panel_address())

    async def names(self) -> dict[Address, str]:
        """The names of the contracts by their addresses."""
        return {**{address: name for name, address in self.by_name()}, await self.court.panel_address(): Panel.NAME}

    @property
    def speakers(self) -> tuple[Address, ...]:
        """The contracts whose logs the core hears of; the coin's transfers are left out."""
        return tuple(self._speakers)

    def fact(self, log: Log) -> Fact | None:
        """The fact in a log of one of the contracts.

        Raises: ChainError for a log that the contract cannot have written: the endpoint lies.
        """
        speaker = self._speakers.get(log.address)
        try:
            entry = speaker.entry(log) if speaker else None
            return speaker.fact(entry) if speaker and entry else None
        except ValueError as error:
            raise ChainError(f"the endpoint's log of {log.address} is nonsense: {error}", transient=True) from error

    async def code_hashes(self) -> tuple[str, ...]:
        """The keccak of each contract's code, in the order of Addresses; empty where there is none."""
        codes = [await self.ethereum.code(address) for address in astuple(self.addresses)]
        return tuple(keccak(code).hex() if code else "" for code in codes)

    async def require(self, deployment: Deployment) -> None:
        """Check that the chain holds what the deployment file says.

        Raises: ChainError if a contract is missing or another one; ConfigError if the deployment was never finished.
        """
        if not deployment.complete:
            raise ConfigError("the deployment was begun and never finished", "run it again with the same file")
        found = await self.code_hashes()
        for each, expected, code in zip(fields(Addresses), deployment.code_hashes, found, strict=True):
            if code != expected:
                where = getattr(self.addresses, each.name)
                what = "another contract" if code else "no contract"
                raise ChainError(f"{what} at {where}, where the deployment file has {each.name}")
