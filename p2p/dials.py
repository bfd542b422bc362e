"""Dials to addresses that peers and clients name; a named address may belong to a third party.

A dial that ends at the named peer proves the address. Before that, addresses of private networks are refused, names
are resolved and judged by their IPs, and failed dials are limited: per IP, per client, and in all.
"""

import ipaddress
import socket
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection
from dataclasses import KW_ONLY, dataclass

import trio

from p2p.transport import split_address
from protocol.errors import P2PError
from protocol.network.budgets import Budgets, Rate
from protocol.wire.bounded import keep_newest
from protocol.wire.ids import Address

FAILED_PER_IP = Rate(amount=1, period_ms=60_000, burst=4)
FAILED_PER_CLIENT = Rate(amount=1, period_ms=60_000, burst=8)
FAILED_IN_ALL = Rate(amount=2, period_ms=1_000, burst=64)
"""Limits of failed dials to unproved addresses."""
MAX_TRACKED = 4_096
MAX_PROVED = 4_096
MAX_RESOLVED = 2
"""Addresses of one name that are tried."""

Resolve = Callable[[str], Awaitable[Collection[str]]]
"""The IP addresses of a name. Raises: OSError."""


async def resolve(name: str) -> Collection[str]:
    """Ask the system's resolver."""
    found = await trio.socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys(str(entry[4][0]) for entry in found))


def is_private(ip: str) -> bool:
    """Whether an IP address is not globally reachable, or malformed."""
    try:
        address = ipaddress.ip_address(ip)
    except ValueError:
        return True
    return not address.is_global or address.is_multicast


def is_dialable(address: str, private: bool) -> bool:
    """Whether a multiaddr is one of a node and may be dialled; `private` permits addresses of private networks.

    A DNS name passes here: its IPs are judged when it is dialled.
    """
    try:
        split_address(address)
    except P2PError:
        return False
    _, family, host, _ = address.split("/", 3)
    return private or family.startswith("dns") or not is_private(host)


@dataclass(eq=False, repr=False)
class Dials:
    """Dials of one node.

    connect: to a multiaddr. private: whether this network's nodes are in private networks. trusted: the addresses that
    the operator has configured, which are dialled as they are.
    """

    connect: Callable[[str], Awaitable[object]]
    now_ms: Callable[[], int]
    _: KW_ONLY
    private: bool
    trusted: Collection[str] = ()
    resolve: Resolve = resolve

    def __post_init__(self) -> None:
        self._proved: OrderedDict[str, None] = OrderedDict()
        self._by_ip = Budgets[str](FAILED_PER_IP, MAX_TRACKED)
        self._by_client = Budgets[Address](FAILED_PER_CLIENT, MAX_TRACKED)
        self._in_all = Budgets[None](FAILED_IN_ALL, 1)

    async def dial(self, address: str, client: Address | None = None) -> None:
        """Be connected to the peer of a multiaddr.

        Args: client, for whose request the dial is; None if it is for none.
        Raises: P2PError if no peer answers, another one does, or the address may not be dialled (now).
        """
        if self.private or address in self.trusted or address in self._proved:
            await self.connect(address)
            return
        failure = P2PError(f"no address of {address[:200]} is known", transient=True)
        for ip, where in await self._places(address):
            self._take(ip, client)
            try:
                await self.connect(where)
            except P2PError as error:
                failure = error
            else:
                self._give_back(ip, client)
                keep_newest(self._proved, address, None, MAX_PROVED)
                return
        raise failure

    async def _places(self, address: str) -> list[tuple[str, str]]:
        """The IP addresses that an address stands for, each with its multiaddr."""
        if not is_dialable(address, private=False):
            raise P2PError(f"{address[:200]} is no address of a node in a public network", transient=False)
        _, family, host, rest = address.split("/", 3)
        if not family.startswith("dns"):
            return [(host, address)]
        try:
            found = await self.resolve(host)
        except OSError as error:
            raise P2PError(f"the name {host} is not resolved: {error}", transient=True) from error
        wanted = {"dns4": ("ip4",), "dns6": ("ip6",)}.get(family, ("ip4", "ip6"))
        places = [(ip, "ip6" if ":" in ip else "ip4") for ip in found if not is_private(ip)]
        return [(ip, f"/{kind}/{ip}/{rest}") for ip, kind in places if kind in wanted][:MAX_RESOLVED]

    def _take(self, ip: str, client: Address | None) -> None:
        now_ms = self.now_ms()
        if not self._by_ip.has(ip, now_ms):
            raise P2PError(f"too many dials to {ip} came to nothing", transient=True)
        if client is not None and not self._by_client.has(client, now_ms):
            raise P2PError(f"too many dials for client {client} came to nothing", transient=True)
        if not self._in_all.has(None, now_ms):
            raise P2PError("too many dials to unproved addresses came to nothing", transient=True)
        self._by_ip.take(ip, now_ms)
        self._in_all.take(None, now_ms)
        if client is not None:
            self._by_client.take(client, now_ms)

    def _give_back(self, ip: str, client: Address | None) -> None:
        self._by_ip.give_back(ip)
        self._in_all.give_back(None)
        if client is not None:
            self._by_client.give_back(client)
