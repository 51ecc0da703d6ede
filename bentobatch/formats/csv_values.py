"""This module turns the text of CSV fields into columns: what parses as which type, and which values do not parse.

pyarrow's CSV converters are the definition of what parses, with three exceptions: 0x10 is no integer, a number that
overflows to infinity is no float, and a bool may be spelled 1 or 0 only where a bool was asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv as arrow_csv

from bentobatch.errors import DataError

TRUE, FALSE = ["true", "True", "TRUE"], ["false", "False", "FALSE"]
_HEX = r"^[ \t]*0[xX]"
_SHOWN = 80
_NAMES = {"double": "float64", "float": "float32", "halffloat": "float16"}

# Whatever does not match cannot parse: a cheap way to sort out most of what is wrong before values are tried.
_INTEGER = r"^[ \t]*-?[0-9]+[ \t]*$"
_FLOAT = r"(?i)^[ \t]*[+-]?([0-9.]+(e[+-]?[0-9]+)?|inf|infinity|nan)[ \t]*$"


_CACHED_BYTES = 512 << 10
"""pyarrow parses blocks of this size in half the time that those of many megabytes take: they stay in the CPU's cache."""


def parsed_at_once(size: int, longest: int | None) -> int:
    """How many of ``size`` bytes pyarrow's readers are to take for a block, where no record is longer than ``longest``."""
    # each block must hold a record's end
    return min(size + 1, _CACHED_BYTES) if longest is not None and 2 * longest < _CACHED_BYTES else size + 1


def is_text(type: Any) -> bool:
    """Whether values of ``type`` are the fields' own text (or bytes), a dictionary of it included."""
    types = pa.types
    if types.is_dictionary(type):
        type = type.value_type
    return bool(
        types.is_string(type)
        or types.is_large_string(type)
        or types.is_string_view(type)
        or types.is_binary(type)
        or types.is_large_binary(type)
        or types.is_binary_view(type)
    )


def parsed_as(type: Any) -> Any:
    """The type that pyarrow's CSV reader is asked for where ``type`` is wanted; the result is cast to ``type``.

    Raises:
        DataError: no text stands for a value of this type.
    """
    types = pa.types
    if types.is_dictionary(type) and is_text(type) and type.index_type.bit_width >= 32:
        return parsed_as(type.value_type)
    if (
        types.is_nested(type)
        or types.is_dictionary(type)
        or types.is_run_end_encoded(type)
        or isinstance(type, pa.BaseExtensionType)
    ):
        raise DataError(f"a text field cannot be read as {type}")
    if types.is_float16(type):
        return pa.float64()
    if types.is_string_view(type):
        return pa.large_string()
    return pa.large_binary() if types.is_binary_view(type) else type


def read_fields(
    data: bytes,
    names: Sequence[str],
    types: Mapping[str, Any],
    *,
    delimiter: str = ",",
    nulls: Sequence[str] = (),
    quoted_nulls: bool = True,
    longest: int | None = None,
) -> dict[str, Any]:
    """The columns in ``types`` of whole CSV records without a header, in the types of ``parsed_as``, not checked.
    ``longest``: bytes of the longest record, line end included, where no line end is quoted; where it is not told, the
    records are parsed as one block: pyarrow 26 loses a quoted line end where a block ends in it.

    Raises:
        pyarrow.ArrowInvalid: a value does not parse, or a row has more or fewer fields than ``names``.
    """
    table = arrow_csv.read_csv(
        pa.BufferReader(data),
        read_options=arrow_csv.ReadOptions(
            use_threads=False, block_size=parsed_at_once(len(data), longest), column_names=list(names)
        ),
        parse_options=arrow_csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
        convert_options=arrow_csv.ConvertOptions(
            include_columns=list(types),
            column_types={name: parsed_as(type) for name, type in types.items()},
            null_values=list(nulls),
            true_values=["1", *TRUE],
            false_values=["0", *FALSE],
            strings_can_be_null=True,
            quoted_strings_can_be_null=quoted_nulls,
        ),
    )
    return {name: _whole(table.column(name)) for name in types}


def _whole(column: Any) -> Any:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def may_overflow(column: Any) -> bool:
    """Whether a parsed column holds an infinity, which may have been a number too large."""
    return bool(pa.types.is_floating(column.type)) and bool(pc.any(pc.is_inf(column)).as_py())


def holds_hex(data: bytes) -> bool:
    """Whether an integer spelled 0x10 may stand in ``data``."""
    return (b"x" in data and b"0x" in data) or (b"X" in data and b"0X" in data)


def is_hex(texts: Any) -> Any:
    """Which of the texts pyarrow would read as a hexadecimal integer."""
    return pc.match_substring_regex(texts, _HEX)


def parse_texts(texts: Any, type: Any) -> tuple[Any, list[int]]:
    """A column of ``type`` from an array of strings, and the indices of those that do not parse (null in the column)."""
    if is_text(type):
        return texts.cast(type), []
    wanted = parsed_as(type)
    possible = _possible(texts, wanted)
    found = _convert(texts.filter(possible), wanted)
    column = pa.concat_arrays(found) if found else pa.nulls(0, wanted)
    column = column.take(_places(possible))
    if pa.types.is_float16(type):
        column = pc.cast(column, type)
    if pa.types.is_floating(column.type):
        spelled = pc.fill_null(pc.match_substring_regex(texts, "(?i)inf"), False)
        column = pc.if_else(pc.and_not(pc.fill_null(pc.is_inf(column), False), spelled), None, column)
    failed = np.flatnonzero(_bits(column.is_null()) & ~_bits(texts.is_null()))
    return (column if column.type.equals(type) else column.cast(type)), failed.tolist()


def _bits(column: Any) -> npt.NDArray[np.bool_]:
    return np.asarray(column.to_numpy(zero_copy_only=False), np.bool_)


def _places(chosen: Any) -> Any:
    """For each row its place among the chosen ones, or null."""
    mask = _bits(chosen)
    return pa.array(np.cumsum(mask) - 1, mask=~mask)


def _possible(texts: Any, type: Any) -> Any:
    """Which texts are worth a try; null and hopeless ones are not."""
    if pa.types.is_integer(type):
        return pc.fill_null(pc.match_substring_regex(texts, _INTEGER), False)
    if pa.types.is_floating(type):
        return pc.fill_null(pc.match_substring_regex(texts, _FLOAT), False)
    if pa.types.is_null(type):
        return pa.repeat(pa.scalar(False), len(texts))
    return texts.is_valid()


def _convert(texts: Any, type: Any) -> list[Any]:
    """The values of ``texts`` (no nulls) in pieces: halves, and their halves, until each parses or is one row."""
    if not len(texts):
        return []
    try:
        return [_convert_at_once(texts, type)]
    except pa.ArrowInvalid:
        if len(texts) == 1:
            return [pa.nulls(1, type)]
    middle = len(texts) // 2
    return [*_convert(texts.slice(0, middle), type), *_convert(texts.slice(middle), type)]


def _convert_at_once(texts: Any, type: Any) -> Any:
    if pa.types.is_integer(type) or pa.types.is_floating(type):  # the cast agrees with the CSV converter here
        return pc.cast(pc.ascii_trim(texts, " \t"), type)
    records = "".join('"' + text.replace('"', '""') + '"\n' for text in texts.to_pylist())
    return read_fields(records.encode(), ["x"], {"x": type})["x"]


def complaint(name: str, value: object, type: Any) -> str:
    """What to say of a value that does not parse, in one line."""
    shown = repr(value)
    if len(shown) > _SHOWN:
        shown = shown[:_SHOWN] + "…"
    return f"column {name}: {shown} is not a valid {_NAMES.get(str(type), type)}"
