"""Gossip machines and what they hear."""

from coincurve import PrivateKey

from protocol.network.frames import (
    Content,
    Signed,
    Topic,
    sign_content,
)
from tests.unit.protocol.network.nodes import CHAIN_ID, SETTLEMENT, START_MS

NOW = START_MS


def made_by(
    author: PrivateKey,
    body: bytes = b"x",
    *,
    topic: Topic = Topic.REQUEST,
    seq: int = 1,
    ts_ms: int = NOW,
    chain_id: int = CHAIN_ID,
) -> Signed:
    content = Content(chain_id, SETTLEMENT, topic, author.public_key.format(), seq, ts_ms, body)
    return sign_content(content, author.sign)
