"""Deploying a network: the contracts in an order in which each knows the others' addresses, then the rows of Params.

The contracts name each other, so their addresses are foretold from the deployer's nonces. The plan is written down
first: an interrupted deployment goes on where it stopped, and a finished one is only checked.
"""

import logging
from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Any

import trio
from eth_utils.crypto import keccak

from chain.calibration import CalibrationFile, packaged
from chain.ethereum import Call, Ethereum
from chain.flights import Prepared
from chain.interface import interface
from chain.network import Addresses, Deployment, Network, read_deployment
from chain.params import CalibrationRow, DeviceClass
from chain.profiles import Profile
from chain.transactions import Sender
from chain.wallet import Key
from protocol.errors import ChainError, ConfigError, Reverted
from protocol.wire.ids import Address, address_bytes, checksum

log = logging.getLogger(__name__)
NAMES = ("VCoin", "Params", "EpochBeacon", "StakeManager", "Settlement", "Court", "Evidence", "SingleJobs")
"""In the order of Addresses."""
_BEGIN_ANEW = "remove the deployment file to begin a new one"
_CREATION_GAS = 53_000
_CODE_BYTE_GAS = 200 + 16
_STORAGE_GAS = 400_000
"""Constructors write at most about so much: the profile, the supply."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a deployment is going to do; gas is an upper estimate for all of it."""

    chain_id: int
    profile: Profile
    deployer: Address
    first_nonce: int
    block: int
    addresses: Addresses
    classes: tuple[DeviceClass, ...]
    calibrations: tuple[CalibrationFile, ...]
    gas: int


def first_classes(runtime: bytes) -> tuple[DeviceClass, ...]:
    """The device classes of this release; `runtime` is the hash of the runner that they were measured with."""
    return (
        DeviceClass(1, "cpu-fp32", runtime, "fp32", "any"),
        DeviceClass(2, "cpu-bf16", runtime, "bf16", "avx512_bf16 or amx"),
    )


async def plan(
    ethereum: Ethereum,
    deployer: Address,
    profile: Profile,
    classes: Sequence[DeviceClass],
    calibrations: Sequence[CalibrationFile] | None = None,
    first_nonce: int | None = None,
) -> Plan:
    """What a deployment would do from here on.

    Args: calibrations, None for those of this release; first_nonce, of a deployment that has begun.
    """
    nonce = await ethereum.nonce(deployer) if first_nonce is None else first_nonce
    addresses = Addresses(*(created_by(deployer, nonce + index) for index in range(len(NAMES))))
    sizes = [len(interface(name).bytecode) for name in NAMES]
    return Plan(
        chain_id=ethereum.chain_id,
        profile=profile,
        deployer=deployer,
        first_nonce=nonce,
        block=await ethereum.head(),
        addresses=addresses,
        classes=tuple(classes),
        calibrations=tuple(packaged() if calibrations is None else calibrations),
        gas=sum(_CREATION_GAS + size * _CODE_BYTE_GAS + _STORAGE_GAS for size in sizes),
    )


async def deploy(
    ethereum: Ethereum,
    key: Key,
    profile: Profile,
    classes: Sequence[DeviceClass],
    *,
    calibrations: Sequence[CalibrationFile] | None = None,
    path: Path | None = None,
    poll_s: float = 0.5,
) -> Deployment:
    """Deploy a network, or go on with the one that `path` names, or check that it is complete.

    The deployer holds the whole supply of the coin at first, and is the governor of Params.

    Args: calibrations, None for those of this release; path, where the addresses are kept, None to keep them nowhere.
    Raises: ConfigError if `path` is of another network or the deployer sent other transactions in between; ChainError.
    """
    begun = _begun(path, ethereum.chain_id, key.address, profile)
    made = await plan(
        ethereum, key.address, profile, classes, calibrations, None if begun is None else begun.first_nonce
    )
    deployment = begun or Deployment(
        made.chain_id, profile.name, key.address, made.first_nonce, made.block, made.addresses
    )
    network = Network(ethereum, made.addresses)
    if deployment.complete:
        await network.require(deployment)
    elif path is not None:
        deployment.write(path)
    work = _Deployer(network, made, Sender(ethereum, key, _unrecorded, poll_s=poll_s), poll_s)
    await work.create_contracts()
    await _require_wiring(network, profile)
    await work.write_rows()
    finished = replace(deployment, code_hashes=await network.code_hashes())
    if path is not None and finished != begun:
        finished.write(path)
    return finished


class _Deployer:
    """Does what a plan says, and leaves alone what is done."""

    def __init__(self, network: Network, made: Plan, sender: Sender, poll_s: float) -> None:
        self._network = network
        self._plan = made
        self._sender = sender
        self._poll_s = poll_s

    async def create_contracts(self) -> None:
        addresses = astuple(self._plan.addresses)
        for index, (name, address) in enumerate(zip(NAMES, addresses, strict=True)):
            if await self._is_there(address, self._plan.first_nonce + index):
                continue
            receipt = await self._sender.send(self._creation(name))
            if receipt.contract != address:
                raise ChainError(f"{name} went to {receipt.contract}, planned was {address}")
            log.info("contract deployed", extra={"contract": name, "address": address, "gas": receipt.gas_used})

    async def write_rows(self) -> None:
        """The device classes, and of the calibrations those that were measured with the runner of their class."""
        params = self._network.params
        known = {row.id: row for row in await params.classes()}
        for row in self._plan.classes:
            if row.id not in known:
                await self._sender.send(params.add_class(row))
            elif known[row.id] != row:
                raise ConfigError(f"class {row.id} is {known[row.id].name} with another runtime on this network")
        runtimes = {row.id: row.runtime for row in self._plan.classes}
        for file in self._plan.calibrations:
            for class_id, noise in sorted(file.classes.items()):
                if runtimes.get(class_id) != noise.runtime:
                    log.warning(
                        "calibration left out: it was measured with another runner",
                        extra={"manifest": file.manifest.hex(), "class_id": class_id},
                    )
                elif await params.row(file.manifest, class_id) is None:
                    added = CalibrationRow(noise.calibration, file.act_weights_hash)
                    await self._sender.send(params.add_calibration(file.manifest, class_id, added))

    async def _is_there(self, address: Address, nonce: int) -> bool:
        """Whether the contract of this nonce was created; waits if that is on its way."""
        ethereum, deployer = self._network.ethereum, self._plan.deployer
        while True:
            if await ethereum.code(address):
                return True
            mined = await ethereum.nonce(deployer)
            if mined > nonce:
                raise ConfigError(f"{deployer} sent other transactions since the deployment was planned", _BEGIN_ANEW)
            if await ethereum.nonce(deployer, "pending") == mined:
                return False
            await trio.sleep(self._poll_s)

    def _creation(self, name: str) -> Call:
        at = self._plan.addresses
        arguments = {
            "VCoin": (self._plan.deployer,),
            "Params": (self._plan.profile.to_chain(), self._plan.deployer),
            "EpochBeacon": (at.params,),
            "StakeManager": (at.token, at.params, at.settlement, at.court),
            "Settlement": (at.token, at.params, at.stakes, at.beacon, at.court, at.singles, at.evidence),
            "Court": (at.params, at.stakes, at.settlement, at.evidence),
            "Evidence": (at.params, at.stakes, at.settlement, at.court),
            "SingleJobs": (at.params, at.stakes, at.settlement),
        }
        return Call(f"new {name}", None, interface(name).encode_deployment(arguments[name]))


def created_by(sender: Address, nonce: int) -> Address:
    """The address of the contract that a transaction of this nonce creates: keccak(rlp([sender, nonce]))."""
    number = nonce.to_bytes((nonce.bit_length() + 7) // 8, "big")
    encoded = number if len(number) == 1 and number[0] < 0x80 else bytes([0x80 + len(number)]) + number
    payload = bytes([0x80 + 20]) + address_bytes(sender) + encoded
    return checksum(f"0x{keccak(bytes([0xC0 + len(payload)]) + payload)[12:].hex()}")


def _begun(path: Path | None, chain_id: int, deployer: Address, profile: Profile) -> Deployment | None:
    if path is None or not path.exists():
        return None
    begun = read_deployment(path)
    wanted = (chain_id, profile.name, deployer)
    found = (begun.chain_id, begun.profile, begun.deployer)
    if found != wanted:
        raise ConfigError(
            f"the deployment file is of chain {found[0]}, profile {found[1]}, deployer {found[2]}",
            "name another file, or remove this one",
        )
    return begun


async def _require_wiring(network: Network, profile: Profile) -> None:
    """Check that each contract is what the plan says, knows the others, and that the profile is the one asked for.

    Raises: ConfigError if not: then something else was created at a planned address.
    """
    at = network.addresses
    try:
        seen: tuple[tuple[Any, Any], ...] = (
            (await network.settlement.read("court"), at.court),
            (await network.stakes.read("court"), at.court),
            (await network.court.read("evidence"), at.evidence),
            (await network.settlement.read("singles"), at.singles),
            (await network.beacon.read("epochBlocks"), profile.epoch_blocks),
            (await network.params.profile(), profile),
            (await network.token.read("INITIAL_SUPPLY") > 0, True),
            (await network.court.verifiers_of(0), []),
        )
    except Reverted as error:
        raise ConfigError(f"the contracts at the planned addresses are others ({error})", _BEGIN_ANEW) from error
    if any(found != expected for found, expected in seen):
        raise ConfigError("the contracts at the planned addresses are of another network", _BEGIN_ANEW)


async def _unrecorded(prepared: Prepared) -> None:
    """Nothing to keep: what a deployment has done is on the chain."""
