"""The name of a class in bytes, stated beside the class: it outlives a renaming of the class in the code.

Messages between peers, events in the journal and keys of effects carry it. tests/vectors/layouts.json lists all.
"""

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

T = TypeVar("T")
_NAMES: dict[type[Any], str] = {}


def wire_name(name: str) -> Callable[[type[T]], type[T]]:
    """Class decorator: states the name of a class in bytes, e.g. `@wire_name("SampleQuery")`."""

    def state(cls: type[T]) -> type[T]:
        _NAMES[cls] = name
        return cls

    return state


def name_of(cls: type[Any]) -> str:
    """The name that a class states for itself; that of a base class does not count.

    Raises: TypeError if it states none.
    """
    try:
        return _NAMES[cls]
    except KeyError:
        raise TypeError(f"{cls.__name__} states no name for its bytes: decorate it with @wire_name(...)") from None


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
