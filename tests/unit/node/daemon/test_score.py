"""Which changes of a record are told: whatever hurt, however old, and the newest of the others."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chain.read.reputation import Cause, Change
from node.daemon.score import MAX_HARMLESS, worth_telling
from protocol.wire.ids import Hash32, Wei

BATCH = Change(1, Hash32(bytes(32)), Cause.BATCH, counted=3, penalty_tenths=-3)


@pytest.mark.parametrize("hurt", [{"penalty_tenths": 50}, {"lost": 1}, {"lost_wei": Wei(1)}])
def test_what_hurt_is_told_however_old_it_is(hurt: dict[str, int]) -> None:
    old = replace(BATCH, block=0, **hurt)  # type: ignore[arg-type]
    others = [replace(BATCH, block=block) for block in range(1, MAX_HARMLESS + 5)]
    told = worth_telling([others[0], old, *others[1:]])
    assert told == [old, *others[-MAX_HARMLESS:]]


def test_few_changes_are_all_told_in_their_order() -> None:
    changes = [replace(BATCH, block=block) for block in range(MAX_HARMLESS)]
    assert worth_telling(changes) == changes
    assert worth_telling([]) == []
