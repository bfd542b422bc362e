"""Sum trees, the leaves that a batch's seed draws, and the verifiers that it seats."""

import random
from collections.abc import Iterator

from protocol.params import VCN
from protocol.stages.commitment import Leaf, batch_id, leaf_hash
from protocol.stages.sampling import ListSlot, batch_seed, draw_order, draw_samples, epoch_of, is_audited, seed_block
from protocol.wire.merkle import path, root
from scripts.vectors.frame import Case, address, case, word

TRIES_PER_SEAT = 64


def _leaf(number: int, dice: random.Random) -> Leaf:
    status = dice.choice((0, 0, 0, 1, 2))
    charge = dice.randrange(1, 250 * VCN) if status == 0 else 0
    return Leaf(
        client=address(f"client {number % 3}"),
        signer=address(f"signer {number % 3}"),
        index=number + 1,
        details=word(f"details {number}"),
        charge=charge,
        bonus=charge * 9 // 100 if dice.random() < 0.5 else 0,
        actual_ms=dice.randrange(1, 120_000) if status == 0 else 0,
        result_hash=word(f"result {number}"),
        output_commit=word(f"output {number}"),
        receipt_hash=word(f"receipt {number}"),
        status=status,
    )


def sumtree() -> Iterator[Case]:
    """Trees of different sizes with one opened leaf each."""
    dice = random.Random("sumtree")
    for count in (1, 2, 3, 4, 5, 8, 13, 33):
        leaves = [_leaf(number, dice) for number in range(count)]
        nodes = [leaf.node for leaf in leaves]
        top, opened = root(nodes), dice.randrange(count)
        siblings = path(nodes, opened)
        yield case(
            leaves=[case(leaf, hash=leaf_hash(leaf)) for leaf in leaves],
            root=top.hash,
            charge=top.charge,
            bonus=top.bonus,
            ms=top.ms,
            opened=opened,
            path_hashes=[one.hash for one in siblings],
            path_charges=[one.charge for one in siblings],
            path_bonuses=[one.bonus for one in siblings],
            path_ms=[one.ms for one in siblings],
        )


def sampling() -> Iterator[Case]:
    """Seeds of batches and the leaves that they draw."""
    dice = random.Random("sampling")
    for number, (count, rate) in enumerate(
        [(1, 1_000)] * 12
        + [(n, r) for n in (1, 2, 7, 10, 11, 20, 25, 99, 100, 2_560) for r in (10_000, 5_000, 1_000)]
        + [(dice.randrange(1, 300), 1_000) for _ in range(12)]
    ):
        node, slot, block = address(f"node {number}"), dice.randrange(64), dice.randrange(1, 10**7)
        epoch_seed, batch = word(f"epoch seed {number}"), batch_id(node, slot, block)
        seed = batch_seed(epoch_seed, batch)
        drawn = draw_samples(seed, count, rate)
        yield case(
            node=node,
            slot=slot,
            commit_block=block,
            batch_id=batch,
            epoch_seed=epoch_seed,
            epoch_blocks=4,
            lag_blocks=2,
            epoch=epoch_of(block, 4),
            seed_block=seed_block(epoch_of(block, 4), 4, 2),
            seed=seed,
            leaf_count=count,
            rate_bps=rate,
            drawn_count=len(drawn),
            drawn=drawn[:300],
            audited=is_audited(epoch_seed, batch),
        )


def _slots(dice: random.Random, count: int, commit_block: int) -> list[ListSlot]:
    blocks = sorted(dice.randrange(1, commit_block + 20) for _ in range(count))
    forever = 2**40 - 1
    return [
        ListSlot(
            node=address(f"verifier {number % (count * 4 // 5 + 1)}"),
            from_block=block,
            until_block=dice.choice((forever, forever, forever, dice.randrange(block, commit_block + 40))),
            weight_bps=dice.choice((10_000, 10_000, 2_500, 500, 1)),
        )
        for number, block in enumerate(blocks)
    ]


def seats() -> Iterator[Case]:
    """Verifier lists, and who is seated out of them, three at a convening and the next in line."""
    dice = random.Random("seats")
    for number in range(24):
        commit_block = dice.randrange(100, 10_000)
        slots = _slots(dice, dice.choice((0, 1, 3, 3, 5, 20, 60)), commit_block)
        excluded = [slot.node for slot in slots if dice.random() < 0.1][:3]
        seed, batch = word(f"seed {number}"), batch_id(address(f"node {number}"), number, commit_block)
        for wanted in (1, 3):
            found = draw_order(seed, batch, commit_block, slots, frozenset(excluded), TRIES_PER_SEAT * wanted)
            yield case(
                seed=seed,
                batch_id=batch,
                commit_block=commit_block,
                nodes=[slot.node for slot in slots],
                from_blocks=[slot.from_block for slot in slots],
                until_blocks=[slot.until_block for slot in slots],
                weights=[slot.weight_bps for slot in slots],
                excluded=excluded,
                wanted=wanted,
                seated=found[:wanted],
            )
