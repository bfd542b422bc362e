"""JSON-RPC to Ethereum endpoints: blocking calls in worker threads, the endpoints one after the other.

web3 takes seconds to import, so it is imported where the first call is made.
"""

import logging
import math
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import trio

from protocol.errors import ChainError, ConfigError

log = logging.getLogger(__name__)
MAX_CALLS = 8
"""Calls to one endpoint at once; more wait."""
REST_S = 30.0
"""An endpoint that failed is asked last for so long, then by one call, which finds out; each time twice as long."""
LONGEST_REST_S = 300.0
CHECK_AGAIN_S = 30.0
"""How long an endpoint is trusted to serve the chain that it served: a machine behind its name may be replaced."""
IMPORT_S = 30.0
_web3_is_here = threading.Event()
BATCH_CALLS = 100
MAX_WORDS = 500


# Errors of requests are OSErrors; the others: the answer is no JSON, or JSON too deep to be read.
_BROKEN = (OSError, ValueError, RecursionError)


class RpcRefusal(ChainError):
    """The endpoint answered with an error: `code` and `data` as in JSON-RPC; `data` of a revert is its error."""

    def __init__(self, message: str, code: int, data: bytes) -> None:
        # Limits, blocks that are not there yet, states that were dropped: another try or endpoint may do.
        super().__init__(message, transient="insufficient funds" not in message.lower())
        self.code = code
        self.data = data
        self.after_silence = False
        """Whether an endpoint before this one gave no answer, and may have done what was asked."""


class WrongChain(ChainError):
    """An endpoint serves another chain than the configuration names."""


class Unreachable(ChainError):
    """No endpoint answers, or none that serves our chain."""


class _Unreachable(Exception):
    """No answer from one endpoint."""


class _OtherChain(_Unreachable):
    """An answer of another chain."""


class Endpoint:
    """One URL with its connections, used from worker threads."""

    def __init__(self, url: str, timeout_s: float, rest_s: float) -> None:
        # Paths and passwords of an endpoint are often its key: no message may show them.
        try:
            parts = urlsplit(url)
            self.shown = f"{parts.scheme}://{parts.hostname}" + (f":{parts.port}" if parts.port else "")
        except ValueError as error:
            raise ConfigError("an endpoint is no URL", "for example http://127.0.0.1:8545") from error
        self.down_until = -math.inf
        self.checked_at = -math.inf
        self.serves: int | None = None
        """The chain that it says it serves; None before it was asked."""
        # Its own slots: calls that hang here must not keep others from being asked.
        self.slots = trio.CapacityLimiter(MAX_CALLS)
        self._url = url
        self._timeout_s = timeout_s
        self._first_rest_s = self._rest_s = rest_s
        self._rested_at = -math.inf
        self._provider: Any = None
        self._session: Any = None

    def is_down(self, now: float) -> bool:
        """Whether it is asked last; it may be asked, to see whether it is back, once its rest is over."""
        return self.down_until > now

    def claim(self, now: float) -> None:
        """The one call that finds out whether it is back: others need not wait for it."""
        if math.isfinite(self.down_until):
            self.down_until = now + self._rest_s

    def rest(self, reason: str, began: float) -> None:
        """Leave it alone for a while, because of a call that began then; said once, until it is back."""
        if began < self._rested_at:
            # Of many calls that failed together, one counts.
            return
        if not math.isfinite(self.down_until):
            log.warning("endpoint left: %s", reason, extra={"endpoint": self.shown})
            self._rest_s = self._first_rest_s
        else:
            self._rest_s = min(self._rest_s * 2, LONGEST_REST_S)
        self._rested_at = trio.current_time()
        self.down_until = self._rested_at + self._rest_s
        self.checked_at = -math.inf

    def back(self) -> None:
        """It answers."""
        if math.isfinite(self.down_until):
            log.info("endpoint back", extra={"endpoint": self.shown})
        self.down_until = -math.inf

    def ask(self, method: str, parameters: Sequence[Any]) -> Any:
        """One call. Blocks; raises _Unreachable."""
        try:
            return self._connected().make_request(method, parameters)
        except _BROKEN as error:
            raise _Unreachable(_reason(error)) from error

    def ask_all(self, calls: Sequence[tuple[str, Sequence[Any]]]) -> Any:
        """Several calls in one message. Blocks; raises _Unreachable."""
        try:
            return self._connected().make_batch_request(list(calls))
        except (*_BROKEN, AttributeError, KeyError, TypeError) as error:  # web3 sorts what it takes for answers
            raise _Unreachable(_reason(error)) from error

    def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            self._session.close()

    def _connected(self) -> Any:
        if self._provider is None:
            import requests
            from web3.providers.rpc import HTTPProvider

            _web3_is_here.set()
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

    def __init__(self, urls: Sequence[str], chain_id: int, timeout_s: float = 10.0, rest_s: float = REST_S) -> None:
        assert urls, "no endpoints"
        self.chain_id = chain_id
        self.endpoints = tuple(Endpoint(url, timeout_s, rest_s) for url in urls)
        self._timeout_s = timeout_s

    async def request(self, method: str, *parameters: Any) -> Any:
        """The result of one call. Raises: as `batch`."""
        return (await self.batch([(method, parameters)]))[0]

    async def batch(self, calls: Sequence[tuple[str, Sequence[Any]]]) -> list[Any]:
        """The results of many calls, in order, asked for in few messages.

        Raises: RpcRefusal for the first that an endpoint answers with an error; Unreachable, transient, if none of our
        chain answers.
        """
        now = trio.current_time()
        faults: list[str] = []
        for endpoint in sorted(self.endpoints, key=lambda each: each.is_down(now)):
            began = trio.current_time()
            try:
                answers = await self._answers_of(endpoint, calls, began)
            except _Unreachable as error:
                faults.append(f"{endpoint.shown} ({error})")
                continue
            for answer in answers:
                if isinstance(answer, RpcRefusal):
                    answer.after_silence = bool(faults)
                    raise answer
            return answers
        raise _none_answers(faults)

    async def each(self, calls: Sequence[tuple[str, Sequence[Any]]]) -> dict[Endpoint, list[Any]]:
        """The answers of every endpoint in use, all asked at once; an answer is a result or an RpcRefusal.

        One that is silent is left, and missing here. Raises: Unreachable if all are.
        """
        now = trio.current_time()
        due = [endpoint for endpoint in self.endpoints if not endpoint.is_down(now)] or self.endpoints
        found: dict[Endpoint, list[Any]] = {}
        faults: dict[Endpoint, str] = {}

        async def ask(endpoint: Endpoint) -> None:
            try:
                found[endpoint] = await self._answers_of(endpoint, calls, now)
            except _Unreachable as error:
                faults[endpoint] = f"{endpoint.shown} ({error})"

        async with trio.open_nursery() as nursery:
            for endpoint in due:
                nursery.start_soon(ask, endpoint)
        if not found:
            raise _none_answers([faults[endpoint] for endpoint in due])
        # In the order of preference, not of arrival.
        return {endpoint: found[endpoint] for endpoint in self.endpoints if endpoint in found}

    async def require_chain(self) -> None:
        """Ask every endpoint which chain it serves.

        Raises: WrongChain if one serves another than ours; Unreachable if none answers.
        """
        try:
            await self.each([])
        finally:
            for endpoint in self.endpoints:
                if endpoint.serves not in (None, self.chain_id):
                    raise WrongChain(
                        f"wrong chain: {endpoint.shown} serves chain {endpoint.serves}, expected {self.chain_id}"
                    )

    async def served_chain(self) -> int:
        """The chain that every endpoint says it serves, whichever we expect.

        Raises: WrongChain if they serve several; Unreachable if none answers.
        """
        faults = []
        for endpoint in self.endpoints:
            try:
                await self._learn_chain(endpoint)
            except _Unreachable as error:
                faults.append(f"{endpoint.shown} ({error})")
        served = {endpoint.serves: endpoint.shown for endpoint in self.endpoints if endpoint.serves is not None}
        if len(served) > 1:
            raise WrongChain(f"the endpoints serve several chains: {', '.join(map(str, sorted(served)))}")
        if not served:
            raise _none_answers(faults)
        return served.popitem()[0]

    def close(self) -> None:
        """Close every connection."""
        for endpoint in self.endpoints:
            endpoint.close()

    async def _answers_of(
        self, endpoint: Endpoint, calls: Sequence[tuple[str, Sequence[Any]]], began: float
    ) -> list[Any]:
        """One endpoint's results and refusals of calls that began then. Raises: _Unreachable, and leaves it alone."""
        endpoint.claim(began)
        try:
            await self._check_chain(endpoint)
            answers = await self._ask_all(endpoint, calls)
        except _Unreachable as error:
            endpoint.rest(str(error), began)
            raise
        endpoint.back()
        return answers

    async def _ask_all(self, endpoint: Endpoint, calls: Sequence[tuple[str, Sequence[Any]]]) -> list[Any]:
        results: list[Any] = []
        for start in range(0, len(calls), BATCH_CALLS):
            part = calls[start : start + BATCH_CALLS]
            answers = await self._ask(endpoint, "ask_all", part) if len(part) > 1 else None
            if not isinstance(answers, list) or len(answers) != len(part):
                answers = [await self._ask(endpoint, "ask", method, parameters) for method, parameters in part]
            for answer in answers:
                try:
                    results.append(result_of(answer))
                except RpcRefusal as error:
                    results.append(error)
                except ChainError as error:
                    raise _Unreachable("not a JSON-RPC answer") from error
        return results

    async def _check_chain(self, endpoint: Endpoint) -> None:
        if trio.current_time() < endpoint.checked_at + CHECK_AGAIN_S:
            return
        await self._learn_chain(endpoint)
        if endpoint.serves != self.chain_id:
            raise _OtherChain(f"it serves chain {endpoint.serves}, not {self.chain_id}")
        endpoint.checked_at = trio.current_time()

    async def _learn_chain(self, endpoint: Endpoint) -> None:
        answer = await self._ask(endpoint, "ask", "eth_chainId", ())
        try:
            endpoint.serves = int(result_of(answer), 16)
        except (RpcRefusal, ChainError, ValueError, TypeError) as error:
            raise _Unreachable("it does not say which chain it serves") from error

    async def _ask(self, endpoint: Endpoint, how: str, *arguments: Any) -> Any:
        call = getattr(endpoint, how)
        # The first call also waits for the import of web3.
        limit_s = self._timeout_s + (0 if _web3_is_here.is_set() else IMPORT_S)
        with trio.move_on_after(limit_s):
            return await trio.to_thread.run_sync(call, *arguments, limiter=endpoint.slots, abandon_on_cancel=True)  # type: ignore[call-arg]
        raise _Unreachable("timed out")


@asynccontextmanager
async def open_rpc(
    urls: Sequence[str], chain_id: int, timeout_s: float = 10.0, rest_s: float = REST_S
) -> AsyncIterator[Rpc]:
    """Calls to these endpoints, in order of preference.

    Args: timeout_s, for each call; rest_s, how long one that failed is left alone at first.
    Raises: WrongChain if one serves another chain; Unreachable if none answers.
    """
    rpc = Rpc(urls, chain_id, timeout_s, rest_s)
    try:
        await rpc.require_chain()
        yield rpc
    finally:
        rpc.close()


def _none_answers(faults: Sequence[str]) -> Unreachable:
    return Unreachable(f"no Ethereum endpoint answers: {', '.join(faults)}", transient=True)


def result_of(answer: Any) -> Any:
    """The result in an answer. Raises: RpcRefusal for an error, ChainError for no JSON-RPC."""
    if not isinstance(answer, dict):
        raise ChainError("not a JSON-RPC answer", transient=True)
    if error := answer.get("error"):
        if not isinstance(error, dict):
            raise RpcRefusal(_printable(error), 0, b"")
        code = error.get("code", 0)
        words = _printable(error.get("message", error))
        raise RpcRefusal(words, code if type(code) is int else 0, _data_of(error.get("data")))
    return answer.get("result")


def _printable(words: Any) -> str:
    """An endpoint's own words, fit for a log line and a terminal."""
    return "".join(sign if sign.isprintable() else " " for sign in str(words)[:MAX_WORDS])


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
    if "JSON" in kind or not isinstance(error, OSError):
        return "not a JSON-RPC answer"
    return "connection refused or lost"
