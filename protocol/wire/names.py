"""The name of a class in bytes, stated beside the class: it outlives a renaming of the class in the code.

Messages between peers, events in the journal and keys of effects carry it. tests/vectors/layouts.json lists all.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar, dataclass_transform

T = TypeVar("T")
_NAMES: dict[type[Any], str] = {}


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def wire_class(name: str) -> Callable[[type[T]], type[T]]:
    """Class decorator: makes a frozen dataclass and states its name in bytes, e.g. `@wire_class("SampleQuery")`."""

    def state(cls: type[T]) -> type[T]:
        made = dataclass(frozen=True, slots=True)(cls)
        _NAMES[made] = name
        return made

    return state


def name_of(cls: type[Any]) -> str:
    """The name that a class states for itself; that of a base class does not count.

    Raises: TypeError if it states none.
    """
    try:
        return _NAMES[cls]
    except KeyError:
        raise TypeError(f"{cls.__name__} states no name for its bytes: decorate it with @wire_class(...)") from None


def by_name(classes: Iterable[type[Any]]) -> dict[str, type[Any]]:
    """The classes that one place in bytes may hold, by their names.

    Raises: TypeError if one states no name, or two state the same.
    """
    table: dict[str, type[Any]] = {}
    for cls in classes:
        other = table.setdefault(name_of(cls), cls)
        if other is not cls:
            raise TypeError(f"{other.__name__} and {cls.__name__} have the same name in bytes, {name_of(cls)}")
    return table
