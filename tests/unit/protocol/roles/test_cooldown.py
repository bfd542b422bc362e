"""How long a requester does without a node that failed it."""

from protocol.params import MISS_LONGEST_MS, MISS_MS
from protocol.roles.requester.cooldown import NODES_KEPT, ProviderCooldown
from protocol.wire.ids import TimestampMs, checksum

NODE, OTHER = checksum("0x" + "01" * 20), checksum("0x" + "02" * 20)
NOW = TimestampMs(1_800_000_000_000)


def barred_ms(misses: ProviderCooldown) -> int:
    """How long from NOW on the node is barred, found by halving."""
    low, high = 0, 2 * MISS_LONGEST_MS
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if misses.bars(NODE, TimestampMs(NOW + middle)) else (low, middle)
    return low


def test_each_miss_bars_twice_as_long_up_to_a_week() -> None:
    misses, seen = ProviderCooldown(), []
    for _ in range(40):
        misses.add(NODE, NOW)
        seen.append(barred_ms(misses))
    assert seen[:3] == [MISS_MS, 2 * MISS_MS, 4 * MISS_MS]
    assert seen[-1] == MISS_LONGEST_MS
    assert not misses.bars(OTHER, NOW)


def test_a_paid_job_makes_up_for_all_of_them() -> None:
    misses = ProviderCooldown()
    misses.add(NODE, NOW)
    misses.add(NODE, NOW)
    misses.forgive(NODE)
    assert not misses.bars(NODE, NOW)
    misses.add(NODE, NOW)
    assert barred_ms(misses) == MISS_MS


def test_only_so_many_nodes_are_remembered() -> None:
    misses = ProviderCooldown()
    misses.add(NODE, NOW)
    for number in range(NODES_KEPT):
        misses.add(checksum(f"0x{number + 1000:040x}"), NOW)
    assert not misses.bars(NODE, NOW)
