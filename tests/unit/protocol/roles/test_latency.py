"""Which peers are slow, and that the journal alone says so after a restart."""

from protocol.effects import AwaitDeadline
from protocol.events import DeadlinePassed, MessageSent, MessageUnanswered, is_durable
from protocol.params import DELAY_ALERT_MS
from protocol.roles.latency import DELAYS_KEPT, PEERS_KEPT, LatencyTracker
from protocol.wire.ids import PeerId, TimestampMs

PEER, OTHER = PeerId("peer"), PeerId("other")
NOW = TimestampMs(1_800_000_000_000)


def tell(latency: LatencyTracker, *events: MessageSent | MessageUnanswered) -> list[DeadlinePassed]:
    """Let timers pass at once; returns those that passed."""
    passed = []
    for event in events:
        for effect in latency.handle(event, NOW):
            assert isinstance(effect, AwaitDeadline)
            passed.append(DeadlinePassed(effect.timer))
            latency.handle(passed[-1], NOW)
    return passed


def test_a_mean_over_ten_seconds_is_slow_until_it_is_so_no_more() -> None:
    latency = LatencyTracker()
    assert tell(latency, MessageSent(PEER, DELAY_ALERT_MS)) == []
    assert not latency.is_slow(PEER)
    (slow,) = tell(latency, MessageSent(PEER, DELAY_ALERT_MS + 2))
    assert latency.is_slow(PEER)
    assert not latency.is_slow(OTHER)
    assert latency.mean_ms(PEER) == DELAY_ALERT_MS + 1
    (quick,) = tell(latency, *[MessageSent(PEER, 5)] * DELAYS_KEPT)
    assert not latency.is_slow(PEER)
    assert latency.mean_ms(PEER) == 5
    assert is_durable(slow)
    assert is_durable(quick)
    again = LatencyTracker()
    again.handle(slow, NOW)
    assert again.is_slow(PEER)


def test_a_peer_that_answers_less_than_every_other_message_is_slow() -> None:
    latency = LatencyTracker()
    tell(latency, *[MessageSent(PEER, 20), MessageUnanswered(PEER)] * 5)
    assert latency.is_slow(PEER)
    latency = LatencyTracker()
    tell(latency, MessageSent(PEER, 20), MessageSent(PEER, 20), MessageUnanswered(PEER))
    assert not latency.is_slow(PEER)


def test_only_so_many_peers_are_remembered() -> None:
    latency = LatencyTracker()
    for number in range(PEERS_KEPT + 1):
        tell(latency, MessageUnanswered(PeerId(f"peer {number}")))
    assert not latency.is_slow(PeerId("peer 0"))
    assert latency.mean_ms(PeerId("peer 0")) == 0
    assert latency.is_slow(PeerId("peer 1"))
