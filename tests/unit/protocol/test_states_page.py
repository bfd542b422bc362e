"""Compares docs/states.md with the transition tables that it is drawn from."""

from enum import StrEnum

from scripts import states


class _Light(StrEnum):
    RED = "red"
    GREEN = "green"
    OFF = "off"


class _Switched:
    pass


class _Unplugged:
    pass


def test_the_page_shows_the_present_tables() -> None:
    assert states.PAGE.read_text("utf-8") == states.page(), "run: python -m scripts.states --write"


def test_a_move_is_an_arrow_with_its_event() -> None:
    table = {
        _Light.RED: {_Switched: frozenset({_Light.GREEN, _Light.RED}), _Unplugged: _Light.OFF},
        _Light.GREEN: {_Switched: _Light.RED, _Unplugged: frozenset({_Light.OFF})},
        _Light.OFF: {},
    }
    assert list(states._lines(states.LifeCycle("Light", "here", table)))[3:] == [
        "    [*] --> RED",
        "    RED --> RED: _Switched",
        "    RED --> GREEN: _Switched",
        "    RED --> OFF: _Unplugged",
        "    GREEN --> RED: _Switched",
        "    GREEN --> OFF: _Unplugged",
        "    OFF --> [*]",
    ]
