"""One contract at one address: calls to it, reads from it, its logs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from typing import Any, Generic, ParamSpec, cast, get_type_hints

from chain.abi.interface import Interface, interface
from chain.rpc.ethereum import BlockTag, Call, Ethereum, Log, Topics
from protocol.errors import ChainError
from protocol.wire.ids import Address

Arguments = ParamSpec("Arguments")


@dataclass(frozen=True, slots=True)
class DecodedLog:
    """A log in the contract's own words: the event and its values in the order of its declaration."""

    event: str
    values: tuple[Any, ...]
    log: Log


class ContractStruct:
    """A struct as a view returns it, field by field: the number of an enumeration becomes its member."""

    __slots__ = ()

    def __post_init__(self) -> None:
        for name, enumeration in _enumerations(cast(Any, type(self))):
            object.__setattr__(self, name, enumeration(getattr(self, name)))


@cache
def _enumerations(struct: type[ContractStruct]) -> tuple[tuple[str, type[IntEnum]], ...]:
    """The fields of a struct that hold a member of an enumeration."""
    hints = get_type_hints(struct).items()
    return tuple((name, hint) for name, hint in hints if isinstance(hint, type) and issubclass(hint, IntEnum))


class Contract:
    """A deployed contract; its typed clients subclass this."""

    NAME = ""

    def __init__(self, ethereum: Ethereum, address: Address) -> None:
        self.ethereum = ethereum
        self.address = address
        self.interface: Interface = interface(self.NAME)

    def call(self, function: str, *arguments: Any) -> Call:
        """A call, to be simulated or sent."""
        data = self.interface.functions[function].encode(arguments)
        return Call(f"{self.NAME}.{function}", self.address, data)

    async def read(self, function: str, *arguments: Any, block: BlockTag = "latest") -> Any:
        """The result of a view on the state after `block`; a tuple where it has several.

        Raises: Reverted if the view reverts; ChainError if no such contract is there.
        """
        answer = await self.ethereum.call(self.call(function, *arguments), block=block)
        return self._result(function, answer)

    async def read_many(self, function: str, arguments: list[tuple[Any, ...]], block: BlockTag = "latest") -> list[Any]:
        """The results of one view for many arguments, all on the same state.

        Raises: as `read`.
        """
        calls = [self.call(function, *each) for each in arguments]
        return [self._result(function, answer) for answer in await self.ethereum.call_many(calls, block)]

    def topics(self, event: str, **indexed: Any) -> Topics:
        """The filter for an event's logs; with a name and a value, only those with that indexed value."""
        layout = next(layout for layout in self.interface.events.values() if layout.name == event)
        return layout.topics_of(indexed)

    def entry(self, log: Log) -> DecodedLog | None:
        """A log of this contract; None if it is none of those that the interface declares."""
        layout = self.interface.events.get(log.topics[0]) if log.topics else None
        if layout is None or log.address != self.address:
            return None
        return DecodedLog(layout.name, layout.decode(log.topics, log.data), log)

    async def entries(self, events: str | Sequence[str], first: int, last: int, **indexed: Any) -> list[DecodedLog]:
        """Every log of some events in the blocks from `first` to `last`, in order.

        Args: indexed, the only value that counts of an indexed parameter, which stands at one place in all the events.
        """
        found: list[DecodedLog] = []
        selected = [self.topics(each, **indexed) for each in ([events] if isinstance(events, str) else events)]
        topics: Topics = [[topic for each in selected for topic in each[0] or ()], *selected[0][1:]]
        assert all(each[1:] == selected[0][1:] for each in selected), "a parameter stands at another place"
        while first <= last:
            until, logs = await self.ethereum.logs([self.address], first, last, topics)
            found += [entry for log in logs if (entry := self.entry(log))]
            first = until + 1
        return found

    def _result(self, function: str, answer: bytes) -> Any:
        try:
            values = self.interface.functions[function].decode_output(answer)
        except ValueError as error:
            raise ChainError(f"{self.address} is no {self.NAME} contract") from error
        return values[0] if len(values) == 1 else values


@dataclass(slots=True)
class CallTo(Generic[Arguments]):
    """A function that takes its arguments as they come, as an attribute: `unjail = CallTo[Address]("unjail")`."""

    function: str

    def __get__(self, contract: Contract, owner: type[Contract]) -> Callable[Arguments, Call]:
        def call(*arguments: Arguments.args, **_: Arguments.kwargs) -> Call:
            return contract.call(self.function, *arguments)

        return call
