"""This module brings input columns to their declared types, and tells the rows that cannot be brought there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from bentobatch.adapters.casting import LossyCastError, cast_exactly, is_number, is_text
from bentobatch.adapters.values import MixedValuesError, NoArrowFormError, array_of
from bentobatch.errors import DataError


def settle_column(array: pa.Array, target: pa.DataType) -> tuple[pa.Array, dict[int, str]]:
    """``array`` as the declared type, and what is wrong with each row that has no such value (null in the result).

    Besides exact casts a declaration allows text to be parsed, numbers to be written as text, and 0 and 1 as truth.
    """
    try:
        return _cast(array, target), {}
    except (LossyCastError, pa.ArrowException):
        pass  # which rows are to blame is found below
    try:
        _cast(array.slice(0, 0), target)
    except (LossyCastError, pa.ArrowException):
        failed = pc.indices_nonzero(array.is_valid()).to_pylist()
        return pa.nulls(len(array), target), dict.fromkeys(failed, f"{array.type} is no {target}")
    bad: dict[int, str] = {}
    pieces = _settle_halves(array, target, 0, bad)
    return pa.concat_arrays(pieces), bad


def _settle_halves(array: pa.Array, target: pa.DataType, start: int, bad: dict[int, str]) -> list[pa.Array]:
    try:
        return [_cast(array, target)]
    except (LossyCastError, pa.ArrowException):
        if len(array) == 1:
            bad[start] = f"{shown(array[0].as_py())} is no {target}"
            return [pa.nulls(1, target)]
    middle = len(array) // 2
    left = _settle_halves(array.slice(0, middle), target, start, bad)
    return left + _settle_halves(array.slice(middle), target, start + middle, bad)


def _cast(array: pa.Array, target: pa.DataType) -> pa.Array:
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    source = array.type
    if is_text(source) and not is_text(target) and not pa.types.is_binary(target):
        return array.cast(target)
    if is_text(target) and (is_number(source) or pa.types.is_boolean(source) or pa.types.is_temporal(source)):
        return array.cast(target)
    if pa.types.is_boolean(source) and is_number(target):
        return cast_exactly(array.cast(pa.int8()), target)
    if pa.types.is_boolean(target) and is_number(source):
        made = array.cast(target)
        if pc.all(pc.equal(made.cast(pa.int8()).cast(source), array)).as_py() is False:
            raise LossyCastError(f"a number other than 0 and 1 is no {target}")
        return made
    return cast_exactly(array, target)


def column_of_json(name: str, values: Sequence[Any], target: pa.DataType | None) -> pa.Array:
    """The values of one column of a JSON document as the declared type, or as the one type that holds them all.

    Raises:
        DataError: naming the column and the row whose value is of another kind, too large, or not of the type.
    """
    try:
        array = array_of(values)
    except NoArrowFormError as error:
        raise DataError(f"column {name!r}: {error}") from error
    except MixedValuesError as error:
        _refuse_long_integers(name, values)
        if target is None:
            raise DataError(f"column {name!r} holds {error}; write values of one kind, or declare its dtype") from error
        return _column_of_mixed(name, values, target)
    if target is None:
        return array
    made, bad = settle_column(array, target)
    for row, problem in bad.items():
        raise DataError(f"column {name!r}, row {row}: {problem}")
    return made


def _column_of_mixed(name: str, values: Sequence[Any], target: pa.DataType) -> pa.Array:
    """Values of several kinds, which the declared type may hold none the less (5 and "5.5" as float64)."""
    pieces = [column_of_json(name, [], target)]
    for row, value in enumerate(values):
        try:
            piece, bad = settle_column(array_of([value]), target)
        except MixedValuesError as error:
            raise DataError(f"column {name!r}, row {row}: {error}") from error
        if bad:
            raise DataError(f"column {name!r}, row {row}: {shown(value)} is no {target}")
        pieces.append(piece)
    return pa.concat_arrays(pieces)


def _refuse_long_integers(name: str, values: Sequence[Any]) -> None:
    for row, value in enumerate(values):
        if type(value) is int and not -(2**63) <= value < 2**64:
            raise DataError(f"column {name!r}, row {row}: the integer {shown(value)} does not fit into 64 bits")


def shown(value: Any, limit: int = 80) -> str:
    """A value in a message, on one line and not too long."""
    try:
        text = repr(value)
    except ValueError:  # an integer of more digits than Python prints
        text = f"an integer of {value.bit_length()} bits"
    return text if len(text) <= limit else text[: limit - 1] + "…"
