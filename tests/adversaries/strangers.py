"""Those who have no part in a job and want one: false names, false classes, old messages, a stolen key."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import replace
from typing import Any

import pytest

from chain.tx.wallet import Key
from node.daemon.parts import Parts
from node.performing import Adapter
from protocol.effects import Send
from protocol.errors import Reverted
from protocol.events import Event, MessageReceived, MessageSigned
from protocol.stages.offer import Offer, SignedOffer
from protocol.stages.verification import FingerprintOpening, FingerprintQuery, SampleOpening, SampleQuery
from protocol.wire.ids import Address, BatchId, JobId, TimestampMs
from tests.adversaries import crooks
from tests.adversaries.arena import CLIENT, Part
from tests.adversaries.crooks import Ears, Routed
from tests.adversaries.row import Row, Stage
from tests.support.jobs import key

CHEAP = 1
SYBILS = 5
LEAST_STAKE = 1_000
FREE_SLOT = 63


async def refused(error: str, attempt: Awaitable[Any]) -> None:
    """The contracts do not do that."""
    with pytest.raises(Reverted, match=error):
        await attempt


async def done_by_the_honest(stage: Stage) -> None:
    """The client hires the honest provider, whatever others were there."""
    job, case = await stage.done()
    assert (job.node, job.state, case.verdict) == (stage.honest.address, "spendable", "pass")
    assert job.text != ""


async def class_is_not_known(stage: Stage) -> int:
    crook = stage.member()
    offered = crook.up.parts.driver.subscribe()
    await done_by_the_honest(stage)
    signed = [event.message for event in _waiting(offered) if isinstance(event, MessageSigned)]
    classes = [message.class_id for message in signed if isinstance(message, Offer)]
    assert set(classes) == {crooks.Classy.CLASS}
    actions = stage.arena.ledger.actions(crook.owner)
    await refused("Class", actions.set_classes(crook.address, 1 << crooks.Classy.CLASS))
    return 0


def _waiting(channel: Any) -> list[Any]:
    """The frames that have come so far."""
    found = []
    while channel.statistics().current_buffer_used:
        found.append(channel.receive_nowait())
    return found


class Many(Routed):
    """Says each offer once more for every other name that one holds a key of, and for one without an owner."""

    def __init__(self, honest: Adapter, parts: Parts, names: list[Key]) -> None:
        super().__init__(honest)
        self._domain = parts.wallet.domain
        self._names = names
        self.said = 0

    async def perform(self, effect: Send) -> Event:
        if isinstance(effect.message, SignedOffer):
            for name in self._names:
                offer = replace(effect.message.offer, node_id=name.address)
                await self.honest.perform(replace(effect, message=SignedOffer(offer, name.sign(offer, self._domain))))
                self.said += 1
        return await self.honest.perform(effect)


async def many_names(stage: Stage) -> int:
    parts = stage.member().up.parts
    names = [stage.member(name).operator for name in stage.row.cast]
    many = Many(parts.driver._performer._routes[Send], parts, [*names[1:], key("unregistered")])
    crooks.exchange(Send, lambda _: many)(parts)
    await done_by_the_honest(stage)
    assert many.said >= SYBILS
    return 0


async def old_messages(stage: Stage) -> int:
    """Everything that was signed for one job is sent again by a stranger, to its receivers and to the chain."""
    crook, arena, network = stage.member(), stage.arena, stage.arena.ledger.network
    job = await arena.until(await stage.ask(), lambda view: view.state == "drawn")
    provider, client = stage.honest.up.parts, arena.client.parts
    done = provider.machine.provider.job(JobId(bytes.fromhex(job.job_id)))
    batch = provider.machine.settler.batch(bytes.fromhex(job.batch_id))
    assert done is not None
    assert batch is not None
    settled = batch.entries[arena.leaf_of(job)].job
    assert settled is not None
    send = crook.up.parts.peers.perform
    for to, message in (
        (provider, done.order),
        (provider, settled.receipt),
        (client, done.delivery),
        (client, done.promise),
    ):
        assert message is not None
        await send(Send(to.host.addresses[0], message))
    sender = crook.up.parts.chain.sender_of(crook.address)
    mine = replace(batch.batch, node=crook.address, slot=FREE_SLOT)
    await refused("NotOperator", sender.send(network.settlement.submit(replace(batch.batch, slot=FREE_SLOT))))
    await refused("BadAssignmentSignature", sender.send(network.settlement.submit(mine)))
    stage.rest()
    paid = await arena.ended(job.id)
    assert (paid.node, paid.state, paid.attempt) == (stage.honest.address, "spendable", job.attempt)
    taken = [view for view in provider.machine.provider.jobs if view.job_id == done.job_id]
    assert len(taken) == 1
    # Its own operator has no second batch of it either.
    await refused(
        "IndexNotAbove", provider.chain.sender_of(stage.honest.address).send(network.settlement.submit(batch.batch))
    )
    lane = await network.settlement.lane_of(client_of(stage), client_of(stage), crook.address)
    assert (lane.jobs, lane.left) == (0, 0)
    return 0


def client_of(stage: Stage) -> Address:
    """The account of the honest client."""
    return stage.arena.members[CLIENT].client.address


async def not_drawn(stage: Stage) -> int:
    """A node without a seat is shown nothing, by the provider or on chain."""
    crook, arena, court = stage.member(), stage.arena, stage.arena.ledger.network.court
    heard: list[MessageReceived] = []
    ears = crook.up.parts.driver._folding.machine
    assert isinstance(ears, Ears)
    judge = ears.judge

    def listen(received: MessageReceived, now_ms: TimestampMs) -> Event | None:
        heard.append(received)
        return judge(received, now_ms)

    ears.judge = listen  # type: ignore[method-assign]
    job = await arena.until(await stage.ask(), lambda view: view.state == "drawn")
    name = BatchId(bytes.fromhex(job.batch_id))
    hpke = crook.up.parts.machine.member.hpke_key
    for query in (SampleQuery(name, hpke), FingerprintQuery(name)):
        await crook.up.parts.peers.perform(Send(stage.honest.up.parts.host.addresses[0], query))
    sender = crook.up.parts.chain.sender_of(crook.address)
    await refused("NotSeated", sender.send(court.demand_data(name, 0, 0, hpke)))
    stage.rest()
    paid = await arena.ended(job.id)
    assert (paid.state, (await arena.case(paid)).verdict) == ("spendable", "pass")
    # It may well be drawn for another row's batch, and is shown that.
    shown = [each.message for each in heard if isinstance(each.message, SampleOpening | FingerprintOpening)]
    assert [each for each in shown if each.batch_id == name] == []
    return await stage.court_pay()


async def stolen(stage: Stage) -> int:
    """A thief of the operator key is the node to its peers, moves none of its money, and is out after a rotation."""
    victim, thief, arena = stage.member("victim"), stage.member("thief"), stage.arena
    network, ledger = arena.ledger.network, arena.ledger
    robbing = ledger.actions(victim.operator)
    await refused("NotStaker", robbing.unbond(victim.address, 10**18))
    await refused("NotOwner", robbing.set_payout(victim.address, thief.operator.address))
    await refused("NotOwner", robbing.rotate_operator(victim.address, thief.operator))
    await refused("NotOwner", robbing.set_classes(victim.address, 2))
    fresh = key("the victim's new operator key")
    await ledger.actions(victim.owner).rotate_operator(victim.address, fresh)
    member = arena.client.parts.machine.member

    async def known() -> bool:
        record = member.nodes.get(victim.address)
        return record is not None and record.operator == fresh.address

    await arena.until_true(known)
    # The daemon that the thief still runs under the old key bids, and is not believed.
    await done_by_the_honest(stage)
    shown = await network.stakes.node_of(victim.address)
    assert shown is not None
    assert (shown.payout, shown.operator) == (victim.owner.address, fresh.address)
    return 0


ROWS = [
    Row(
        "made-up-class",
        "offers a device class that there is not, at a tenth of the price",
        "it is not hired; the register of nodes refuses the class",
        "nothing",
        24,
        {
            "made-up-class": Part(
                "provider", price=CHEAP, bend=crooks.both(crooks.made_up_class, crooks.eager, crooks.only(24))
            )
        },
        class_is_not_known,
        rival=True,
    ),
    Row(
        "sybil-offers",
        "bids under six names at a tenth of the price: five nodes with the least stake, and one that is not there",
        "reputation and stake come before the price: the honest node is hired",
        "nothing",
        25,
        {
            f"sybil-{number}": Part(
                "provider",
                stake=LEAST_STAKE,
                price=CHEAP,
                owner="sybil",
                bend=crooks.both(crooks.eager, crooks.only(25)),
                runs=number == 0,
            )
            for number in range(SYBILS)
        },
        many_names,
        rival=True,
    ),
    Row(
        "replay",
        "sends a stranger's order, receipt, result, promise and batch again, under its own name and theirs",
        "all of it is dropped or refused; the job is done and paid once",
        "nothing",
        26,
        {"replay": Part("provider", bend=crooks.only())},
        old_messages,
        rival=True,
    ),
    Row(
        "demand-without-draw",
        "a verifier without a seat that asks a node for its leaves, and demands them on chain",
        "the node shows it nothing and the court refuses: it has no seat",
        "nothing",
        27,
        {"demand-without-draw": Part("verifier", bend=crooks.only())},
        not_drawn,
        rival=True,
    ),
    Row(
        "stolen-key",
        "has a node's operator key: tries its stake, its payout, its keys, and goes on under its name",
        "the contracts refuse all of it, and once the owner has rotated the key its daemon is not hired",
        "nothing",
        28,
        {
            "victim": Part("provider", honest=True, bend=crooks.only(28)),
            "thief": Part("requester", runs=False),
        },
        stolen,
        rival=True,
    ),
]
