"""JSON-RPC to Ethereum endpoints: blocking calls in worker threads, the endpoints one after the other.

web3 takes seconds to import, so it is imported where the first call is made.
"""

import logging
import math
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import trio

from protocol.errors import ChainError

log = logging.getLogger(__name__)
MAX_CALLS = 8
"""Calls in flight at once; more wait."""
REST_S = 30.0
"""An endpoint that failed is asked last for so long."""
BATCH_CALLS = 100


class RpcRefusal(ChainError):
    """The endpoint answered with an error: `code` and `data` as in JSON-RPC; `data` of a revert is its error."""

    def __init__(self, message: str, code: int, data: bytes) -> None:
        # Limits, blocks that are not there yet, states that were dropped: another try or endpoint may do.
        super().__init__(message, transient="insufficient funds" not in message.lower())
        self.code = code
        self.data = data


class WrongChain(ChainError):
    """An endpoint serves another chain than the configuration names."""


class _Unreachable(Exception):
    """No answer from one endpoint."""


class Endpoint:
    """One URL with its connections, used from worker threads."""

    def __init__(self, url: str, timeout_s: float) -> None:
        # Paths and passwords of an endpoint are often its key: no message may show them.
        parts = urlsplit(url)
        self.shown = f"{parts.scheme}://{parts.hostname}" + (f":{parts.port}" if parts.port else "")
        self.down_until = -math.inf
        self.checked = False
        self._url = url
        self._timeout_s = timeout_s
        self._provider: Any = None
        self._session: Any = None

    def ask(self, method: str, parameters: Sequence[Any]) -> Any:
        """One call. Blocks; raises _Unreachable."""
        try:
            return self._connected().make_request(method, parameters)
        except (OSError, ValueError) as error:  # requests' errors are OSErrors; ValueError: the answer is no JSON
            raise _Unreachable(_reason(error)) from error

    def ask_all(self, calls: Sequence[tuple[str, Sequence[Any]]]) -> Any:
        """Several calls in one message. Blocks; raises _Unreachable."""
        try:
            return self._connected().make_batch_request(list(calls))
        except (OSError, ValueError) as error:
            raise _Unreachable(_reason(error)) from error

    def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            self._session.close()

    def _connected(self) -> Any:
        if self._provider is None:
            import requests
            from web3.providers.rpc import HTTPProvider

            # One session for all threads, so that it can be closed.
            self._session = requests.Session()
            self._provider = HTTPProvider(
                self._url,
                request_kwargs={"timeout": self._timeout_s},
                session=self._session,
                exception_retry_configuration=None,
            )
        return self._provider


class Rpc:
    """Calls to the first endpoint that answers."""

    def __init__(self, urls: Sequence[str], chain_id: int, timeout_s: float = 10.0) -> None:
        assert urls, "no endpoints"
        self.chain_id = chain_id
        self._endpoints = [Endpoint(url, timeout_s) for url in urls]
        self._timeout_s = timeout_s
        self._slots = trio.CapacityLimiter(MAX_CALLS)

    async def request(self, method: str, *parameters: Any) -> Any:
        """The result of one call.

        Raises: RpcRefusal if an endpoint answers with an error; ChainError, transient if none answers, not if one
        serves another chain.
        """
        return _result_of(await self._first("ask", method, parameters))

    async def batch(self, calls: Sequence[tuple[str, Sequence[Any]]]) -> list[Any]:
        """The results of many calls, in order, asked for in few messages.

        Raises: as `request`, for the first call that fails.
        """
        results: list[Any] = []
        for start in range(0, len(calls), BATCH_CALLS):
            part = calls[start : start + BATCH_CALLS]
            answers = await self._first("ask_all", part)
            if not isinstance(answers, list) or len(answers) != len(part):
                # An endpoint without batches: one error for all of them.
                results.extend([await self.request(method, *parameters) for method, parameters in part])
            else:
                results.extend(_result_of(answer) for answer in answers)
        return results

    def close(self) -> None:
        """Close every connection."""
        for endpoint in self._endpoints:
            endpoint.close()

    async def _first(self, how: str, *arguments: Any) -> Any:
        now = trio.current_time()
        faults = []
        for endpoint in sorted(self._endpoints, key=lambda each: each.down_until > now):
            try:
                await self._check_chain(endpoint)
                answer = await self._ask(endpoint, how, *arguments)
            except _Unreachable as error:
                if endpoint.down_until <= now:
                    log.warning("endpoint gone", extra={"endpoint": endpoint.shown, "reason": str(error)})
                endpoint.down_until = trio.current_time() + REST_S
                faults.append(f"{endpoint.shown} ({error})")
            else:
                endpoint.down_until = -math.inf
                return answer
        raise ChainError(f"no Ethereum endpoint answers: {', '.join(faults)}", transient=True)

    async def _check_chain(self, endpoint: Endpoint) -> None:
        if endpoint.checked:
            return
        found = int(_result_of(await self._ask(endpoint, "ask", "eth_chainId", ())), 16)
        if found != self.chain_id:
            raise WrongChain(f"wrong chain: {endpoint.shown} serves chain {found}, expected {self.chain_id}")
        endpoint.checked = True

    async def _ask(self, endpoint: Endpoint, how: str, *arguments: Any) -> Any:
        call = getattr(endpoint, how)
        # The first call also waits for the import of web3.
        limit_s = self._timeout_s * 2 + (0 if endpoint.checked else 30)
        with trio.move_on_after(limit_s):
            return await trio.to_thread.run_sync(call, *arguments, limiter=self._slots, abandon_on_cancel=True)  # type: ignore[call-arg]
        raise _Unreachable(f"no answer within {limit_s:.0f} s")


@asynccontextmanager
async def open_rpc(urls: Sequence[str], chain_id: int, timeout_s: float = 10.0) -> AsyncIterator[Rpc]:
    """Calls to these endpoints, in order of preference; `timeout_s` for each call.

    Raises: ChainError if none answers or one serves another chain.
    """
    rpc = Rpc(urls, chain_id, timeout_s)
    try:
        await rpc.request("eth_chainId")
        yield rpc
    finally:
        rpc.close()


def _result_of(answer: Any) -> Any:
    if not isinstance(answer, dict):
        raise ChainError("the endpoint's answer is no JSON-RPC", transient=True)
    if error := answer.get("error"):
        if not isinstance(error, dict):
            raise RpcRefusal(str(error), 0, b"")
        raise RpcRefusal(str(error.get("message", error)), int(error.get("code", 0)), _data_of(error.get("data")))
    return answer.get("result")


def _data_of(data: Any) -> bytes:
    """Revert data: geth and Anvil give hex, others wrap it in an object."""
    if isinstance(data, dict):
        data = data.get("data")
    if isinstance(data, str) and data.startswith("0x"):
        try:
            return bytes.fromhex(data[2:])
        except ValueError:
            return b""
    return b""


def _reason(error: Exception) -> str:
    """One or two words: requests' own texts repeat the URL, which may hold a key."""
    kind = type(error).__name__
    if "Timeout" in kind:
        return "timed out"
    if kind == "HTTPError":
        status = getattr(getattr(error, "response", None), "status_code", "?")
        return f"HTTP {status}"
    if "JSON" in kind or isinstance(error, ValueError):
        return "not a JSON-RPC answer"
    return "connection refused or lost"
