"""The cost of each attack to a node, and of the library without our repairs: memory, lag of its loop, honest dials.

Each attack meets a fresh process of either kind, so that none profits from what another has done, and ten honest peers
dial it meanwhile. The row of an attack counts the dials that a node served; its anchor has the rest, and what the bare
library had beside it.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import trio

from p2p.host import Host
from protocol.errors import P2PError
from tests.benchmarks.attackers import ATTACKS, Attack
from tests.benchmarks.line import Line
from tests.benchmarks.pulse import ADDRESS_SPACE_BYTES
from tests.benchmarks.victim import ANSWER_S, Victim, module, open_victim
from tests.fakes.loopback import open_hosts

NEEDS = ("venv",)
KEYS = (
    "attack.rss_growth_mb",
    "attack.lag_ms",
    "attack.dials_ok",
    "attack.slow_handshakes",
    "attack.garbage",
    "attack.endless_lines",
    "attack.coming_and_going",
    "attack.pings",
    "attack.empty_frames",
    "attack.streams",
    "attack.opened_and_reset",
    "attack.names_of_no_text",
    "attack.refused_streams",
    "attack.beyond_the_window",
    "attack.giant_frames",
    "attack.unwanted_gossip",
)
BARE = "bare library:"
ONLY_OURS = ("unwanted gossip",)
"""Attacks on what the library does not have."""
ATTACK_S = 7.0
AHEAD_S = 1.0
"""How long an attack is under way before the first honest dial."""
DIALS = 10
DIAL_EVERY_S = 0.3
DIAL_S = 3.0
SETTLE_S = 1.0
LOOK_S = 0.05


@dataclass(frozen=True)
class Toll:
    """The cost of an attack to a process.

    memory_mb: how much its resident memory grew at most; lag_ms: None if it did not answer any more; core: the share of
    the time for which it had one; served: of ten honest dials; ended: what ended it, nothing if it lived.
    """

    memory_mb: float
    lag_ms: float | None
    core: float
    served: int
    ended: str = ""

    @property
    def lag_at_least_ms(self) -> float:
        """A process that does not answer is as late as it was waited for."""
        return 1000 * ANSWER_S if self.lag_ms is None else self.lag_ms

    def words(self) -> str:
        """In columns."""
        late = "> " * (self.lag_ms is None) + f"{self.lag_at_least_ms:,.0f} ms"
        shown = f"{self.memory_mb:5,.0f} MB {'ended' if self.ended else late:>10} {self.core:4.0%} of a core"
        return f"{shown} {self.served:2}/{DIALS} dials" + f" ({self.ended.partition(':')[0]})" * bool(self.ended)


def run() -> list[Line]:
    """Raises: RuntimeError if a process does not start."""
    logging.disable(logging.WARNING)
    return trio.run(_measure)


async def _measure() -> list[Line]:
    ours, bare = module("attacked_node"), module("bare_node")
    idle = [f"{(await _toll(victim, _nothing)).lag_at_least_ms:.0f} ms" for victim in (ours, bare)]
    taken, taken_bare = {}, {}
    for name, attack in ATTACKS.items():
        taken[name] = await _toll(ours, attack)
        if name not in ONLY_OURS:
            taken_bare[name] = await _toll(bare, attack)
    machine = f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    return lines(taken, taken_bare, f"without attack {idle[0]}, bare {idle[1]}; {machine}")


def lines(ours: Mapping[str, Toll], bare: Mapping[str, Toll], anchor: str) -> list[Line]:
    """The worst of each measure, then a row for each attack. anchor: how fast this machine was."""
    largest = max(ours, key=lambda name: ours[name].memory_mb)
    latest = max(ours, key=lambda name: ours[name].lag_at_least_ms)
    bare_mb = max(toll.memory_mb for toll in bare.values())
    bare_ms = max((toll.lag_at_least_ms for toll in bare.values() if not toll.ended), default=0)
    ended = sum(bool(toll.ended) for toll in bare.values())
    allowed = f"of {ADDRESS_SPACE_BYTES / 2**20:,.0f} allowed"
    rows = [
        Line(
            "attack.rss_growth_mb",
            ours[largest].memory_mb,
            "MB",
            "<= 20",
            f"{largest}; {BARE} {bare_mb:,.0f} MB {allowed}",
            len(ours),
        ),
        Line(
            "attack.lag_ms",
            ours[latest].lag_at_least_ms,
            "ms",
            "<= 150",
            f"{latest}; {BARE} {bare_ms:,.0f} ms; {anchor}",
            len(ours),
        ),
        Line(
            "attack.dials_ok",
            _dials_ok(ours.values()),
            "%",
            ">= 100",
            f"{BARE} {_dials_ok(bare.values()):.0f} %, ended by {ended} of {len(bare)}",
            DIALS * len(ours),
        ),
    ]
    for name, toll in ours.items():
        without = bare[name].words() if name in bare else "has nothing of the kind"
        key = f"attack.{name.replace(' ', '_')}"
        rows.append(Line(key, toll.served, "dials", f">= {DIALS}", f"node: {toll.words()} | {BARE} {without}", DIALS))
    return rows


def _dials_ok(tolls: Collection[Toll]) -> float:
    return 100 * sum(toll.served for toll in tolls) / (DIALS * len(tolls))


async def _toll(command: Sequence[str], attack: Attack) -> Toll:
    async with open_victim(command) as victim, open_hosts(DIALS) as honest:
        # The needs of the first peers are not the attackers' doing.
        await _dial(victim, honest, 0)
        await trio.sleep(SETTLE_S)
        await victim.lag_ms()
        before_mb, before_s, begun = victim.memory_mb(), victim.core_s(), trio.current_time()
        most_mb, core_s = before_mb, before_s

        async def watch() -> None:
            nonlocal most_mb, core_s
            while True:
                most_mb, core_s = max(most_mb, victim.memory_mb()), max(core_s, victim.core_s())
                await trio.sleep(LOOK_S)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(attack, victim)
            nursery.start_soon(watch)
            await trio.sleep(AHEAD_S)
            served = await _dial(victim, honest, DIAL_EVERY_S)
            await trio.sleep_until(begun + ATTACK_S)
            lag_ms = await victim.lag_ms()
            core = (core_s - before_s) / (trio.current_time() - begun)
            taken = Toll(most_mb - before_mb, lag_ms, core, served, victim.last_word())
            # Else the attackers would wait for one that hangs before they let go.
            victim.process.kill()
            nursery.cancel_scope.cancel()
    return taken


async def _dial(victim: Victim, honest: Sequence[Host], every_s: float) -> int:
    """Let each honest peer dial once; how many were served."""
    served = 0

    async def dial(host: Host, after_s: float) -> None:
        nonlocal served
        await trio.sleep(after_s)
        with trio.move_on_after(DIAL_S), contextlib.suppress(P2PError):
            await host.dial(victim.address)
            served += 1
        await host.disconnect(victim.peer_id)

    async with trio.open_nursery() as nursery:
        for index, host in enumerate(honest):
            nursery.start_soon(dial, host, index * every_s)
    return served


async def _nothing(victim: Victim) -> None:
    await trio.sleep_forever()
