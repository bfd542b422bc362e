"""Refusals of the daemon: a stable code, one line of what is wrong, one line of what to do.

Every code has an HTTP status and the exit code that a command ends with. A script may rely on both.
"""

from dataclasses import dataclass
from enum import IntEnum

from protocol.errors import AdapterError, ChainError, ConfigError, ExecutorError, NodeError, Reverted

_LISTS = {
    "case": "vcoin case list",
    "job": "vcoin job list",
    "key": "vcoin gateway key list",
    "model": "vcoin model list",
    "node": "vcoin status --nodes",
    "proposal": "vcoin timelock show",
}
OTHER_VERSION = "daemon and command may be of different versions: restart the daemon"


class Exit(IntEnum):
    """How a command ends. 75 and 78 are those of sysexits.h, so that systemd can tell a retry from a bad setting."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NO_DAEMON = 3
    PREFLIGHT = 4
    JOB_FAILED = 5
    REVERTED = 6
    RETRY_LATER = 75
    BAD_CONFIG = 78
    INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class FaultKind:
    """The status and exit code of a fault's code."""

    status: int
    exit: Exit


KINDS: dict[str, FaultKind] = {
    # The call is malformed.
    "bad_request": FaultKind(400, Exit.USAGE),
    "unknown_field": FaultKind(400, Exit.USAGE),
    "too_large": FaultKind(413, Exit.USAGE),
    "ambiguous": FaultKind(400, Exit.USAGE),
    # The thing asked for does not exist, or cannot be had like this.
    "not_found": FaultKind(404, Exit.FAILED),
    "unknown_model": FaultKind(404, Exit.FAILED),
    "bad_model": FaultKind(422, Exit.FAILED),
    "bad_proof": FaultKind(422, Exit.FAILED),
    "prompt_too_long": FaultKind(422, Exit.FAILED),
    "no_deposit": FaultKind(402, Exit.FAILED),
    "in_use": FaultKind(409, Exit.FAILED),
    "store_full": FaultKind(507, Exit.FAILED),
    "price_over_cap": FaultKind(409, Exit.FAILED),
    "internal": FaultKind(500, Exit.FAILED),
    # Nothing is wrong with the question, but not now.
    "no_able_node": FaultKind(503, Exit.RETRY_LATER),
    "not_ready": FaultKind(503, Exit.RETRY_LATER),
    "busy": FaultKind(503, Exit.RETRY_LATER),
    "unavailable": FaultKind(503, Exit.RETRY_LATER),
    # The machine, the settings, the chain.
    "no_daemon": FaultKind(503, Exit.NO_DAEMON),
    "preflight": FaultKind(503, Exit.PREFLIGHT),
    "bad_config": FaultKind(500, Exit.BAD_CONFIG),
    "reverted": FaultKind(409, Exit.REVERTED),
    "job_failed": FaultKind(409, Exit.JOB_FAILED),
}


class Fault(NodeError):
    """Something was asked that cannot be done; `code` is a key of KINDS, `hint` what to do about it."""

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        assert code in KINDS, code
        self.code = code
        self.message = message
        self.hint = hint

    @property
    def kind(self) -> FaultKind:
        """Status and exit code."""
        return KINDS[self.code]

    def plain(self) -> dict[str, str]:
        """As the control API answers it."""
        return {"code": self.code, "message": self.message, "hint": self.hint}


def fault_of(error: NodeError) -> Fault:
    """Any error of the tree as a fault: what the person sees does not depend on where it was raised."""
    match error:
        case Fault():
            return error
        case ConfigError():
            return Fault("bad_config", str(error), error.hint or "vcoin config show --origin says what is set where")
        case Reverted():
            return Fault("reverted", f"the contract refused: {error}")
        case ChainError():
            return Fault("unavailable", str(error), "check that the RPC endpoint of `vcoin config show` answers")
        case ExecutorError():
            return Fault("preflight", str(error), "check that Docker runs: docker info")
        case AdapterError(transient=True):
            return Fault("unavailable", str(error), "try again")
        case _:
            return Fault("internal", str(error))


def unknown_model(name: str, known: tuple[str, ...]) -> Fault:
    """`known` are the names in the store."""
    if not known:
        return Fault("unknown_model", f"unknown model {name!r}: the store is empty", "vcoin model add --smollm2")
    return Fault("unknown_model", f"unknown model {name!r}", f"one of: {', '.join(sorted(known)[:8])}")


def prompt_too_long(prompt_tokens: int, max_new_tokens: int, context: int) -> Fault:
    """A model cannot hold the prompt and the answer together."""
    new = f", and with {max_new_tokens} new ones" if max_new_tokens else ", which"
    message = f"the prompt has {prompt_tokens} tokens{new} exceeds the model's {context}"
    if prompt_tokens >= context:
        return Fault("prompt_too_long", message, f"shorten the prompt to less than {context} tokens")
    return Fault("prompt_too_long", message, f"--max-tokens {context - prompt_tokens} at most, or a shorter prompt")


def no_deposit(free_wei: int, needed_wei: int) -> Fault:
    """The client's account cannot pay for the job; amounts in wei."""
    missing = -(-(needed_wei - free_wei) // 10**18)
    message = f"the account has {vcn(free_wei)} VCN free, the job may cost {vcn(needed_wei)}"
    return Fault("no_deposit", message, f"vcoin account deposit {max(missing, 10)}")


def price_over_cap(cheapest_wei: int, cap_wei: int) -> Fault:
    """Nodes would do it, but not for so little; amounts in wei for the whole job."""
    message = f"no node does it for {vcn(cap_wei)} VCN: the cheapest asks {vcn(cheapest_wei)}"
    return Fault("price_over_cap", message, f"--max-price {vcn(cheapest_wei)}")


def no_able_node(reason: str) -> Fault:
    """No able node is there; `reason` says what the nodes lack."""
    return Fault("no_able_node", f"no able node: {reason}", "vcoin status --nodes shows who is there; try again later")


def not_found(kind: str, name: str) -> Fault:
    """There is no such job, case, node."""
    return Fault("not_found", f"no {kind} {name!r}", _LISTS.get(kind, ""))


def vcn(wei: int) -> str:
    """An amount in VCN with every digit that counts: 1.5, 0.064, 1280."""
    sign = "-" if wei < 0 else ""
    whole, rest = divmod(abs(wei), 10**18)
    return f"{sign}{whole}.{rest:018d}".rstrip("0").rstrip(".")
