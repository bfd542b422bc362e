"""A job from bid to pay between whole nodes: real chain, gossip, calls, sealing and journals; a played container."""

import json
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
import trio

from chain.contracts.settlement import CHECKED
from node.api.faults import Fault
from node.api.metrics import exposition
from node.config import Config, load
from node.performing import Adapter
from protocol.effects import Send
from protocol.errors import P2PError
from protocol.events import Event
from protocol.judging.reading import units_of
from protocol.params import VCN
from protocol.stages.assignment import verify_fee
from protocol.stages.verification import SampleOpening
from protocol.wire.ids import Address
from tests.support.scenes.daemon_jobs import ANSWER, ASK, MODEL, Played, Town, _key, heard, network, until, worker
from tests.support.scenes.daemon_jobs import place as place
from tests.support.scenes.daemons import REPOSITORY, Place
from tests.support.scenes.tokenizers import encode

pytestmark = [pytest.mark.anvil, pytest.mark.libp2p, pytest.mark.slow]


async def test_job_from_bid_to_pay(place: Place) -> None:
    async with network(place) as cast:
        await heard(cast.asker, 1)
        job = await cast.asker.backend.ask_job(replace(ASK, temperature_milli=800, alone=True))
        done = await until(cast.asker, job, lambda view: view.state == "delivered", 60)
        assert (done.text, done.finish, done.tokens) == (ANSWER, "eos", len(encode(ANSWER)))
        assert done.temperature_milli == 800
        assert done.charge_wei > 0
        paid = await until(cast.asker, job, lambda view: view.ended, 120)
        assert paid.state == "spendable"
        case = await cast.asker.backend.case(job)
        # A new node is on probation: all of its leaves are drawn.
        assert (case.verdict, case.state, len(case.seats)) == ("pass", "final", 1)
        assert case.price_wei == paid.charge_wei
        assert case.burned_wei == -(-paid.charge_wei // 10)
        # The provider's watcher may see the same block a moment later.
        served = await until(cast.provider, job, lambda view: view.ended, 30)
        assert (served.side, served.state) == ("provider", "spendable")
        assert cast.asker.parts.metrics.pass_percent == 100
        serving = (await cast.provider.backend.snapshot()).serving
        (model,) = serving.models
        assert (model.name, model.answers, model.tokens) == (MODEL.name, 1, len(encode(ANSWER)))
        assert (serving.streams, serving.jobs_waiting) == (0, 0)
        scraped = exposition(await cast.provider.backend.snapshot()).decode()
        labels = f'manifest="{MODEL.cid.hex()}",model="{MODEL.name}"'
        assert f"vcoin_tokens_total{{{labels}}} {float(model.tokens)}\n" in scraped
        assert f"vcoin_first_token_seconds_count{{{labels}}} 1.0\n" in scraped
        assert (await cast.asker.backend.snapshot()).serving.models == ()


@pytest.mark.parametrize("name", [MODEL.cid.hex(), "Tiny"])
async def test_client_without_weights_asks_by_id_or_name_and_reads_the_answer(place: Place, name: str) -> None:
    async with network(place, executor__store=str(place.root / "thin")) as cast:
        await heard(cast.asker, 1)
        job = await cast.asker.backend.ask_job(replace(ASK, model=name))
        done = await until(cast.asker, job, lambda view: view.state == "delivered", 60)
        assert (done.text, done.model, done.manifest) == (ANSWER, "tiny", MODEL.cid.hex())
        assert not (place.root / "thin" / "models").exists()
        described = place.root / "thin" / "descriptions" / MODEL.cid.hex()
        assert {path.name for path in described.iterdir()} == {"manifest.json", "tokenizer.json"}


async def test_node_made_by_init_client_asks_and_reads_an_answer(place: Place) -> None:
    """From no data directory to an answer, by the commands that the operator's page names."""
    home = place.root / "client"
    async with network(place) as cast:
        listed = [cast.provider.parts.host.addresses[0], cast.asker.parts.host.addresses[0]]
        words = ["node", "init", "--client", "--no-interactive", "--json", "--data-dir", str(home)]
        words += ["--rpc", place.ledger.chain.url, "--deployment", str(place.deployment)]
        words += ["--listen", "/ip4/127.0.0.1/tcp/0", "--bootnodes", ",".join(listed)]
        made = await trio.run_process([sys.executable, "-m", "node.cli", *words], capture_stdout=True)
        config = load({}, {"node.data_dir": str(home), "p2p.fast": True})
        assert config.node.roles == ("requester",)
        client = _key(config, "client")
        assert json.loads(made.stdout)["client"] == client.address
        await place.ledger.deposit(client, 1_000 * VCN)
        thin = await cast.town.up(config)
        await heard(thin, 1)
        job = await thin.backend.ask_job(replace(ASK, model=MODEL.cid.hex()))
        assert (await until(thin, job, lambda view: view.state == "delivered", 60)).text == ANSWER
        assert not (home / "store" / "models").exists()


async def test_model_that_no_peer_shows_is_refused_with_the_fix(place: Place) -> None:
    async with network(place, executor__store=str(place.root / "thin")) as cast:
        await heard(cast.asker, 1)
        with pytest.raises(Fault) as refused:
            await cast.asker.backend.ask_job(replace(ASK, model="ab" * 32))
        assert (refused.value.code, "vcoin status --nodes" in refused.value.hint) == ("unavailable", True)
        with pytest.raises(Fault) as unknown:
            await cast.asker.backend.ask_job(replace(ASK, model="gpt"))
        # The network's models have been described to look for the name.
        assert (unknown.value.code, unknown.value.hint) == ("unknown_model", "one of: tiny")


TEXTS = ("the quick brown fox", "jumps over the lazy dog " * 12)
READ = replace(ASK, kind="embed", messages=(), texts=TEXTS, max_new_tokens=0)


async def test_chats_of_one_model_are_at_the_machine_at_the_same_time(place: Place) -> None:
    async with network(place) as cast:
        await heard(cast.asker, 1)
        played = cast.provider.parts.runner
        assert isinstance(played, Played)
        assert played.is_served
        played.together = 3
        jobs = [await cast.asker.backend.ask_job(replace(ASK, max_new_tokens=length)) for length in (64, 65, 66)]
        for job in jobs:
            assert (await until(cast.asker, job, lambda view: view.state == "delivered", 60)).text == ANSWER


async def test_embeddings_from_bid_to_pay(place: Place) -> None:
    async with network(place) as cast:
        await heard(cast.asker, 1)
        job = await cast.asker.backend.ask_job(READ)
        done = await until(cast.asker, job, lambda view: view.state == "delivered", 60)
        vectors = [json.loads(line) for line in done.text.splitlines()]
        assert [len(vector) for vector in vectors] == [MODEL.hidden] * 2
        assert all(abs(sum(number**2 for number in vector) - 1) < 1e-3 for vector in vectors)
        # The played model counts words, and the asker the tokens of a real one, of which there are more.
        assert (done.kind, done.tokens) == ("embed", units_of(len(text.split()) for text in TEXTS))
        assert 0 < done.charge_wei <= done.price_wei
        assert (await until(cast.asker, job, lambda view: view.ended, 120)).state == "spendable"
        case = await cast.asker.backend.case(job)
        assert (case.verdict, case.state) == ("pass", "final")


async def test_embeddings_of_a_cheaper_model_are_refunded_and_punished(place: Place) -> None:
    async with network(place, claims="something else") as cast:
        await heard(cast.asker, 1)
        job = await cast.asker.backend.ask_job(READ)
        assert (await until(cast.asker, job, lambda view: view.ended, 180)).state == "refunded"
        case = await cast.asker.backend.case(job)
        assert case.verdict == "severe"
        assert case.slashed_wei > 0


async def test_every_job_of_a_client_that_orders_checks_is_checked_though_its_node_has_proven_itself(
    place: Place,
) -> None:
    async with network(place, node__checked=True) as cast:
        await place.ledger.graduate(_key(cast.provider.parts.config, "operator"))
        await heard(cast.asker, 1)
        for ask in (ASK, replace(ASK, checked=False)):
            job = await cast.asker.backend.ask_job(ask)
            ended = await until(cast.asker, job, lambda view: view.ended, 120)
            assert (ended.state, ended.checked) == ("spendable", ask.checked is None)
            batch = await place.ledger.network.settlement.batch_of(Address(ended.node), 0)
            assert (batch.flags & CHECKED != 0, batch.rate_percent) == ((True, 100) if ended.checked else (False, 10))
            assert ended.fee_wei == batch.fee == verify_fee(ended.charge_wei, checked=ended.checked)
            assert ended.cost_wei == ended.charge_wei + ended.fee_wei + ended.bonus_wei <= ended.most_wei
            if ended.checked:
                assert "passed" in [step.state for step in ended.steps]
                assert ended.scores_bps == (10_000,)
                seat = (await cast.asker.backend.case(job)).seats[0].node
                paid = (await place.ledger.network.settlement.book_of(Address(seat))).rewards
                assert 0 < paid <= ended.fee_wei


async def test_cheat_in_a_checked_job_is_caught_though_its_node_has_proven_itself(place: Place) -> None:
    async with network(place, claims="the quick brown fox jumps over the lazy dog") as cast:
        await place.ledger.graduate(_key(cast.provider.parts.config, "operator"))
        await heard(cast.asker, 1)
        job = await cast.asker.backend.ask_job(replace(ASK, checked=True))
        ended = await until(cast.asker, job, lambda view: view.ended, 180)
        assert (ended.state, ended.cost_wei) == ("refunded", 0)
        assert max(ended.scores_bps) <= 8_500
        assert (await cast.asker.backend.case(job)).slashed_wei > 0


async def test_provider_that_was_down_between_answer_and_pay_is_paid(place: Place) -> None:
    async with network(place) as cast:
        await heard(cast.asker, 1)
        job = await cast.asker.backend.ask_job(ASK)
        await until(cast.asker, job, lambda view: view.state == "delivered", 60)
        config = cast.provider.parts.config
        await cast.town.down(config)
        provider = await cast.town.up(config)
        served = next(view for view in await provider.backend.jobs() if view.id == job)
        assert served.state in ("delivered", "in_batch")
        assert (await until(cast.asker, job, lambda view: view.ended, 120)).state == "spendable"


async def test_provider_killed_in_the_middle_of_a_job_ends_it_when_it_is_back(place: Place) -> None:
    asker = place.make("asker", executor__store=str(place.root / "store"))
    await place.ledger.deposit(_key(asker, "client"), 1_000 * VCN)
    # Without a judge no requester would hire; it is also how the two find each other.
    verifier = await worker(place, "verifier", "verifier")
    async with trio.open_nursery() as nursery:
        town = Town(nursery)
        boot = ((await town.up(verifier)).parts.host.addresses[0],)
        provider = await worker(place, "provider", "provider", boot)
        nursery.start_soon(place.ledger.keep_mining)
        node = await town.up(place.make_again(asker, p2p__bootnodes=list(boot)))
        async with played_process(place, provider, "hang") as said:
            assert await said() == "ready"
            await heard(node, 2)
            job = await node.backend.ask_job(ASK)
            assert await said() == "running"
            await until(node, job, lambda view: view.state == "running", 30)
        # Killed by now; what it had promised is in its journal.
        async with played_process(place, provider, "work") as said:
            assert await said() == "ready"
            done = await until(node, job, lambda view: view.state in ("delivered", "in_batch"), 60)
            assert (done.text, done.attempt) == (ANSWER, 0)
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def played_process(place: Place, config: Config, how: str) -> AsyncIterator[Callable[[], Awaitable[str]]]:
    """A node in a process of its own, killed at the end of the block; gives what waits for its next word."""
    flags = place.root / f"{how}.json"
    flags.write_text(json.dumps(place.flags(config)))
    command = [sys.executable, "-m", "tests.integration.played_node", str(flags), how]
    process = await trio.lowlevel.open_process(command, cwd=REPOSITORY, stdout=subprocess.PIPE)
    assert process.stdout is not None
    out, heard_bytes = process.stdout, bytearray()

    async def said() -> str:
        with trio.fail_after(60):
            while b"\n" not in heard_bytes:
                heard_bytes.extend(await out.receive_some())
        line, _, rest = bytes(heard_bytes).partition(b"\n")
        heard_bytes[:] = rest
        return line.decode()

    async with process.stdout:
        try:
            yield said
        finally:
            process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()


class Withholding:
    """Sends everything but what seats have to check."""

    def __init__(self, peers: Adapter) -> None:
        self._peers = peers

    async def perform(self, effect: Send) -> Event:
        if isinstance(effect.message, SampleOpening):
            raise P2PError("withheld", transient=True)
        return await self._peers.perform(effect)


async def test_what_a_node_withholds_from_its_seat_is_demanded_sealed_and_checked_on_chain(place: Place) -> None:
    async with network(place) as cast:
        await heard(cast.asker, 1)
        performer = cast.provider.parts.driver._performer
        performer._routes = {**performer._routes, Send: Withholding(performer._routes[Send])}
        job = await cast.asker.backend.ask_job(ASK)
        paid = await until(cast.asker, job, lambda view: view.ended, 180)
        case = await cast.asker.backend.case(job)
        assert (paid.state, case.verdict, len(case.seats)) == ("spendable", "pass", 1)
        head, _ = await place.ledger.now()
        court = place.ledger.network.court
        (demanded,) = await court.entries("DataDemanded", 0, head)
        (answered,) = await court.entries("DataAnswered", 0, head)
        assert demanded.values[0] == answered.values[0] == bytes.fromhex(paid.batch_id)


async def test_cheat_is_caught_and_the_client_gets_its_money_back(place: Place) -> None:
    async with network(place, claims="the quick brown fox jumps over the lazy dog") as cast:
        await heard(cast.asker, 1)
        job = await cast.asker.backend.ask_job(ASK)
        ended = await until(cast.asker, job, lambda view: view.ended, 180)
        assert ended.state == "refunded"
        case = await cast.asker.backend.case(job)
        # One seat may only pass a batch: a fail takes three of them.
        assert (case.verdict, len(case.seats)) == ("severe", 3)
        assert case.slashed_wei > 0
        assert case.refunded_wei >= case.price_wei
