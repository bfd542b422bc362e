"""Refusals of the gateway, in the form and with the status that OpenAI's clients expect."""

import logging
from typing import Any

from node.api.faults import Fault, fault_of
from protocol.errors import NodeError

log = logging.getLogger("vcoin.api.gateway")

RETRY_LATER_S = 10
"""When a client may try again that hears that no node is able now."""
_INVALID = "invalid_request_error"
_SERVER = "server_error"

# By the code of a fault: the status, OpenAI's type, and OpenAI's code where it has one of its own.
_OF_FAULT: dict[str, tuple[int, str, str]] = {
    "bad_request": (400, _INVALID, ""),
    "unknown_field": (400, _INVALID, ""),
    "ambiguous": (400, _INVALID, ""),
    "bad_model": (400, _INVALID, ""),
    "prompt_too_long": (400, _INVALID, "context_length_exceeded"),
    "too_large": (413, _INVALID, ""),
    "not_found": (404, _INVALID, ""),
    "unknown_model": (404, _INVALID, "model_not_found"),
    "no_deposit": (402, "insufficient_quota", ""),
    "price_over_cap": (402, "insufficient_quota", ""),
    "job_failed": (502, _SERVER, ""),
    "internal": (500, _SERVER, ""),
}
_PARAMS = {"unknown_model": "model", "prompt_too_long": "messages", "bad_model": "model"}


class GatewayRefusal(NodeError):
    """A request is refused.

    Args: param, the field of the body that is at fault; retry_after_s, 0 if time alone mends nothing.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = _INVALID,
        code: str = "",
        param: str = "",
        retry_after_s: int = 0,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.kind = kind
        self.code = code
        self.param = param
        self.retry_after_s = retry_after_s

    def plain(self) -> dict[str, Any]:
        """As OpenAI answers it."""
        named = {"param": self.param or None, "code": self.code or None}
        return {"error": {"message": self.message, "type": self.kind, **named}}

    def headers(self) -> dict[str, str]:
        """Headers that tell a client whether to try again by itself."""
        if self.retry_after_s:
            return {"Retry-After": str(self.retry_after_s)}
        # OpenAI's clients try most errors of a server again, and each try would be one more job.
        return {"x-should-retry": "false"}


_HIDDEN = {
    "no_deposit": "the account of this node does not hold the price of the request",
    "internal": "the node failed",
}


def refusal_of(error: NodeError) -> GatewayRefusal:
    """Any error of the tree as a refusal: the reason of the node, and what mends it.

    The holder of a key is not the operator: amounts of the account, and errors of the chain, the disk or the engine,
    which may name endpoints and paths, are in the log only.
    """
    if isinstance(error, GatewayRefusal):
        return error
    fault = fault_of(error)
    if fault.code in _HIDDEN or not isinstance(error, Fault):
        log.error("a request of the gateway failed: %s", fault.message)
        fault = Fault(fault.code, _HIDDEN.get(fault.code, "the node cannot ask for jobs now"), "its log says more")
    words = f"{fault.message}. {_sentence(fault.hint)}" if fault.hint else fault.message
    status, kind, code = _OF_FAULT.get(fault.code, (503, _SERVER, ""))
    return GatewayRefusal(
        status,
        words,
        kind=kind,
        code=code or fault.code,
        param=_PARAMS.get(fault.code, ""),
        # Of a busy node the job may still begin, so that a second try would be one more job.
        retry_after_s=RETRY_LATER_S if status == 503 and fault.code != "busy" else 0,
    )


def _sentence(hint: str) -> str:
    return f"Hint: {hint}."


def bad_field(param: str, message: str, code: str = "invalid_value") -> GatewayRefusal:
    """A field of the body cannot be used."""
    return GatewayRefusal(400, f"{param}: {message}", code=code, param=param)


def unsupported(param: str, accepted: str) -> GatewayRefusal:
    """A field asks for something that no job can do; `accepted`, the values that ask for nothing."""
    words = f"jobs of this network do not support it; leave it out, or give {accepted}"
    return bad_field(param, words, "unsupported_parameter")


def bad_key(reason: str) -> GatewayRefusal:
    """The caller has no key that counts."""
    return GatewayRefusal(401, reason, kind="authentication_error", code="invalid_api_key")


def unserved(message: str) -> GatewayRefusal:
    """No node took the job."""
    return GatewayRefusal(503, message, kind=_SERVER, code="no_able_node", retry_after_s=RETRY_LATER_S)


def failed(fault: Fault, *, hired: bool) -> GatewayRefusal:
    """A job ended without an answer; `hired`, whether a node had it."""
    return refusal_of(fault) if hired or fault.code != "job_failed" else unserved(fault.message)
