"""Each chain effect has its performer."""

from typing import get_args

from chain.perform.adapter import PERFORMERS
from protocol.effects import ChainEffect


def test_each_chain_effect_has_one_performer() -> None:
    assert set(PERFORMERS) == set(get_args(ChainEffect))
