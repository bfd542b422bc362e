"""The peer book: known peers, their addresses and scores, and which to dial next.

Scores are this node's own and never leave it. Faults cost points, of which half is forgotten every ten minutes; new
heartbeats earn a few. Times in ms since 1970.
"""

import hashlib
import math
from collections.abc import Collection
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

from protocol.wire.ids import PeerId, public_key_of

HALF_LIFE_MS = 600_000
AVOID_BELOW = -40.0
BAN_BELOW = -100.0
BAN_MS = 3_600_000
REWARD = 0.1
REWARD_CAP = 20.0
MAX_PEERS = 1_000
MAX_BANS = 4_096
MAX_SAVED = 200
MAX_ADDRESSES = 4
MAX_ADDRESS_CHARS = 512
MAX_HINTS = 256
HINTS_PER_SOURCE = 32
HINT_TRIES = 3
"""Failed dials after which a hint is forgotten."""
ANCHORS = 2
"""Peers of our own choosing, connected longest, that a node dials first after a restart."""
FIRST_RETRY_MS = 1_000
LAST_RETRY_MS = 300_000
FORGET_AFTER_MS = 7 * 86_400_000


def group_of(address: str) -> str:
    """The network that a multiaddr is in, /16 or /32 of IPv6; empty for names and for this machine."""
    _, _, rest = address.partition("/")
    family, _, rest = rest.partition("/")
    ip = rest.partition("/")[0]
    if family == "ip4" and not ip.startswith("127."):
        return ".".join(ip.split(".")[:2])
    if family == "ip6" and ip != "::1":
        return ":".join(ip.split(":")[:2])
    return ""


class PeerStanding(Enum):
    """How far a peer is trusted, by its score."""

    GOOD = auto()
    AVOIDED = auto()
    """May be connected, but is no neighbour."""
    BANNED = auto()
    """Is disconnected and refused."""


@dataclass(slots=True)
class PeerEntry:
    """One peer. `failures` counts failed dials in a row; `source` is the peer that hinted at this one."""

    addresses: tuple[str, ...] = ()
    bootnode: bool = False
    seen_ms: int = 0
    failures: int = 0
    retry_ms: int = 0
    points: float = 0.0
    scored_ms: int = 0
    anchor: bool = False
    source: PeerId | None = None


@dataclass(slots=True)
class PeerBook:
    """The peers of one node.

    `seed` is this node's own chance: it spreads redials and picks among peers of the same merit.
    """

    own: PeerId
    seed: bytes = b""
    entries: dict[PeerId, PeerEntry] = field(default_factory=dict)
    bans: dict[PeerId, int] = field(default_factory=dict)
    """End of each ban, in ms. Kept apart from the entries: a forgotten peer stays banned, and bans push no peer out."""
    anchors: tuple[PeerId, ...] = ()
    """Peers to dial first after a restart."""

    def learn(self, peer_id: PeerId, addresses: Collection[str], *, bootnode: bool = False) -> None:
        """Note addresses of a peer; the newest stand first, the oldest fall out."""
        if peer_id == self.own:
            return
        entry = self._entry(peer_id)
        fitting = [address for address in addresses if len(address) <= MAX_ADDRESS_CHARS]
        entry.addresses = tuple(dict.fromkeys([*fitting, *entry.addresses]))[:MAX_ADDRESSES]
        entry.bootnode = entry.bootnode or bootnode
        entry.source = None

    def hint(self, peer_id: PeerId, addresses: Collection[str], source: PeerId) -> bool:
        """Note where a stranger is said to be; whether it was noted.

        What is known already stands: a hint changes no address and pushes no peer out, and each source has its share.
        """
        if peer_id == self.own or peer_id in self.bans or peer_id in self.entries or not addresses:
            return False
        hinted = [entry.source for entry in self.entries.values() if entry.source is not None]
        full = len(hinted) >= MAX_HINTS or hinted.count(source) >= HINTS_PER_SOURCE
        if full or len(self.entries) >= MAX_PEERS:
            return False
        self.learn(peer_id, addresses)
        self.entries[peer_id].source = source
        return True

    def on_connected(self, peer_id: PeerId, now_ms: int) -> None:
        """A connection to the peer is open."""
        entry = self._entry(peer_id)
        entry.seen_ms = now_ms
        entry.failures = 0
        entry.retry_ms = 0
        entry.source = None

    def on_dial_failed(self, peer_id: PeerId, now_ms: int) -> None:
        """A dial failed: the next waits twice as long, up to five minutes, with a jitter of its own."""
        entry = self._entry(peer_id)
        if entry.source is not None and entry.failures + 1 >= HINT_TRIES:
            del self.entries[peer_id]
            return
        wait_ms = min(FIRST_RETRY_MS << min(entry.failures, 20), LAST_RETRY_MS)
        entry.failures += 1
        entry.retry_ms = now_ms + wait_ms + self._chance(peer_id, entry.failures) % (wait_ms // 4)

    def to_dial(
        self, connected: Collection[PeerId], count: int, now_ms: int, groups: Collection[str] = ()
    ) -> tuple[tuple[PeerId, str], ...]:
        """Up to `count` peers to dial, each with the address whose turn it is; the ones met last come first.

        Args: groups, the networks (`group_of`) of the peers that we chose before; others are preferred, so that the
            peers of our choosing are not all one person's.
        """
        if count <= 0:
            return ()
        ready = [
            (peer_id, entry)
            for peer_id, entry in self.entries.items()
            if entry.addresses
            and entry.retry_ms <= now_ms
            and peer_id not in connected
            and self.standing(peer_id, now_ms) is not PeerStanding.BANNED
        ]
        ready.sort(key=lambda item: (item[1].failures, not item[1].anchor, -item[1].seen_ms, self._chance(item[0], 0)))
        used = set(groups)
        near: list[tuple[PeerId, str]] = []
        far: list[tuple[PeerId, str]] = []
        for peer_id, entry in ready:
            address = entry.addresses[entry.failures % len(entry.addresses)]
            group = group_of(address)
            (near if group in used else far).append((peer_id, address))
            if group:
                used.add(group)
        return tuple((far + near)[:count])

    def punish(self, peer_id: PeerId, points: float, now_ms: int) -> PeerStanding:
        """Take points away; returns where the peer stands now."""
        entry = self._entry(peer_id)
        entry.points = self.score(peer_id, now_ms) - points
        entry.scored_ms = now_ms
        if entry.points < BAN_BELOW:
            self.bans.pop(peer_id, None)
            self.bans[peer_id] = now_ms + BAN_MS
            if len(self.bans) > MAX_BANS:
                del self.bans[next(iter(self.bans))]
        return self.standing(peer_id, now_ms)

    def reward(self, peer_id: PeerId, times: int, now_ms: int) -> None:
        """The peer was the first to bring so many new heartbeats."""
        entry = self._entry(peer_id)
        score = self.score(peer_id, now_ms)
        entry.points = max(score, min(score + times * REWARD, REWARD_CAP))
        entry.scored_ms = now_ms

    def score(self, peer_id: PeerId, now_ms: int) -> float:
        """The points of a peer; 0 is a stranger."""
        entry = self.entries.get(peer_id)
        if entry is None or not entry.points:
            return 0.0
        age_ms = max(now_ms - entry.scored_ms, 0)
        return entry.points * math.pow(0.5, age_ms / HALF_LIFE_MS)

    def standing(self, peer_id: PeerId, now_ms: int) -> PeerStanding:
        """Whether the peer may be a neighbour, may be connected, or neither."""
        if now_ms < self.bans.get(peer_id, 0):
            return PeerStanding.BANNED
        return PeerStanding.AVOIDED if self.score(peer_id, now_ms) < AVOID_BELOW else PeerStanding.GOOD

    def save(self) -> dict[str, Any]:
        """The state to keep over a restart, as plain JSON values: the peers met last, and the newest bans."""
        met = [item for item in self.entries.items() if item[1].addresses and item[1].seen_ms]
        met.sort(key=lambda item: -item[1].seen_ms)
        return {
            "v": 1,
            "peers": [
                {"peer": peer_id, "addresses": list(entry.addresses), "seen_ms": entry.seen_ms}
                for peer_id, entry in met[:MAX_SAVED]
            ],
            "anchors": list(self.anchors[:ANCHORS]),
            "bans": dict(list(self.bans.items())[-MAX_SAVED:]),
        }

    def load(self, saved: Any, now_ms: int) -> int:
        """Read what `save` gave. The file may have been edited: entries that make no sense are left out.

        Returns: how many peers were read.
        """
        peers = saved.get("peers") if isinstance(saved, dict) else None
        bans = saved.get("bans") if isinstance(saved, dict) else None
        for name, until_ms in list(bans.items())[:MAX_SAVED] if isinstance(bans, dict) else []:
            if isinstance(until_ms, int) and until_ms > now_ms:
                self.bans[PeerId(name)] = min(until_ms, now_ms + BAN_MS)
        before = len(self.entries)
        for item in peers[:MAX_SAVED] if isinstance(peers, list) else []:
            try:
                peer_id, seen_ms = PeerId(str(item["peer"])), int(item["seen_ms"])
                public_key_of(peer_id)
                addresses = tuple(str(address) for address in item["addresses"])
            except (KeyError, TypeError, ValueError, OverflowError):
                continue
            if peer_id != self.own and now_ms - seen_ms <= FORGET_AFTER_MS:
                self.learn(peer_id, addresses)
                self.entries[peer_id].seen_ms = min(seen_ms, now_ms)
        anchors = saved.get("anchors") if isinstance(saved, dict) else None
        for name in anchors[:ANCHORS] if isinstance(anchors, list) else []:
            if isinstance(name, str) and (entry := self.entries.get(PeerId(name))):
                entry.anchor = True
        return len(self.entries) - before

    def _entry(self, peer_id: PeerId) -> PeerEntry:
        entry = self.entries.get(peer_id)
        if entry is None:
            if len(self.entries) >= MAX_PEERS:
                self._forget_one()
            entry = self.entries[peer_id] = PeerEntry()
        return entry

    def _forget_one(self) -> None:
        entries = self.entries
        del entries[min(entries, key=lambda peer_id: (entries[peer_id].bootnode, entries[peer_id].seen_ms))]

    def _chance(self, peer_id: PeerId, turn: int) -> int:
        digest = hashlib.sha256(self.seed + turn.to_bytes(8, "big") + peer_id.encode()).digest()
        return int.from_bytes(digest[:8], "big")
