"""The door of a node: which connections from outside are let in, by the address that they come from.

One address, or one network of a provider, must not take the places that the others need: neither by many connections,
nor by slow ones, nor under many names. Times in seconds of trio's clock.
"""

import ipaddress
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass

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
"""Connections from one /24, or one /48 of IPv6: what one person gets for little money."""

BANS_PER_IP = 3
BAN_WINDOW_S = 3_600.0
REFUSE_S = 600.0
"""An address from which so many were ended for a fault within the window, peers or connections, is refused so long."""


def is_loopback(ip: str) -> bool:
    """Whether the address is of this machine, and so of all its nodes."""
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
        times = self._accepted.setdefault(ip, deque())
        self._accepted.move_to_end(ip)
        if len(self._accepted) > MAX_TRACKED_IPS:
            self._accepted.popitem(last=False)
        while times and times[0] <= now - ACCEPT_WINDOW_S:
            times.popleft()
        if len(times) >= (ACCEPTS_PER_LOOPBACK_IP if is_loopback(ip) else ACCEPTS_PER_IP):
            return False
        times.append(now)
        return True


@dataclass(eq=False, slots=True)
class Visit:
    """A connection from outside; `shut` closes its socket."""

    ip: str
    group: str
    shut: Callable[[], None]
    pending: bool = True


class ConnectionGate:
    """Lets connections in, and remembers them until they are over."""

    def __init__(self) -> None:
        self._budget = AcceptBudget()
        self._visits: dict[Visit, None] = {}
        self._banned: OrderedDict[str, OrderedDict[str, float]] = OrderedDict()
        self._refused: OrderedDict[str, float] = OrderedDict()

    @property
    def pending(self) -> int:
        """Connections whose handshake is not over."""
        return sum(visit.pending for visit in self._visits)

    def enter(self, ip: str, shut: Callable[[], None], now: float) -> Visit | None:
        """Let a connection in, or not: None.

        Where too many handshakes are under way the oldest one is shut, of this address or of the network with the
        most: an honest handshake is over in a moment, so it is never the oldest for long.
        """
        if now < self._refused.get(ip, 0.0) or not self._budget.admit(ip, now):
            return None
        group = group_of(ip)
        local = is_loopback(ip)
        if not local and sum(visit.group == group for visit in self._visits) >= MAX_PER_GROUP:
            return None
        waiting = [visit for visit in self._visits if visit.pending]
        same = [visit for visit in waiting if visit.ip == ip]
        if len(same) >= (PENDING_PER_LOOPBACK_IP if local else PENDING_PER_IP):
            self._shut(same[0])
        elif len(waiting) >= MAX_PENDING:
            sizes: dict[str, int] = {}
            for visit in waiting:
                sizes[visit.group] = sizes.get(visit.group, 0) + 1
            self._shut(next(visit for visit in waiting if sizes[visit.group] == max(sizes.values())))
        made = Visit(ip, group, shut)
        self._visits[made] = None
        return made

    def settle(self, visit: Visit) -> None:
        """The handshake of a connection is over."""
        visit.pending = False

    def leave(self, visit: Visit) -> None:
        """A connection is over."""
        self._visits.pop(visit, None)

    def blame(self, ip: str, name: str, now: float) -> None:
        """A peer or connection of this name was ended for what came from `ip`; the third one shuts the address out."""
        if is_loopback(ip):
            return
        names = self._banned.setdefault(ip, OrderedDict())
        self._banned.move_to_end(ip)
        if len(self._banned) > MAX_TRACKED_IPS:
            self._banned.popitem(last=False)
        names[name] = now
        recent = OrderedDict((name, at) for name, at in names.items() if at > now - BAN_WINDOW_S)
        if len(recent) < BANS_PER_IP:
            self._banned[ip] = recent
            return
        del self._banned[ip]
        self._refused[ip] = now + REFUSE_S
        self._refused.move_to_end(ip)
        if len(self._refused) > MAX_TRACKED_IPS:
            self._refused.popitem(last=False)

    def _shut(self, visit: Visit) -> None:
        self.leave(visit)
        visit.shut()
