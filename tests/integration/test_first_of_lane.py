"""A client's first job with a node, between whole nodes on a chain that makes no block until it is answered."""

import pytest
import trio

from node.daemon.node import Node
from protocol.events import LaneSeen
from protocol.params import VCN
from protocol.roles.role import Role
from tests.support.scenes.daemon_jobs import ANSWER, ASK, Town, _key, heard, operator_of, until
from tests.support.scenes.daemon_jobs import place as place
from tests.support.scenes.daemons import Place

pytestmark = [pytest.mark.anvil, pytest.mark.libp2p, pytest.mark.slow]


async def has_seen(node: Node, wanted: type[object]) -> None:
    """Wait until a node has heard of an event of a kind."""
    events = node.parts.driver.subscribe()
    with trio.fail_after(60):
        while not isinstance(await events.receive(), wanted):
            pass


@pytest.mark.parametrize(
    ("provider_settings", "asker_settings"),
    [({"provider__risk": "100"}, {}), ({}, {"requester__lanes_ahead": 1})],
    ids=["at the owner's risk", "on a lane ahead"],
)
async def test_a_first_job_is_answered_before_any_block(
    place: Place, provider_settings: dict[str, object], asker_settings: dict[str, object]
) -> None:
    store = str(place.root / "store")
    provider_at = place.make("provider", node__roles=[Role.PROVIDER], executor__store=store, **provider_settings)
    asker_at = place.make("asker", executor__store=store, **asker_settings)
    await place.ledger.register(operator_of(provider_at))
    await place.ledger.deposit(_key(asker_at, "client"), 1_000 * VCN)
    await place.ledger.mine(4)
    async with trio.open_nursery() as nursery:
        town = Town(nursery)
        provider = await town.up(provider_at)
        boot = [provider.parts.host.addresses[0]]
        asker = await town.up(place.make_again(asker_at, p2p__bootnodes=boot))
        if asker_settings:
            async with trio.open_nursery() as mining:
                mining.start_soon(place.ledger.keep_mining)
                await has_seen(provider, LaneSeen)
                mining.cancel_scope.cancel()
        await heard(asker, 1)
        await place.ledger.controls.automine(on=False)
        head, _ = await place.ledger.now()
        job = await asker.backend.ask_job(ASK)
        done = await until(asker, job, lambda view: view.state == "delivered", 60)
        assert done.text == ANSWER
        assert (await place.ledger.now())[0] == head
        # It is put into a batch once its lane is there.
        nursery.start_soon(place.ledger.keep_mining)
        await until(asker, job, lambda view: view.state == "in_batch" or view.ended, 60)
        nursery.cancel_scope.cancel()
