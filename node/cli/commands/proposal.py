"""`vcoin timelock propose`: everything that the governor of a network can do, and nothing else."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from node.api.faults import Fault
from node.cli.ui.options import AddressOf, Seconds, noun
from node.cli.ui.wallet import WalletOptions, Wanted, called, carry_out_by

if TYPE_CHECKING:
    from node.cli.ui.types import Call, Key, Network, TransactionPlan

app = noun("propose", "Announce what the governor is to do once its delay is over; a proposer.")
Role = Literal["proposer", "canceller", "executor"]
MAX_FILE_BYTES = 1 << 20


@Parameter(name="*")
@dataclass(frozen=True)
class ProposalOptions(WalletOptions):
    """Options of every proposal."""

    salt: int = 0
    """Another number lets what was proposed before be proposed once more."""


@app.command(name="class")
def class_(class_id: int, name: str, /, *, runtime: str, dtype: str, isa: str, wallet: ProposalOptions) -> int:
    """Propose a device class. It cannot be changed or removed later.

    Parameters
    ----------
    class_id
        A number from 1 to 31 that no class has.
    name
        For people, for example cuda-sm80.
    runtime
        The hash of the runner, 64 hexadecimal digits.
    dtype
        Of the weights, for example bf16.
    isa
        What two machines must share so that one may check the other.
    """
    from chain.contracts.params import DeviceClass

    row = DeviceClass(class_id, name, _bytes32(runtime), dtype, isa)
    return _propose(lambda network: network.params.add_class(row), wallet)


@app.command
def calibration(file: Path, /, *, device_class: int, wallet: ProposalOptions) -> int:
    """Propose the noise constants of a model on one device class. They cannot be changed or removed later.

    Parameters
    ----------
    file
        The calibration file, named by the model's manifest.
    device_class
        Which class of the file; one row is proposed at a time.
    """
    from chain.calibration.files import read
    from chain.contracts.params import CalibrationRow

    measured = read(_text(file), file.name)
    noise = measured.classes.get(device_class)
    if noise is None:
        there = ", ".join(str(each) for each in sorted(measured.classes))
        raise Fault("not_found", f"{file} has no class {device_class}", f"--device-class: one of {there}")

    async def call(network: "Network") -> "Call":
        # Numbers that were measured with another runner say nothing about this class.
        runtimes = {each.id: each.runtime for each in await network.params.classes()}
        if runtimes.get(device_class) != noise.runtime:
            message = f"class {device_class} has another runner than the one that {file} was measured with"
            raise Fault("reverted", message, "measure again with the runner of that class: vcoin params show")
        row = CalibrationRow(noise.calibration, measured.act_weights_hash, noise.margin_scores_hash)
        return network.params.add_calibration(measured.manifest, device_class, row)

    return _propose(call, wallet)


@app.command
def keeper(address: AddressOf, /, *, wallet: ProposalOptions) -> int:
    """Propose another keeper, who may pause new obligations.

    Parameters
    ----------
    address
        The account; the zero address for none.
    """
    return _propose(lambda network: network.guardian.set_keeper(address), wallet)


@app.command
def arbiters(*addresses: AddressOf, quorum: int, wallet: ProposalOptions) -> int:
    """Propose other arbiters. Votes on open cases start anew with them.

    Parameters
    ----------
    addresses
        All of them, at most 32; none means that what the last round doubts is void.
    quorum
        How many decide: more than half.
    """

    async def call(network: "Network") -> "Call":
        return (await network.panel()).set_arbiters(addresses, quorum)

    return _propose(call, wallet)


@app.command
def role(
    step: Literal["grant", "revoke"],
    role_: Annotated[Role, Parameter(name="ROLE")],
    address: AddressOf,
    /,
    *,
    wallet: ProposalOptions,
) -> int:
    """Propose to give or to take a role of the timelock.

    Parameters
    ----------
    step
        What is to be done.
    role_
        Which role.
    address
        Whose; as an executor, the zero address stands for anybody.
    """

    def call(network: "Network") -> "Call":
        change = network.timelock.grant_role if step == "grant" else network.timelock.revoke_role
        return change(name_of(role_), address)

    return _propose(call, wallet)


@app.command
def delay(length: Seconds, /, *, wallet: ProposalOptions) -> int:
    """Propose a longer delay, or one that is shorter again, but never shorter than at deployment.

    Parameters
    ----------
    length
        Between a proposal and its execution, for example 20d.
    """
    return _propose(lambda network: network.timelock.update_delay(length), wallet)


def _propose(wanted: Wanted, wallet: ProposalOptions) -> int:
    """Refuse a call that the governor could not make now: it would be refused after the delay, too."""

    async def plan(network: "Network", proposer: "Key") -> "TransactionPlan":
        from node.wallet import plans

        timelock, call = network.timelock, await called(network, wanted)
        await plans.require_allowed(network, call, timelock.address)
        schedule = timelock.schedule(call, await timelock.delay(), wallet.salt.to_bytes(32, "big"))
        return await plans.plain(network, proposer, schedule)

    if not 0 <= wallet.salt < 2**64:
        raise Fault("bad_request", "--salt is a number from 0 to 2^64 - 1")
    return carry_out_by(wallet, "the proposer's key", plan)


def name_of(role: Role) -> str:
    """A role as the contract names it."""
    return f"{role.upper()}_ROLE"


def _bytes32(text: str) -> bytes:
    digits = text.removeprefix("0x")
    try:
        if len(digits) != 64:
            raise ValueError
        return bytes.fromhex(digits)
    except ValueError:
        raise Fault("bad_request", f"{text!r} is no hash: 64 hexadecimal digits") from None


def _text(file: Path) -> str:
    from protocol.errors import ConfigError

    try:
        with file.open(encoding="utf-8") as opened:
            # A longer file is cut, and then is no JSON any more.
            return opened.read(MAX_FILE_BYTES)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file} cannot be read: {error}", "name a calibration file") from error
