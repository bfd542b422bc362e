"""Views as JSON: amounts (`*_wei`) as decimal strings, because a float cannot hold them; tuples as lists."""

import dataclasses
import functools
import types
from typing import Any, TypeVar, cast, get_args, get_origin, get_type_hints

from node.api.faults import OTHER_VERSION, Fault

T = TypeVar("T")


def view_of(cls: type[T], *sources: object, **given: Any) -> T:
    """A view with the fields that are given, and each other field from the first source that has one of that name.

    An amount, `price_wei` in the view, is `price` in its source. A source that is not known yet is None: the fields
    that only it could have told are then 0 or empty.
    """
    for name, kind in _hints(cast(Any, cls)).items():
        if name in given:
            continue
        told = name.removesuffix("_wei")
        source = next((each for each in sources if hasattr(each, told)), None)
        if source is not None:
            given[name] = getattr(source, told)
        elif None in sources:
            given[name] = (get_origin(kind) or kind)()
    return cls(**given)


def plain(view: Any) -> Any:
    """A view, or its fields by name, as JSON can hold it: amounts (`*_wei`) as decimal strings, tuples as lists."""
    if dataclasses.is_dataclass(view) and not isinstance(view, type):
        view = {field.name: getattr(view, field.name) for field in dataclasses.fields(view)}
    if isinstance(view, dict):
        return {name: str(value) if name.endswith("_wei") else plain(value) for name, value in view.items()}
    if isinstance(view, tuple | list):
        return [plain(item) for item in view]
    return view


def read(cls: type[T], raw: Any) -> T:
    """The view that `plain` gave. Fields that this version does not know are left out.

    Raises: Fault internal if a field is missing or of another kind: client and daemon are of different versions.
    """
    try:
        return cast(T, _read(cls, raw))
    except (KeyError, TypeError, ValueError) as error:
        message = f"the daemon's answer is not a {cls.__name__}: {error!s:.200}"
        raise Fault("internal", message, OTHER_VERSION) from error


@functools.cache
def _hints(cls: Any) -> dict[str, Any]:
    return get_type_hints(cls)


def _read(hint: Any, raw: Any) -> Any:
    if dataclasses.is_dataclass(hint):
        return cast(Any, hint)(
            **{
                name: int(raw[name]) if name.endswith("_wei") else _read(kind, raw[name])
                for name, kind in _hints(cast(Any, hint)).items()
            }
        )
    origin, args = get_origin(hint), get_args(hint)
    if origin is tuple and args[-1] is Ellipsis:
        return tuple(_read(args[0], item) for item in raw)
    if origin is tuple:
        return tuple(_read(kind, item) for kind, item in zip(args, raw, strict=True))
    if origin is types.UnionType:
        return None if raw is None else _read(args[0], raw)
    if type(raw) is not hint:
        raise TypeError(f"expected {hint}, not {raw!r}")
    return raw
