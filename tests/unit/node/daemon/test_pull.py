"""Speed and time left of a pull, from looks at it."""

from node.daemon.pull import SAMPLES, PullProgress
from tests.support.scenes.stored_models import TOKENIZER, manifest_of

TOTAL = 10_000
MODEL = manifest_of("large", bytes(TOTAL - len(TOKENIZER)))


def test_speed_and_time_left_count_from_what_had_come_before() -> None:
    progress = PullProgress(MODEL)
    first = progress.look(100.0, 4_000)
    assert (first.done_bytes, first.total_bytes, first.bytes_per_s, first.left_s) == (4_000, TOTAL, 0, -1)
    second = progress.look(102.0, 6_000)
    assert (second.bytes_per_s, second.left_s, second.is_done) == (1_000, 4, False)


def test_pull_that_waits_has_no_speed() -> None:
    view = PullProgress(MODEL).look(1.0, None)
    assert (view.done_bytes, view.bytes_per_s, view.left_s) == (0, 0, -1)


def test_speed_follows_the_last_looks() -> None:
    progress = PullProgress(MODEL)
    for second in range(SAMPLES + 1):
        progress.look(float(second), 100)
    stalled = progress.look(SAMPLES + 1.0, 100)
    assert (stalled.bytes_per_s, stalled.left_s) == (0, -1)


def test_content_that_is_fetched_anew_is_no_negative_speed() -> None:
    progress = PullProgress(MODEL)
    progress.look(0.0, 5_000)
    assert progress.look(1.0, 0).bytes_per_s == 0


def test_end_is_all_of_it() -> None:
    view = PullProgress(MODEL).end()
    assert (view.is_done, view.done_bytes, view.left_s) == (True, TOTAL, 0)
