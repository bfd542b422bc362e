"""The codec: every message and event has one form, and nothing else is read."""

import dataclasses
import enum
from typing import Annotated, get_args

import cbor2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protocol.effects import Effect
from protocol.errors import Malformed, RemoteProtocolError, TooLarge
from protocol.events import Event
from protocol.stages.heartbeat import Heartbeat
from protocol.stages.request import SignedRequest
from protocol.wire import codec
from protocol.wire.names import by_name, wire_class
from tests.support.strategies import instances

EVENTS = by_name(get_args(Event))
EFFECTS = by_name(get_args(Effect))
slow = settings(max_examples=8, suppress_health_check=list(HealthCheck), deadline=None)


@pytest.mark.parametrize("cls", [*EVENTS.values(), *EFFECTS.values()], ids=lambda cls: cls.__name__)
@slow
@given(data=st.data())
def test_every_event_and_effect_is_read_back_as_it_was(cls, data):
    value = data.draw(instances(cls))
    classes = EVENTS | EFFECTS
    assert codec.decode_named(classes, codec.encode_named(value), 1 << 22) == value


@slow
@given(value=instances(Heartbeat), extra=st.binary(min_size=1, max_size=4))
def test_trailing_bytes_are_refused(value, extra):
    with pytest.raises(Malformed):
        codec.decode(Heartbeat, codec.encode(value) + extra, 1 << 16)


@slow
@given(value=instances(SignedRequest), data=st.data())
def test_any_changed_byte_is_refused_or_another_message(value, data):
    raw = bytearray(codec.encode(value))
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        read = codec.decode(SignedRequest, bytes(raw), 1 << 16)
    except RemoteProtocolError:
        return
    assert read != value
    assert codec.encode(read) == bytes(raw)


@given(raw=st.binary(max_size=200))
def test_noise_never_does_more_than_be_refused(raw):
    try:
        codec.decode(SignedRequest, raw, 1 << 16)
    except RemoteProtocolError:
        pass
    else:
        raise AssertionError("noise was read as a request")


def test_the_size_is_checked_before_anything_is_read():
    with pytest.raises(TooLarge):
        codec.decode(Heartbeat, b"\xff" * 2_000, 1_024)


@dataclasses.dataclass(frozen=True, slots=True)
class Small:
    """A message with bounds to step over."""

    number: codec.U8
    key: codec.Bytes32
    names: tuple[codec.Text, ...]


GOOD = [7, b"k" * 32, ["a"]]


@pytest.mark.parametrize(
    "raw",
    [
        [256, b"k" * 32, ["a"]],
        [-1, b"k" * 32, ["a"]],
        [True, b"k" * 32, ["a"]],
        [7.0, b"k" * 32, ["a"]],
        ["7", b"k" * 32, ["a"]],
        [7, b"k" * 31, ["a"]],
        [7, "k" * 32, ["a"]],
        [7, b"k" * 32, ["a" * 513]],
        [7, b"k" * 32, [b"a"]],
        [7, b"k" * 32, {"a": 1}],
        [7, b"k" * 32, ["a"], 1],
        [7, b"k" * 32],
        {"number": 7},
        None,
    ],
)
def test_every_wrong_field_is_refused(raw):
    assert codec.decode(Small, cbor2.dumps(GOOD, canonical=True), 1_000) == Small(7, b"k" * 32, ("a",))
    with pytest.raises(Malformed):
        codec.decode(Small, cbor2.dumps(raw, canonical=True), 1_000)


class Colour(enum.IntEnum):
    """A field whose value 1 is equal to True and 1.0."""

    RED = 1


class Shape(enum.StrEnum):
    """A field of one word."""

    ROUND = "round"


@dataclasses.dataclass(frozen=True, slots=True)
class Chosen:
    """A message of fields with few values."""

    colour: Colour
    shape: Shape


@pytest.mark.parametrize("raw", [[True, "round"], [1.0, "round"], [2, "round"], [1, b"round"], [1, "square"], [1, 1]])
def test_a_choice_has_one_form(raw):
    assert codec.decode(Chosen, cbor2.dumps([1, "round"]), 1_000) == Chosen(Colour.RED, Shape.ROUND)
    with pytest.raises(Malformed):
        codec.decode(Chosen, cbor2.dumps(raw), 1_000)


def test_a_longer_form_of_the_same_value_is_refused():
    canonical = cbor2.dumps(GOOD, canonical=True)
    assert canonical[1] == 7
    with pytest.raises(Malformed, match="canonical"):
        codec.decode(Small, canonical[:1] + b"\x18\x07" + canonical[2:], 1_000)


def test_deep_nesting_is_refused():
    with pytest.raises(Malformed):
        codec.decode(Small, b"\x81" * 900 + b"\x00", 1_000)


def test_an_unknown_name_is_refused():
    with pytest.raises(Malformed, match="known name"):
        codec.decode_named(EVENTS, cbor2.dumps(["Nothing", []], canonical=True), 1_000)


@wire_class("Small")
class Renamed:
    """A class whose name in the code has changed since it was first written."""

    number: codec.U8


@wire_class("Large")
class Large:
    """Another one."""

    number: codec.U8


@wire_class("Small")
class Twin:
    """A class that states a name which is taken."""

    number: codec.U8


@dataclasses.dataclass(frozen=True, slots=True)
class Holder:
    """A message with a place for one of two classes."""

    item: Renamed | Large


@dataclasses.dataclass(frozen=True, slots=True)
class Torn:
    """A message with a place whose classes cannot be told apart."""

    item: Renamed | Twin


class Heir(Renamed):
    """A class that states nothing itself."""


def test_the_name_in_bytes_is_the_stated_one():
    assert codec.encode_named(Renamed(1)) == cbor2.dumps(["Small", [1]])
    assert codec.encode(Holder(Renamed(1))) == cbor2.dumps([["Small", [1]]])
    assert codec.decode(Holder, cbor2.dumps([["Small", [1]]]), 100) == Holder(Renamed(1))


@pytest.mark.parametrize("value", [Small(1, bytes(32), ()), Heir(1)])
def test_a_class_that_states_no_name_is_not_written_by_name(value):
    with pytest.raises(TypeError, match="states no name"):
        codec.encode_named(value)


def test_two_classes_of_one_name_are_refused_where_either_could_stand():
    with pytest.raises(TypeError, match="Renamed and Twin"):
        codec.decode(Torn, cbor2.dumps([["Small", [1]]]), 100)


@dataclasses.dataclass(frozen=True)
class Sizeless:
    """Bounds what has no size."""

    number: Annotated[int, codec.Size(4)]


def test_a_size_bounds_bytes_or_characters():
    with pytest.raises(TypeError, match="no size for"):
        codec.decode(Sizeless, cbor2.dumps([1]), 100)
