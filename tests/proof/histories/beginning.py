"""How every history begins: a network at work, with nodes past their probation, rich clients and open lanes."""

from __future__ import annotations

import copy
import json
import random
from dataclasses import fields

from protocol.wire.ids import Address
from scripts.setup.cache import REPOSITORY
from tests.proof.histories.ledger import Ledger
from tests.proof.histories.player import DETAILS, FIRST_SLOTS, Player, contents_of, sealed, secrets_of, told_of
from tests.proof.histories.pools import Pool
from tests.proof.histories.rules import Place, Record
from tests.proof.histories.scene import CLASS, VCN, Scene, actor, address
from tests.proof.histories.state import Claim, Node, Numbers
from tests.proof.histories.table import CLIENTS, PROVIDERS, STAKERS

STAKES = {"node 0": 20_000, "node 1": 10_000, "node 2": 2_000, **{f"verifier {i}": 5_000 for i in range(6)}}
GRADUATES = PROVIDERS[:2]
MANY = 2**255
START_TIME = 20_000 * 86_400 + 43_200
START_BLOCK = 1_000


def numbers() -> Numbers:
    """The profile `local`."""
    told = json.loads((REPOSITORY / "chain" / "abi" / "profiles.json").read_text())["local"]
    words = {each.name: each.name.split("_") for each in fields(Numbers)}
    return Numbers(**{name: int(told[w[0] + "".join(map(str.title, w[1:]))]) for name, w in words.items()})


def begun(scene: Scene, deployer: str) -> Player:
    """A network at work: nodes and verifiers, rich clients, two nodes past their probation, a pool."""
    ledger = Ledger(numbers(), START_TIME, START_BLOCK)
    player = Player(scene, ledger, random.Random(0))
    ledger.wallets[deployer] = 10**27
    for name in CLIENTS:
        actor(f"signer of {name}")
        _equip(player, deployer, actor(name), "Settlement", 5_000 * VCN)
    actor("thief")
    for name in STAKERS:
        _equip(player, deployer, actor(name), "StakeManager", 20_000 * VCN)
    for name, stake in STAKES.items():
        owner = _owner_of(name)
        _equip(player, deployer, owner, "StakeManager", 2 * stake * VCN)
        _equip(player, deployer, owner, "Court", 0)
        _register(player, name, owner, stake * VCN)
    _equip(player, deployer, deployer, "Settlement", 0)
    player.do(deployer, "Settlement", "fundPool", [1_000 * VCN])
    ledger.pool += 1_000 * VCN
    ledger.wallets[deployer] -= 1_000 * VCN
    for client in map(address, CLIENTS):
        player.do(
            *(client, "Settlement", "deposit", [2_000 * VCN]),
            lambda client=client: ledger.deposit(client, client, 2_000 * VCN),
        )
    player.wait(3)
    for name in GRADUATES:
        for batches, slot in enumerate(FIRST_SLOTS):
            _graduate(player, address(name), slot, batches)
    for client in map(address, CLIENTS):
        for node in map(address, PROVIDERS):
            _open(player, (client, client, node), 150 * VCN)
    player.do(address("thief"), "Settlement", "flushBurn", [], ledger.flush_burn, player.everything)
    assert all(step.succeeds for step in player.steps), [step.words for step in player.steps if not step.succeeds]
    return player


def _owner_of(name: str) -> str:
    """Verifier 4 belongs to the owner of node 0, and client 2 owns verifier 3: neither may judge its own."""
    return actor({"verifier 4": "owner of node 0", "verifier 3": "client 2"}.get(name, f"owner of {name}"))


def _equip(player: Player, deployer: str, who: str, spender: str, amount: int) -> None:
    if amount:
        player.do(deployer, "VCoin", "transfer", [who, amount])
        player.ledger.wallets[deployer] -= amount
        player.ledger.wallets[who] = player.ledger.wallets.get(who, 0) + amount
    player.do(who, "VCoin", "approve", [player.scene.contracts[spender], MANY])


def _register(player: Player, name: str, owner: str, stake: int) -> None:
    ledger, node = player.ledger, actor(name)
    consent = player.scene.consent(name, Address(owner), ledger.time)
    payout = actor(f"payout of {name}")
    player.do(owner, "StakeManager", "register", [node, payout, stake, 2, ledger.time, consent])
    ledger.wallets[owner] -= stake
    ledger.nodes[node] = Node(owner, payout, Record(ledger.today), Pool(stake, {owner: stake}), 2)
    if name.startswith("verifier"):
        player.do(owner, "Court", "joinVerifiers", [node, CLASS])
        # In a local network every weight is full.
        ledger.places.append(Place(node, ledger.block, 10_000))


def _open(player: Player, lane: tuple[str, str, str], amount: int) -> None:
    ledger = player.ledger
    there = ledger.lanes.get(lane)
    total = there.left + there.mark if there else 0
    player.do(
        *(lane[0], "Settlement", "openLane", [*lane, amount, total, ledger.time, b""]),
        lambda: ledger.open_lane(lane[0], lane, amount, total, ledger.time, ""),
    )


def _graduate(player: Player, node: str, slot: int, batches: int) -> None:
    """One more batch after so many: the first ends probation, all of them speak against their node."""
    ledger = player.ledger
    lane = address("client 0"), address("client 0"), node
    _open(player, lane, 50 * VCN)
    owed = (batches + 1) * (20 * VCN + VCN)
    claim = Claim(lane[0], lane[1], 20 * (batches + 1), owed, 20 * VCN, 0, lane[1])
    submission = {
        "node": node,
        "slot": slot,
        "classId": CLASS,
        "root": DETAILS,
        "priceSum": 20 * VCN,
        "msSum": 20_000,
        "okCount": 20,
        "maxLeaf": VCN,
    }
    told = {"root": DETAILS, "ok": 20, "failed": 0, "ms": 20_000, "max_leaf": VCN, "price": 20 * VCN, "bonus": 0}
    player.do(
        *(node, "Settlement", "submit", [submission, [player.signed(node, claim)]]),
        lambda: ledger.submit(node, node, slot, [claim], **told),
        lambda: player.node(node),
    )
    batch = ledger.batches[node, slot]
    epoch = ledger.epoch(batch)
    ledger.block = max(ledger.block, ledger.seed_block(epoch) + 1)
    if epoch not in ledger.seeds:
        player.do(
            *(node, "EpochBeacon", "seal", [epoch]),
            lambda: ledger.seal(epoch, DETAILS),
            hashed=(ledger.seed_block(epoch), DETAILS),
        )
    player.do(
        *(node, "Court", "convene", [node, slot, contents_of(batch)]),
        lambda: ledger.convene(node, node, slot),
        lambda: player.case(ledger.cases[batch.id]),
    )
    case = ledger.cases[batch.id]
    for number in range(len(case.seats)):
        player.do(
            *(case.seats[number].node, "Court", "commitSeat", [batch.id, number, sealed(case, number)]),
            lambda number=number: ledger.commit(case.seats[number].node, case, number),
        )
    for number in range(len(case.seats)):
        (digest, salt), scores, said = secrets_of(number), [10_000] * len(case.drawn), told_of(case, number)
        player.do(
            *(case.seats[number].node, "Court", "revealSeat", [batch.id, number, digest, scores, salt, said]),
            lambda number=number, scores=scores, said=said: ledger.reveal(
                case.seats[number].node, case, number, scores, said
            ),
        )
    player.do(node, "Court", "resolve", [batch.id, contents_of(batch)], lambda: ledger.resolve(case), player.money)
    ledger.time += ledger.numbers.challenge_seconds
    player.do(
        *(node, "Settlement", "finalize", [node, slot]),
        lambda: ledger.finalize(node, slot),
        lambda: (*player.node(node), *player.money()),
    )


def history(beginning: Player, seed: int, moves: int) -> Player:
    """The network that the seed makes."""
    player = Player(beginning.scene, copy.deepcopy(beginning.ledger), random.Random(seed))
    player.play(moves)
    return player
