"""Which named addresses are dialled, and how often one that leads nowhere. Time is given."""

import itertools
from collections.abc import Collection
from dataclasses import dataclass, field

import pytest

from p2p.dials import FAILED_IN_ALL, FAILED_PER_CLIENT, FAILED_PER_IP, Dials
from protocol.errors import P2PError
from protocol.wire.ids import Address

PEER = "16Uiu2HAmEWQnHq2jLKJypwVnVoQeFCULuyop6atvq2eWjYSUjzNi"
CLIENTS = [Address(f"0x{number:040x}") for number in range(100)]


def at(where: str) -> str:
    return f"{where}/p2p/{PEER}"


@dataclass
class Scene:
    """A node on a public network; `there` are the addresses where the named peer answers."""

    there: set[str] = field(default_factory=set)
    names: dict[str, tuple[str, ...]] = field(default_factory=dict)
    dialled: list[str] = field(default_factory=list)
    now_ms: int = 0

    def __post_init__(self) -> None:
        trusted = (at("/ip4/10.0.0.1/tcp/1"),)
        self.dials = Dials(self._dial, lambda: self.now_ms, private=False, trusted=trusted, resolve=self._resolve)

    async def _dial(self, address: str) -> None:
        self.dialled.append(address)
        if address not in self.there:
            raise P2PError("no answer", transient=True)

    async def _resolve(self, name: str) -> Collection[str]:
        if name not in self.names:
            raise OSError("no such name")
        return self.names[name]

    async def fails(self, address: str, client: Address | None = None) -> int:
        """How often a dial that must fail reached out."""
        before = len(self.dialled)
        with pytest.raises(P2PError):
            await self.dials.dial(address, client)
        return len(self.dialled) - before


@pytest.mark.parametrize(
    "where",
    [
        "/ip4/127.0.0.1/tcp/6379",
        "/ip4/169.254.169.254/tcp/80",
        "/ip4/10.1.2.3/tcp/22",
        "/ip4/192.168.1.1/tcp/80",
        "/ip4/0.0.0.0/tcp/80",
        "/ip4/239.1.2.3/tcp/80",
        "/ip6/::1/tcp/80",
        "/ip6/::ffff:127.0.0.1/tcp/80",
        "/ip6/fd00::1/tcp/80",
        "/ip6/fe80::1/tcp/80",
        "/dns/inside.example/tcp/80",
        "/dns4/nowhere.example/tcp/80",
        "/ip4/8.8.8.8/udp/53",
    ],
)
async def test_what_is_no_address_in_a_public_network_is_not_dialled(where: str) -> None:
    scene = Scene(names={"inside.example": ("127.0.0.1", "10.0.0.7", "fd00::1")})
    assert await scene.fails(at(where)) == 0


async def test_a_name_is_dialled_by_what_it_stands_for_now() -> None:
    scene = Scene({at("/ip4/8.8.4.4/tcp/4701")}, {"node.example": ("127.0.0.1", "2606:4700::1", "8.8.4.4")})
    await scene.dials.dial(at("/dns/node.example/tcp/4701"))
    assert scene.dialled == [at("/ip6/2606:4700::1/tcp/4701"), at("/ip4/8.8.4.4/tcp/4701")]


async def test_an_address_of_the_operators_own_is_dialled_as_it_is() -> None:
    scene = Scene({at("/ip4/10.0.0.1/tcp/1")})
    await scene.dials.dial(at("/ip4/10.0.0.1/tcp/1"))


async def test_one_ip_is_dialled_for_nothing_a_few_times_whatever_its_port_and_client() -> None:
    scene = Scene()
    tries = zip(range(1, 30), itertools.cycle(CLIENTS), strict=False)
    reached = [await scene.fails(at(f"/ip4/8.8.8.8/tcp/{port}"), client) for port, client in tries]
    assert sum(reached) == FAILED_PER_IP.burst
    scene.now_ms += FAILED_PER_IP.period_ms
    assert await scene.fails(at("/ip4/8.8.8.8/tcp/99"), CLIENTS[0]) == 1


async def test_one_client_sends_a_node_nowhere_a_few_times_and_others_are_answered_still() -> None:
    scene = Scene({at("/ip4/9.9.9.9/tcp/1")})
    reached = [await scene.fails(at(f"/ip4/8.8.8.{host}/tcp/1"), CLIENTS[0]) for host in range(1, 60)]
    assert sum(reached) == FAILED_PER_CLIENT.burst
    await scene.dials.dial(at("/ip4/9.9.9.9/tcp/1"), CLIENTS[1])


async def test_all_clients_together_send_a_node_nowhere_so_often() -> None:
    scene = Scene()
    reached = [await scene.fails(at(f"/ip4/8.8.8.{host}/tcp/1"), client) for host, client in enumerate(CLIENTS)]
    assert sum(reached) == FAILED_IN_ALL.burst


async def test_dials_that_find_their_peer_cost_nothing() -> None:
    there = {at(f"/ip4/8.8.8.8/tcp/{port}") for port in range(1, 200)}
    scene = Scene(there)
    for address in sorted(there):
        await scene.dials.dial(address, CLIENTS[0])
    assert len(scene.dialled) == len(there)
