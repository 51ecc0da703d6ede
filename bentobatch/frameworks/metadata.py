"""This module makes the metadata of a packed model plain when it comes in and read-only when it goes out."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any, NoReturn

from bentobatch.errors import UsageError

_PLAIN = (str, bool, int, float, datetime.date, datetime.datetime, type(None))
_DEEPEST = 50


def _refuse(*_args: Any, **_kwargs: Any) -> NoReturn:
    raise TypeError("the metadata of a packed model is read-only: pack the model again with other metadata")


class ReadOnlyDict(dict[Any, Any]):
    """A dict that cannot be changed; still a dict, so that it compares, prints and goes into JSON as one."""

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse

    def __reduce__(self) -> Any:  # the default would rebuild it through __setitem__
        return type(self), (dict(self),)


class ReadOnlyList(list[Any]):
    """A list that cannot be changed; still a list, so that it compares, prints and goes into JSON as one."""

    __setitem__ = __delitem__ = __iadd__ = __imul__ = _refuse
    append = clear = extend = insert = pop = remove = reverse = sort = _refuse

    def __reduce__(self) -> Any:  # the default would rebuild it through extend
        return type(self), (list(self),)


def read_only(metadata: Mapping[str, Any] | None, artifact: str) -> ReadOnlyDict:
    """A deep copy of ``metadata`` that YAML and JSON can hold and nobody can change; {} for None.

    numpy scalars and arrays become Python's own numbers and lists; tuples and sets become lists.

    Raises:
        TypeError: metadata is no mapping (BentoML 0.13's type for it).
        UsageError: a value in it is something else than text, numbers, booleans, dates, None, lists and dicts.
    """
    if metadata is None:
        return ReadOnlyDict()
    if not isinstance(metadata, Mapping):
        raise TypeError(f"metadata of artifact {artifact!r} must be a dict, not {type(metadata).__name__}")
    return ReadOnlyDict(_frozen(dict(metadata), f"metadata of artifact {artifact!r}", 0))


def plain(value: Any) -> Any:
    """A deep copy made of ordinary dicts and lists, for writing as YAML or JSON."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value


def _frozen(value: Any, where: str, depth: int) -> Any:
    if depth > _DEEPEST:
        raise UsageError(f"{where} is nested deeper than {_DEEPEST} levels: keep it flat")
    if type(value).__module__ == "numpy" and hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, Mapping):
        return ReadOnlyDict(
            (_frozen_key(key, where), _frozen(item, f"{where} at {key!r}", depth + 1)) for key, item in value.items()
        )
    if isinstance(value, (set, frozenset)):
        value = sorted(value, key=repr)
    if isinstance(value, (list, tuple)):
        return ReadOnlyList(_frozen(item, f"{where} at {index}", depth + 1) for index, item in enumerate(value))
    value = _base_value(value)
    if type(value) not in _PLAIN:
        raise UsageError(
            f"{where} is a {type(value).__name__}, which cannot be written into the bundle: "
            "use text, numbers, booleans, dates, None, lists and dicts"
        )
    return value


def _base_value(value: Any) -> Any:
    """The plain value that an enum member, a pandas Timestamp or another subclass stands for; others as they are."""
    if type(value) in _PLAIN:
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int.__int__(value)
    if isinstance(value, float):
        return float.__float__(value)
    if isinstance(value, datetime.datetime) and value == value:  # pandas' NaT, which is no date, is not itself
        return datetime.datetime.combine(value.date(), value.timetz())
    return value


def _frozen_key(key: Any, where: str) -> Any:
    key = _frozen(key, where, 0)
    if isinstance(key, (ReadOnlyDict, ReadOnlyList)):
        raise UsageError(f"{where} has the key {key!r}: use text, numbers, booleans or dates")
    return key
