"""The SingleJobs contract: one job of one node for a client without a lane, in wei."""

from dataclasses import astuple, dataclass

from eth_abi.abi import encode
from eth_utils.crypto import keccak

from chain.contracts.contract import Contract, DecodedLog
from chain.contracts.facts import ClientTouched, Fact
from chain.rpc.ethereum import Call
from protocol.stages.assignment import Assignment, JobDetails
from protocol.stages.commitment import Receipt, Result
from protocol.wire.ids import ZERO_HASH, Address, JobId

OPEN = 1
COMMITTED = 2
ENDED = (1).to_bytes(32, "big")
_TERMS = "(address,address,address,uint96,uint96,uint32,uint40)"
_OUTPUT = "(bytes32,bytes32)"


@dataclass(frozen=True, slots=True)
class JobTerms:
    """What is locked for a job, and its rules: amounts in wei, the deadline in seconds."""

    client: Address
    signer: Address
    node: Address
    price: int
    bonus_cap: int
    expected_ms: int
    deadline: int


@dataclass(frozen=True, slots=True)
class JobOutput:
    """What the node has bound itself to; zeros before it has."""

    result_hash: bytes = ZERO_HASH
    output_commit: bytes = ZERO_HASH


class Singles(Contract):
    """Where a job without a lane is locked, committed and settled, or expires."""

    NAME = "SingleJobs"

    async def state_of(self, job: JobId) -> bytes:
        """What a job's slot holds: zeros before it is opened, ENDED when it is over, else the hash of its state."""
        state: bytes = await self.read("stateOf", job)
        return state

    def open(self, order: Assignment, details: JobDetails, signature: bytes) -> Call:
        """Lock a job's money; anyone with the order, number 0, and its signature. Client and signer need none."""
        return self.call("open", astuple(order), astuple(details), signature)

    def commit(self, job: JobId, terms: JobTerms, output: JobOutput) -> Call:
        """Bind the node to a result; its operator, until the deadline."""
        return self.call("commit", job, astuple(terms), astuple(output))

    def settle(self, job: JobId, terms: JobTerms, output: JobOutput, receipt: Receipt, signature: bytes) -> Call:
        """Pay a committed job by its client's receipt; anyone."""
        return self.call("settle", job, astuple(terms), astuple(output), astuple(receipt), signature)

    def expire(self, job: JobId, terms: JobTerms, output: JobOutput) -> Call:
        """Give the client its money back, once the deadline is over; anyone."""
        return self.call("expire", job, astuple(terms), astuple(output))

    def fact(self, entry: DecodedLog) -> Fact | None:
        """What a log of this contract says: somebody's free money has changed."""
        if entry.event in ("JobOpened", "JobSettled", "JobExpired"):
            return ClientTouched(entry.values[1])
        return None


def terms_of(order: Assignment, details: JobDetails) -> JobTerms:
    """The terms under which an order is locked."""
    return JobTerms(
        order.client,
        order.signer,
        order.node,
        details.price,
        details.bonus_cap,
        details.expected_ms,
        details.deadline,
    )


def output_of(result: Result) -> JobOutput:
    """What a node commits to with a result."""
    return JobOutput(result.result_hash, result.output_commit)


def state_hash(terms: JobTerms, output: JobOutput | None = None) -> bytes:
    """What the slot of an open job holds, or of a committed one."""
    if output is None:
        return keccak(encode(["uint8", _TERMS], [OPEN, astuple(terms)]))
    return keccak(encode(["uint8", _TERMS, _OUTPUT], [COMMITTED, astuple(terms), astuple(output)]))
