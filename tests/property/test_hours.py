"""The owner's hours: any text of ranges means what each of its minutes says, over midnight and over a week's end."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.hours import AHEAD_MS, DAY_MIN, DAYS, MAX_RANGES, MINUTE_MS, parse_hours, read_hours

MONDAY = datetime(2026, 1, 5)
WEEK_MIN = 7 * DAY_MIN
BERLIN = ZoneInfo("Europe/Berlin")


def at(minute: int) -> datetime:
    """A minute of a week that begins on Monday."""
    return MONDAY + timedelta(minutes=minute)


@st.composite
def ranges(draw: st.DrawFn) -> tuple[str, set[int]]:
    """A range as text, and the minutes of a week that are in it, counted one by one."""
    kind = draw(st.sampled_from(["days", "times", "both"]))
    first, last = draw(st.integers(0, 6)), draw(st.integers(0, 6))
    begin, end = draw(st.integers(0, DAY_MIN - 1)), draw(st.integers(0, DAY_MIN))
    days = DAYS[first] if first == last and draw(st.booleans()) else f"{DAYS[first]}-{DAYS[last]}"
    chosen = {(first + each) % 7 for each in range((last - first) % 7 + 1)}
    if kind == "days" or begin == end:
        return days.upper() if draw(st.booleans()) else days, {
            day * DAY_MIN + minute for day in chosen for minute in range(DAY_MIN)
        }
    times = f"{begin // 60:02}:{begin % 60:02}{draw(st.sampled_from(['-', ' - ']))}{end // 60:02}:{end % 60:02}"
    length = end - begin if end > begin else end - begin + DAY_MIN
    held = {
        (day * DAY_MIN + begin + each) % WEEK_MIN
        for day in (chosen if kind == "both" else range(7))
        for each in range(length)
    }
    return (f"{days} {times}" if kind == "both" else times), held


@given(st.lists(ranges(), min_size=1, max_size=4), st.lists(st.integers(0, WEEK_MIN - 1), min_size=20, max_size=20))
def test_it_is_open_in_every_minute_of_any_range_and_in_no_other(
    given_ranges: list[tuple[str, set[int]]], minutes: list[int]
) -> None:
    hours = parse_hours(", ".join(text for text, _ in given_ranges))
    held = set().union(*(minutes for _, minutes in given_ranges))
    edges = {(minute + step) % WEEK_MIN for minute in minutes for step in (-1, 0, 1)}
    for minute in edges | {0, DAY_MIN - 1, WEEK_MIN - 1}:
        assert hours.is_open(at(minute)) is (minute in held), at(minute)


@given(st.lists(ranges(), min_size=1, max_size=3), st.integers(0, 52 * WEEK_MIN), st.integers(0, MINUTE_MS - 1))
def test_a_close_is_told_at_its_minute_and_never_later_than_ahead(
    given_ranges: list[tuple[str, set[int]]], minute: int, part_ms: int
) -> None:
    hours = parse_hours(",".join(text for text, _ in given_ranges))

    def local(seconds: float) -> datetime:
        return datetime.fromtimestamp(seconds, BERLIN)

    now_ms = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp() * 1000) + minute * MINUTE_MS + part_ms
    found = hours.closed_from_ms(now_ms, local)
    if not hours.is_open(local(now_ms / 1000)):
        assert found == now_ms
    elif found is None:
        assert hours.is_open(local((now_ms + AHEAD_MS) / 1000))
    else:
        assert now_ms < found <= now_ms + AHEAD_MS
        assert not hours.is_open(local(found / 1000))
        assert hours.is_open(local((found - 1) / 1000))


def refusal(text: str) -> str:
    """The words against a text; none for one that is taken."""
    try:
        parse_hours(text)
    except ValueError as error:
        return str(error)
    return ""


@given(st.text(max_size=2_000) | st.text("0123456789:-, monfriatsuedwh", max_size=60))
def test_any_text_is_taken_or_refused_in_a_short_line(text: str) -> None:
    said = refusal(text)
    assert said.isprintable()
    assert len(said) < 250


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("always", "'always' is no day: mon, tue"),
        ("mon-someday", "'someday' is no day"),
        ("22:00", "expected ranges such as"),
        ("22:00-07:00,", "'' is none"),
        ("25:00-07:00", "'25:00' is no time from 00:00 to 24:00"),
        ("22:60-07:00", "'22:60' is no time"),
        ("22:00-24:01", "'24:01' is no time"),
        ("7-9", "'7' is no time"),
        ("08:00-08:00", "the whole day is 00:00-24:00"),
        ("24:00-08:00", "begins at 24:00"),
        ("mon-tue-wed", "expected ranges such as"),
        ("mon22:00-07:00", "expected ranges such as"),
        (",".join(["mon"] * (MAX_RANGES + 1)), f"at most {MAX_RANGES} ranges"),
    ],
)
def test_a_bad_text_says_what_is_wrong_with_it(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_hours(text)


def test_no_text_is_always_open_and_the_example_is_night_and_weekend() -> None:
    assert all(parse_hours(" ").is_open(at(minute)) for minute in range(0, WEEK_MIN, 30))
    hours = parse_hours("22:00-07:00, sat-sun")
    assert [hours.is_open(at(60 * hour)) for hour in (6, 7, 21, 22)] == [True, False, False, True]
    assert all(hours.is_open(at(minute)) for minute in range(5 * DAY_MIN, WEEK_MIN))


def test_a_clock_that_is_set_forward_skips_a_range_and_set_back_repeats_it() -> None:
    hours = parse_hours("02:00-03:00")

    def open_minutes(day: datetime) -> int:
        start = day.replace(tzinfo=BERLIN).timestamp()
        return sum(hours.is_open(datetime.fromtimestamp(start + 60 * each, BERLIN)) for each in range(24 * 60))

    assert [open_minutes(datetime(2026, *day)) for day in ((3, 28), (3, 29), (10, 25))] == [60, 0, 120]


@pytest.mark.parametrize("raw", [7, None, ["mon"], True, "mon\n", "mon" * 500])
def test_a_value_of_another_kind_is_refused(raw: object) -> None:
    with pytest.raises(ValueError, match="expected ranges such as"):
        read_hours(raw, None)  # type: ignore[arg-type]
