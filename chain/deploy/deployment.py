"""Deploying a network: the contracts in an order in which each knows the others' addresses.

The contracts name each other, so their addresses are foretold from the deployer's nonces. The plan is written down
first: an interrupted deployment goes on where it stopped, and a finished one is only checked. The first rows of Params
are written by its constructor, so the deployer has no power in between.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Any

import trio
from eth_utils.crypto import keccak

from chain.abi.interface import CONTRACTS, interface
from chain.calibration.files import CalibrationFile, packaged
from chain.contracts.network import Addresses, Deployment, Network, read_deployment
from chain.contracts.params import CalibrationRow, DeviceClass
from chain.contracts.profiles import Profile
from chain.contracts.timelock import Governance
from chain.rpc.ethereum import Call, Ethereum
from chain.tx.pending import Prepared
from chain.tx.transactions import Sender
from chain.tx.wallet import Key
from protocol.errors import ChainError, ConfigError, Reverted
from protocol.wire.ids import Address, Cid, address_bytes, checksum

log = logging.getLogger(__name__)
_BEGIN_ANEW = "remove the deployment file to begin a new one"
_CREATION_GAS = 53_000
_BYTE_GAS = 16
_CODE_BYTE_GAS = 200
_SLOT_GAS = 24_000
"""To write a word and say so in an event."""
_WORK_GAS = 60_000
"""Gas of a constructor's computation, at most."""
_SLOTS = {"VCoin": 4, "Timelock": 2, "Params": 8, "Guardian": 1}
_MAKES = {"Court": "Panel"}
"""The contracts that a constructor creates itself."""
_CLASS_SLOTS = 5
_ROW_SLOTS = 3
_STUCK_S = 300.0
"""How long a transaction of an earlier run may sit in no block before we give up on waiting."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the calibration table as it is going to be written."""

    manifest: Cid
    class_id: int
    values: CalibrationRow


@dataclass(frozen=True, slots=True)
class Creation:
    """One contract that is going to be created; `size` of its code on the chain in bytes, `gas` an upper estimate."""

    name: str
    address: Address
    data: bytes
    size: int
    gas: int
    is_there: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """The steps of a deployment."""

    chain_id: int
    profile: Profile
    governance: Governance
    deployer: Address
    first_nonce: int
    block: int
    addresses: Addresses
    classes: tuple[DeviceClass, ...]
    rows: tuple[Row, ...]
    creations: tuple[Creation, ...]

    @property
    def gas(self) -> int:
        """An upper estimate for what is not there yet."""
        return sum(each.gas for each in self.creations if not each.is_there)


def first_classes(runtime: bytes) -> tuple[DeviceClass, ...]:
    """The device classes of this release; `runtime` is the hash of the runner that they were measured with."""
    return (
        DeviceClass(1, "cpu-fp32", runtime, "fp32", "any"),
        DeviceClass(2, "cpu-bf16", runtime, "bf16", "avx512_bf16 or amx"),
    )


def first_rows(classes: Sequence[DeviceClass], calibrations: Sequence[CalibrationFile]) -> tuple[Row, ...]:
    """Of the calibrations those that were measured with the runner of their class."""
    return tuple(_rows({each.id: each.runtime for each in classes}, calibrations))


def _rows(runtimes: dict[int, bytes], calibrations: Sequence[CalibrationFile]) -> Iterator[Row]:
    for file in calibrations:
        for class_id, noise in sorted(file.classes.items()):
            if runtimes.get(class_id) == noise.runtime:
                row = CalibrationRow(noise.calibration, file.act_weights_hash, noise.margin_scores_hash)
                yield Row(file.manifest, class_id, row)
            else:
                log.warning(
                    "calibration left out: it was measured with another runner",
                    extra={"manifest": file.manifest.hex(), "class_id": class_id},
                )


async def plan(
    ethereum: Ethereum,
    deployer: Address,
    profile: Profile,
    classes: Sequence[DeviceClass],
    calibrations: Sequence[CalibrationFile] | None = None,
    *,
    governance: Governance | None = None,
    begun: Deployment | None = None,
) -> Plan:
    """The steps of a deployment from here on.

    Args: calibrations, None for those of this release; governance, None for the deployer alone; begun, what an earlier
    run has written down.
    Raises: ConfigError if what an earlier run has finished is gone; ChainError, transient if the deployer has other
    transactions on their way.
    """
    nonce = await _free_nonce(ethereum, deployer) if begun is None else begun.first_nonce
    addresses = Addresses(*(created_by(deployer, nonce + index) for index in range(len(CONTRACTS))))
    made = Plan(
        chain_id=ethereum.chain_id,
        profile=profile,
        governance=governance or Governance((deployer,), deployer),
        deployer=deployer,
        first_nonce=nonce,
        block=await ethereum.head(),
        addresses=addresses,
        classes=tuple(classes),
        rows=first_rows(classes, packaged() if calibrations is None else calibrations),
        creations=(),
    )
    creations = [await _creation(ethereum, made, *each) for each in zip(CONTRACTS, astuple(addresses), strict=True)]
    if begun is not None and begun.complete and not all(each.is_there for each in creations):
        raise ConfigError(
            "the chain does not have the contracts of the deployment file: it was started anew", _BEGIN_ANEW
        )
    return replace(made, creations=tuple(creations))


async def _free_nonce(ethereum: Ethereum, deployer: Address) -> int:
    nonce = await ethereum.nonce(deployer)
    if await ethereum.nonce(deployer, "pending") != nonce:
        raise ChainError(f"{deployer} has transactions on their way: wait until they are in a block", transient=True)
    return nonce


async def _creation(ethereum: Ethereum, made: Plan, name: str, address: Address) -> Creation:
    contract = interface(name)
    data = contract.encode_deployment(_arguments(made, name))
    slots = _SLOTS.get(name, 0)
    if name == "Timelock":
        slots += len(list(made.governance.roles()))
    if name == "Params":
        slots += _CLASS_SLOTS * len(made.classes) + _ROW_SLOTS * len(made.rows)
    gas = _CREATION_GAS + _WORK_GAS + _BYTE_GAS * len(data) + _CODE_BYTE_GAS * len(contract.runtime) + _SLOT_GAS * slots
    if made_by_it := _MAKES.get(name):
        gas += _CREATION_GAS + _WORK_GAS + _CODE_BYTE_GAS * len(interface(made_by_it).runtime)
    return Creation(name, address, data, len(contract.runtime), gas, bool(await ethereum.code(address)))


def _arguments(made: Plan, name: str) -> tuple[Any, ...]:
    at, rulers = made.addresses, made.governance
    arguments: dict[str, tuple[Any, ...]] = {
        "VCoin": (made.deployer,),
        "Timelock": (made.profile.timelock_seconds, rulers.proposers, rulers.executors, rulers.cancellers),
        "Params": (
            made.profile.to_chain(),
            at.timelock,
            at.guardian,
            made.classes,
            [(each.manifest, each.class_id, each.values.to_chain()) for each in made.rows],
        ),
        "EpochBeacon": (at.params,),
        "StakeManager": (at.token, at.params, at.settlement, at.court),
        "Settlement": (at.token, at.params, at.stakes, at.beacon, at.court, at.fraud_proofs),
        "Court": (at.params, at.stakes, at.settlement, at.fraud_proofs, at.audits),
        "Guardian": (at.timelock, rulers.keeper, at.stakes),
        "FraudProofs": (at.params, at.stakes, at.settlement, at.court),
        "Audits": (at.params, at.stakes, at.settlement, at.court, at.beacon),
    }
    return arguments[name]


async def deploy(
    ethereum: Ethereum,
    key: Key,
    profile: Profile,
    classes: Sequence[DeviceClass],
    *,
    calibrations: Sequence[CalibrationFile] | None = None,
    governance: Governance | None = None,
    path: Path | None = None,
    poll_s: float = 0.5,
) -> Deployment:
    """Deploy a network, or go on with the one that `path` names, or check that it is complete.

    The deployer holds the whole supply of the coin at first. It has no other power, unless it is named for one.

    Args: calibrations, None for those of this release; governance, None for the deployer alone; path, where the
    addresses are kept, None to keep them nowhere.
    Raises: ConfigError if `path` is of another network, the deployer sent other transactions in between, or something
    else is at a planned address; ChainError.
    """
    begun = read_begun(path, ethereum.chain_id, key.address, profile)
    made = await plan(ethereum, key.address, profile, classes, calibrations, governance=governance, begun=begun)
    deployment = begun or Deployment(
        made.chain_id, profile.name, key.address, made.first_nonce, made.block, made.addresses
    )
    network = Network(ethereum, made.addresses)
    if deployment.complete:
        await network.require(deployment)
    elif path is not None:
        # Before anything is sent: whatever happens from here on, another run finds what this one has begun.
        deployment.write(path)
    await _create(ethereum, made, Sender(ethereum, key, _unrecorded, poll_s=poll_s), poll_s)
    await _require_planned(network, made)
    finished = replace(deployment, code_hashes=await network.code_hashes())
    if path is not None and finished != begun:
        finished.write(path)
    return finished


async def _create(ethereum: Ethereum, made: Plan, sender: Sender, poll_s: float) -> None:
    """Create what is not there yet."""
    for index, each in enumerate(made.creations):
        if await _is_there(ethereum, made.deployer, each.address, made.first_nonce + index, poll_s):
            if not interface(each.name).is_code(await ethereum.code(each.address)):
                raise _other_code(each)
            continue
        receipt = await sender.send(Call(f"new {each.name}", None, each.data))
        if receipt.contract != each.address:
            raise ChainError(f"{each.name} went to {receipt.contract}, planned was {each.address}")
        log.info("contract deployed", extra={"contract": each.name, "address": each.address, "gas": receipt.gas_used})


async def _is_there(ethereum: Ethereum, deployer: Address, address: Address, nonce: int, poll_s: float) -> bool:
    """Whether the contract of this nonce was created; waits if that is on its way.

    Raises: ConfigError if the nonce went to something else; ChainError, transient, if it sits in no block.
    """
    deadline = trio.current_time() + _STUCK_S
    while True:
        # The nonce first: what was mined between the two questions is in the code then.
        mined = await ethereum.nonce(deployer)
        if await ethereum.code(address):
            return True
        if mined > nonce:
            raise ConfigError(f"{deployer} sent other transactions since the deployment was planned", _BEGIN_ANEW)
        if await ethereum.nonce(deployer, "pending") == mined:
            if mined < nonce:
                raise ConfigError(f"{deployer} has sent fewer transactions than were planned for", _BEGIN_ANEW)
            return False
        if trio.current_time() > deadline:
            raise ChainError(
                f"a transaction of {deployer} with nonce {mined} is in no block after {_STUCK_S:.0f} s", transient=True
            )
        await trio.sleep(poll_s)


def created_by(sender: Address, nonce: int) -> Address:
    """The address of the contract that a transaction of this nonce creates: keccak(rlp([sender, nonce]))."""
    number = nonce.to_bytes((nonce.bit_length() + 7) // 8, "big")
    encoded = number if len(number) == 1 and number[0] < 0x80 else bytes([0x80 + len(number)]) + number
    payload = bytes([0x80 + 20]) + address_bytes(sender) + encoded
    return checksum(f"0x{keccak(bytes([0xC0 + len(payload)]) + payload)[12:].hex()}")


def read_begun(path: Path | None, chain_id: int, deployer: Address, profile: Profile) -> Deployment | None:
    """The record of an earlier run; None if there was none.

    Raises: ConfigError if that was of another network.
    """
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


async def _require_planned(network: Network, made: Plan) -> None:
    """Check that each contract is the one of this release, and was given what the plan says.

    Raises: ConfigError if not: then something else was created at a planned address.
    """
    for each in made.creations:
        if not interface(each.name).is_code(await network.ethereum.code(each.address)):
            raise _other_code(each)
    at, params = made.addresses, network.params
    try:
        seen: tuple[tuple[str, Any, Any], ...] = (
            ("court", await network.settlement.read("court"), at.court),
            ("court", await network.stakes.read("court"), at.court),
            ("settlement", await network.stakes.read("settlement"), at.settlement),
            ("epoch", await network.beacon.read("epochBlocks"), made.profile.epoch_blocks),
            ("profile", await params.profile(), made.profile),
            ("governor", await params.read("governor"), at.timelock),
            ("guardian", await params.read("guardian"), at.guardian),
            ("guardian", await network.stakes.read("guardian"), at.guardian),
            ("timelock", await network.timelock.read("shortestDelay"), made.profile.timelock_seconds),
            ("roles", await network.timelock.has_roles(made.governance.roles()), True),
            ("fraud proofs", await network.court.read("fraudProofs"), at.fraud_proofs),
            ("audits", await network.court.read("audits"), at.audits),
        )
        # A later addition goes through the timelock, and is no reason to refuse.
        known = {row.id: row for row in await params.classes()}
        found = [known.get(row.id) for row in made.classes]
        rows = [await params.row(row.manifest, row.class_id) for row in made.rows]
        # By what the chain holds of a row: of the margin scores it has the hash alone.
        held = [None if row is None else row.to_chain() for row in rows]
    except Reverted as error:
        raise ConfigError(f"the contracts at the planned addresses are others ({error})", _BEGIN_ANEW) from error
    for what, there, planned in (
        *seen,
        ("classes", found, [*made.classes]),
        ("rows", held, [row.values.to_chain() for row in made.rows]),
    ):
        if there != planned:
            raise ConfigError(
                f"the contracts at the planned addresses have another {what} than was asked for", _BEGIN_ANEW
            )


def _other_code(each: Creation) -> ConfigError:
    return ConfigError(f"the code at {each.address} is not {each.name} of this release", _BEGIN_ANEW)


async def _unrecorded(prepared: Prepared) -> None:
    """Nothing to keep: what a deployment has done is on the chain."""
