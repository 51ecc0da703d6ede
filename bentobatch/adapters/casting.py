"""This module casts one Arrow array to another type and never loses a value: exactly, or not at all.

``pyarrow``'s safe cast is less strict than its name: it parses text as numbers, makes 2 true, overflows float32 to infinity,
takes naive times for UTC, cuts times to dates, rounds floats to decimals and drops struct fields.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


class LossyCastError(ValueError):
    """A value has no exact counterpart in the wanted type. ``row`` is its position where it is known, else -1."""

    def __init__(self, message: str, row: int = -1) -> None:
        super().__init__(message)
        self.row = row


def cast_exactly(array: pa.Array, target: pa.DataType) -> pa.Array:
    """``array`` as ``target``. Allowed within a family (numbers, text, bytes, times, lists, structs), value for value.

    Integers become floats where the float is exact, floats integers where they are whole, and wider floats narrower
    ones by rounding, but not beyond the range. A struct gains missing fields as null and loses none.

    Raises:
        LossyCastError: the types are of different families, or a value does not survive.
    """
    source = array.type
    if source.equals(target):
        return array
    if pa.types.is_null(source):
        return pa.nulls(len(array), target)
    if isinstance(array, pa.ExtensionArray):
        return cast_exactly(array.storage, target)
    if pa.types.is_dictionary(source) or pa.types.is_run_end_encoded(source):
        plain = array.dictionary_decode() if pa.types.is_dictionary(source) else pc.run_end_decode(array)
        return cast_exactly(plain, target)
    if pa.types.is_dictionary(target):
        return cast_exactly(array, target.value_type).cast(target)
    family = _family(source)
    if family is None or family != _family(target):
        raise LossyCastError(f"{source} is not {target}")
    return _CASTS[family](array, target)


def first_failure(array: pa.Array, cast: Callable[[pa.Array], Any]) -> int:
    """The first row of ``array`` on which ``cast`` raises, found by halving; -1 when none does on its own."""
    start, stop = 0, len(array)
    while stop - start > 1:
        middle = (start + stop) // 2
        if _passes(array.slice(start, middle - start), cast):
            start = middle
        else:
            stop = middle
    return start if start < len(array) and not _passes(array.slice(start, 1), cast) else -1


def _passes(array: pa.Array, cast: Callable[[pa.Array], Any]) -> bool:
    try:
        cast(array)
    except (pa.ArrowException, LossyCastError):
        return False
    return True


def is_text(kind: pa.DataType) -> bool:
    """Whether values of this type are text."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def is_number(kind: pa.DataType) -> bool:
    """Whether values of this type are numbers (truth values are not)."""
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _is_binary(kind: pa.DataType) -> bool:
    tests = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary, pa.types.is_binary_view)
    return any(test(kind) for test in tests)


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _family(kind: pa.DataType) -> str | None:
    tests: dict[str, Callable[[pa.DataType], bool]] = {
        "number": is_number,
        "text": is_text,
        "bytes": _is_binary,
        "instant": lambda each: pa.types.is_timestamp(each) or pa.types.is_date(each),
        "time": pa.types.is_time,
        "span": pa.types.is_duration,
        "list": _is_list,
        "struct": pa.types.is_struct,
        "map": pa.types.is_map,
    }
    return next((name for name, test in tests.items() if test(kind)), None)


def _direct(array: pa.Array, target: pa.DataType) -> pa.Array:
    """Arrow's own safe cast, where it is exact."""
    try:
        return array.cast(target)
    except pa.ArrowException as error:
        row = first_failure(array, lambda piece: piece.cast(target))
        told = str(error).splitlines()[0] if row < 0 else f"{array[row].as_py()!r} is no {target}"
        raise LossyCastError(told, row) from error


def _number(array: pa.Array, target: pa.DataType) -> pa.Array:
    if pa.types.is_decimal(target) and pa.types.is_integer(array.type):
        array = array.cast(pa.decimal128(38, 0))  # a direct cast asks for room for the type's largest value
    if pa.types.is_floating(array.type) and pa.types.is_decimal(target):
        made = _direct(array, target)
        _same(pc.equal(made.cast(array.type), array), array, target)
        return made
    made = _direct(array, target)
    if pa.types.is_floating(array.type) and pa.types.is_floating(target) and target.bit_width < array.type.bit_width:
        wide = made.cast(pa.float64())
        _same(pc.or_(pc.is_finite(wide), pc.invert(pc.is_finite(array.cast(pa.float64())))), array, target)
    return made


def _same(same: pa.Array, array: pa.Array, target: pa.DataType) -> None:
    """Raise LossyCastError for the first row that is False in ``same``."""
    row = pc.index(same, False).as_py()
    if row >= 0:
        raise LossyCastError(f"{array[row].as_py()!r} is no {target}", row)


def _instant(array: pa.Array, target: pa.DataType) -> pa.Array:
    source_zone, target_zone = getattr(array.type, "tz", None), getattr(target, "tz", None)
    if (source_zone is None) != (target_zone is None):
        raise LossyCastError(f"{array.type} is not {target}: one has a time zone and the other has none")
    if source_zone is not None and pa.types.is_date(target):
        raise LossyCastError(f"{array.type} is not {target}")
    made = _direct(array, target)
    if pa.types.is_date(target):
        _same(pc.equal(made.cast(array.type), array), array, target)
    return made


def _list(array: pa.Array, target: pa.DataType) -> pa.Array:
    missing = np.asarray(array.is_null())
    if pa.types.is_fixed_size_list(array.type):
        lengths = np.full(len(array), array.type.list_size)
    else:
        lengths = array.value_lengths().fill_null(0).to_numpy().astype(np.int64)
    lengths[missing] = 0
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    try:
        items = cast_exactly(array.flatten(), target.value_type)
    except LossyCastError as error:
        row = int(np.searchsorted(offsets, error.row, side="right")) - 1 if error.row >= 0 else -1
        raise LossyCastError(str(error), row) from error
    mask = pa.array(missing) if missing.any() else None
    plain = pa.LargeListArray.from_arrays(
        pa.array(offsets.astype(np.int64)), items, type=pa.large_list(target.value_field), mask=mask
    )
    return _direct(plain, target)


def _struct(array: pa.Array, target: pa.DataType) -> pa.Array:
    known = {target.field(index).name for index in range(target.num_fields)}
    children = dict(zip([field.name for field in array.type], array.flatten(), strict=True))
    extra = [name for name in children if name not in known]
    if extra:
        raise LossyCastError(f"unknown key {extra[0]!r} (known: {', '.join(sorted(known))})")
    made = []
    for field in target:
        child = children.get(field.name)
        made.append(pa.nulls(len(array), field.type) if child is None else cast_exactly(child, field.type))
    mask = array.is_null() if array.null_count else None
    return pa.StructArray.from_arrays(made, fields=list(target), mask=mask)


_CASTS: dict[str, Callable[[pa.Array, pa.DataType], pa.Array]] = {
    "number": _number,
    "text": _direct,
    "bytes": _direct,
    "instant": _instant,
    "time": _direct,
    "span": _direct,
    "list": _list,
    "struct": _struct,
    "map": _direct,
}
