"""The connection gate: accepts or refuses inbound connections by their source IP.

One IP or one network must not take the places of others: not with many connections, not with slow handshakes, and not
under many peer ids. Times in seconds of trio's clock.
"""

import ipaddress
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass

from protocol.wire.bounded import keep_newest

ACCEPT_WINDOW_S = 10.0
ACCEPTS_PER_IP = 20
ACCEPTS_PER_LOOPBACK_IP = 128
"""Connections that one address may open per window. Loopback stands for every process of this machine at once."""
MAX_TRACKED_IPS = 4096

MAX_PENDING = 64
"""Connections whose handshake is not over; an honest one takes a few round trips."""
PENDING_PER_IP = 8
PENDING_PER_LOOPBACK_IP = 32

MAX_PER_GROUP = 16
"""Connections from one /24, or one /48 of IPv6: one party rents so many addresses for little money."""

BANS_PER_IP = 3
BAN_WINDOW_S = 3_600.0
REFUSE_S = 600.0
"""An IP from which so many peers or connections were ended for a fault within the window is refused so long."""


def is_loopback(ip: str) -> bool:
    """Whether the IP is this machine's own; all local nodes share it."""
    return ip.startswith("127.") or ip in ("::1", "::ffff:127.0.0.1")


def group_of(ip: str) -> str:
    """The network that an address is counted with."""
    try:
        address = ipaddress.ip_address(ip.partition("%")[0])
    except ValueError:
        return ip
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return str(ipaddress.ip_network((address, 24 if address.version == 4 else 48), strict=False))


class AcceptBudget:
    """Counts the connections of each address in a sliding window; one noisy address leaves the others their slots."""

    def __init__(self) -> None:
        self._accepted: OrderedDict[str, deque[float]] = OrderedDict()

    def admit(self, ip: str, now: float) -> bool:
        """Count a connection from `ip` at `now` (seconds); False if the address has used up its window."""
        times = self._accepted.get(ip, deque[float]())
        keep_newest(self._accepted, ip, times, MAX_TRACKED_IPS)
        while times and times[0] <= now - ACCEPT_WINDOW_S:
            times.popleft()
        if len(times) >= (ACCEPTS_PER_LOOPBACK_IP if is_loopback(ip) else ACCEPTS_PER_IP):
            return False
        times.append(now)
        return True


@dataclass(eq=False, slots=True)
class InboundConnection:
    """A connection from outside; `shut` closes its socket."""

    ip: str
    group: str
    shut: Callable[[], None]
    pending: bool = True


class ConnectionGate:
    """Lets connections in, and remembers them until they are over."""

    def __init__(self) -> None:
        self._budget = AcceptBudget()
        self._connections: dict[InboundConnection, None] = {}
        self._banned: OrderedDict[str, OrderedDict[str, float]] = OrderedDict()
        self._refused: OrderedDict[str, float] = OrderedDict()

    @property
    def pending(self) -> int:
        """Connections whose handshake is not over."""
        return sum(connection.pending for connection in self._connections)

    def enter(self, ip: str, shut: Callable[[], None], now: float) -> InboundConnection | None:
        """Let a connection in, or not: None.

        Over the limit of open handshakes, the oldest one is shut: of this IP, or of the network with the most. An
        honest handshake ends in a moment, so it is never the oldest for long.
        """
        if now < self._refused.get(ip, 0.0) or not self._budget.admit(ip, now):
            return None
        group = group_of(ip)
        local = is_loopback(ip)
        if not local and sum(connection.group == group for connection in self._connections) >= MAX_PER_GROUP:
            return None
        waiting = [connection for connection in self._connections if connection.pending]
        same = [connection for connection in waiting if connection.ip == ip]
        if len(same) >= (PENDING_PER_LOOPBACK_IP if local else PENDING_PER_IP):
            self._shut(same[0])
        elif len(waiting) >= MAX_PENDING:
            sizes: dict[str, int] = {}
            for connection in waiting:
                sizes[connection.group] = sizes.get(connection.group, 0) + 1
            self._shut(next(connection for connection in waiting if sizes[connection.group] == max(sizes.values())))
        made = InboundConnection(ip, group, shut)
        self._connections[made] = None
        return made

    def settle(self, connection: InboundConnection) -> None:
        """The handshake of a connection is over."""
        connection.pending = False

    def leave(self, connection: InboundConnection) -> None:
        """A connection is over."""
        self._connections.pop(connection, None)

    def blame(self, ip: str, name: str, now: float) -> None:
        """A peer or connection of this name was ended for what came from `ip`; the third one shuts the address out."""
        if is_loopback(ip):
            return
        names = self._banned.get(ip, OrderedDict[str, float]())
        keep_newest(self._banned, ip, names, MAX_TRACKED_IPS)
        names[name] = now
        recent = OrderedDict((name, at) for name, at in names.items() if at > now - BAN_WINDOW_S)
        if len(recent) < BANS_PER_IP:
            self._banned[ip] = recent
            return
        del self._banned[ip]
        keep_newest(self._refused, ip, now + REFUSE_S, MAX_TRACKED_IPS)

    def _shut(self, connection: InboundConnection) -> None:
        self.leave(connection)
        connection.shut()
