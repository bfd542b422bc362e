"""The state of the roles as bytes: objects by the names of their classes and fields, with what they share kept shared.

Unlike a message, state is written and read by the same node only, so nothing in it is bounded. A class holds what its
type hints say: `classes_of` finds every class that state of certain classes may hold, and no other is read. A field
that a class did not have when it was written takes its default; one that it has no more is left out.
"""

import dataclasses
import functools
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Hashable, Mapping
from enum import Enum
from typing import Annotated, Any, TypeVar, cast, get_args, get_origin, get_type_hints

import cbor2

from protocol.errors import Malformed

_TUPLE, _LIST, _DICT, _SET, _FROZEN_SET, _ORDERED, _COUNTER, _DEQUE, _ENUM, _CLASS, _OBJECT, _AGAIN, _GIVEN = range(13)
_PLAIN = (int, bytes, str, bool, float, type(None))
_MAPS: dict[type[Any], int] = {dict: _DICT, OrderedDict: _ORDERED, Counter: _COUNTER}
_MAKES: dict[int, Callable[[], dict[Any, Any]]] = {_DICT: dict, _ORDERED: OrderedDict, _COUNTER: Counter}


@functools.cache
def classes_of(*roots: type[Any]) -> Mapping[str, type[Any]]:
    """Every dataclass and enum that objects of these classes may hold, by its name.

    Raises: TypeError if two have one name.
    """
    found: dict[str, type[Any]] = {}
    left: list[Any] = list(roots)
    while left:
        hint = left.pop()
        while hasattr(hint, "__supertype__"):
            hint = hint.__supertype__
        kind = get_origin(hint) or hint
        left += [arg for arg in get_args(hint) if arg is not Ellipsis and not isinstance(arg, TypeVar)]
        if get_origin(hint) is Annotated or not isinstance(kind, type) or found.get(kind.__name__) is kind:
            continue
        if dataclasses.is_dataclass(kind):
            left += get_type_hints(kind).values()
        elif not issubclass(kind, Enum):
            continue
        if kind.__name__ in found:
            raise TypeError(f"two classes of state are called {kind.__name__}")
        found[kind.__name__] = kind
    return dict(sorted(found.items()))


def dump(root: Any, classes: Mapping[str, type[Any]], given: Mapping[str, Any]) -> bytes:
    """An object and all that it holds as bytes; equal state gives equal bytes.

    Args: classes, as `classes_of` finds them; given, objects that are named instead of written.
    Raises: TypeError for an object of another class.
    """
    writer = _Writer(classes, given)
    tree = writer.write(root)
    return cbor2.dumps([[[name, list(fields)] for name, fields in writer.classes.values()], tree])


def load(data: bytes, classes: Mapping[str, type[Any]], given: Mapping[str, Any]) -> Any:
    """The values that `dump` wrote. `classes` by name, as `classes_of` finds them.

    Raises: Malformed if a class is not known, a field has no value, or the bytes are none of state.
    """
    try:
        table, tree = cbor2.loads(data)
        return _Reader([(classes[name], fields) for name, fields in table], given).read(tree)
    except KeyError as error:
        raise Malformed(f"state holds {error}, which this version does not know") from error
    except (cbor2.CBORError, ValueError, TypeError, IndexError, AttributeError) as error:
        raise Malformed(f"it is no state of this version: {error}") from error


class _Writer:
    def __init__(self, classes: Mapping[str, type[Any]], given: Mapping[str, Any]) -> None:
        self._known = classes
        # Objects stay alive while this runs, so that an id is that of one object.
        self._places: dict[int, list[Any]] = {id(value): [_GIVEN, name] for name, value in given.items()}
        self._values: dict[Any, list[Any]] = {}
        self._count = 0
        self.classes: dict[type[Any], tuple[str, tuple[str, ...]]] = {}
        self._numbers: dict[type[Any], int] = {}

    def write(self, value: Any) -> Any:
        kind = type(value)
        if kind in _PLAIN:
            return value
        if kind is tuple:
            return [_TUPLE, *map(self.write, value)]
        place = self._places.get(id(value))
        if place is not None:
            return place
        if isinstance(value, Enum):
            if isinstance(value, int | str) and self._known.get(kind.__name__) is not kind:
                # Its field is declared as a number or text, and as such it is read.
                return value.value
            return [_ENUM, self._number(kind), value.value]
        if isinstance(value, type):
            return [_CLASS, self._number(value)]
        again = [_AGAIN, self._count]
        if isinstance(value, Hashable) and dataclasses.is_dataclass(value):
            # Equal values that nothing changes are one, whichever event brought them.
            place = self._values.setdefault((kind, value), again)
            if place is not again:
                return place
        self._places[id(value)] = again
        self._count += 1
        write = self.write
        if kind in _MAPS:
            return [_MAPS[kind], *(part for key, held in value.items() for part in (write(key), write(held)))]
        if kind is list:
            return [_LIST, *map(write, value)]
        if kind in (set, frozenset):
            items = sorted(map(write, value), key=cbor2.dumps)
            return [_SET if kind is set else _FROZEN_SET, *items]
        if kind is deque:
            return [_DEQUE, value.maxlen, *map(write, value)]
        number = self._number(kind)
        return [_OBJECT, number, *(write(getattr(value, name)) for name in self.classes[kind][1])]

    def _number(self, kind: type[Any]) -> int:
        number = self._numbers.get(kind)
        if number is None:
            if self._known.get(kind.__name__) is not kind:
                raise TypeError(f"{kind.__name__} is no class of state")
            number = self._numbers[kind] = len(self.classes)
            self.classes[kind] = kind.__name__, _fields(kind)
        return number


class _Reader:
    def __init__(self, table: list[tuple[type[Any], list[str]]], given: Mapping[str, Any]) -> None:
        self._table = [(kind, fields, _fields(kind)) for kind, fields in table]
        self._given = given
        self._made: list[Any] = []

    def read(self, tree: Any) -> Any:
        if type(tree) is not list:
            return tree
        tag, read = tree[0], self.read
        if tag == _TUPLE:
            return tuple(map(read, tree[1:]))
        if tag == _OBJECT:
            return self._object(tree)
        if tag == _AGAIN:
            return self._made[tree[1]]
        if tag == _GIVEN:
            return self._given[tree[1]]
        if tag == _ENUM:
            return self._table[tree[1]][0](tree[2])
        if tag == _CLASS:
            return self._table[tree[1]][0]
        made: Any
        if tag in _MAKES:
            made = self._keep(_MAKES[tag]())
            parts = iter(tree[1:])
            for key, held in zip(parts, parts, strict=True):
                made[read(key)] = held if type(held) is not list else read(held)
            return made
        if tag == _LIST:
            made = self._keep([])
            made.extend(map(read, tree[1:]))
            return made
        if tag == _SET:
            made = self._keep(set())
            made.update(map(read, tree[1:]))
            return made
        if tag == _DEQUE:
            made = self._keep(deque(maxlen=tree[1]))
            made.extend(map(read, tree[2:]))
            return made
        if tag == _FROZEN_SET:
            place = len(self._made)
            self._keep(None)
            self._made[place] = made = frozenset(map(read, tree[1:]))
            return made
        raise ValueError(f"no form {tag}")

    def _object(self, tree: list[Any]) -> Any:
        kind, names, wanted = self._table[tree[1]]
        made = self._keep(object.__new__(kind))
        read, put = self.read, object.__setattr__
        for name, held in zip(names, tree[2:], strict=True):
            value = read(held)
            if name in wanted:
                put(made, name, value)
        for name in wanted:
            if name not in names:
                put(made, name, _default(kind, name))
        return made

    def _keep(self, made: Any) -> Any:
        self._made.append(made)
        return made


def _fields(kind: type[Any]) -> tuple[str, ...]:
    return tuple(field.name for field in dataclasses.fields(kind)) if dataclasses.is_dataclass(kind) else ()


def _default(kind: type[Any], name: str) -> Any:
    field = next(field for field in dataclasses.fields(cast(Any, kind)) if field.name == name)
    if field.default is not dataclasses.MISSING:
        return field.default
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    raise Malformed(f"state of an earlier version has no {kind.__name__}.{name}")
