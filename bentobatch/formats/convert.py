"""This module settles the type of every column over all files of a job, and casts batches to the settled types.

No value changes silently: all casts are safe ones, and a row whose value does not fit becomes null and a BadRow.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from bentobatch.errors import DataError
from bentobatch.rows import BadRow

_UNITS = ("s", "ms", "us", "ns")
_DIGITS = {8: 3, 16: 5, 32: 10, 64: 20}
_SHOWN = 80
_bits = attrgetter("bit_width")
_DELIMITERS = ";\t|,"


def widest(a: Any, b: Any) -> Any:
    """The narrowest type that values of both ``a`` and ``b`` can be cast to, or None where there is none.

    Null goes with anything. Integers widen among each other (uint64 with a signed one: int64, whose cast refuses what
    does not fit) and with floats to float64; bool goes with bool alone. Decimals keep all digits and widen with
    integers, and with floats to float64. Timestamps take the finer unit, within one zone. Strings (or binaries) of all
    layouts agree. A dictionary counts as its values unless both are equal. Lists and structs agree by their members.
    """
    if a.equals(b):
        return a
    a, b = _plain(a), _plain(b)
    if a.equals(b) or pa.types.is_null(b):
        return a
    if pa.types.is_null(a):
        return b
    for rule in (_widest_number, _widest_time, _widest_text, _widest_nested):
        found = rule(a, b)
        if found is not None:
            return found
    return None


def _plain(type: Any) -> Any:
    """The type of the values where ``type`` is only a way to store them (a dictionary, runs, an extension)."""
    while True:
        if pa.types.is_dictionary(type) or pa.types.is_run_end_encoded(type):
            type = type.value_type
        elif isinstance(type, pa.BaseExtensionType):
            type = type.storage_type
        else:
            return type


def _widest_number(a: Any, b: Any) -> Any:
    types = pa.types
    if types.is_decimal(a) or types.is_decimal(b):
        return _widest_decimal(a, b)
    if types.is_integer(a) and types.is_integer(b):
        return _widest_integer(a, b)
    if types.is_floating(a) and types.is_floating(b):
        return max(a, b, key=_bits)
    if (types.is_floating(a) and types.is_integer(b)) or (types.is_integer(a) and types.is_floating(b)):
        return pa.float64()
    return None


def _widest_integer(a: Any, b: Any) -> Any:
    if pa.types.is_signed_integer(a) == pa.types.is_signed_integer(b):
        return max(a, b, key=_bits)
    unsigned, signed = (b, a) if pa.types.is_signed_integer(a) else (a, b)
    bits = max(signed.bit_width, min(64, 2 * unsigned.bit_width))
    return {16: pa.int16(), 32: pa.int32(), 64: pa.int64()}[bits]


def _widest_decimal(a: Any, b: Any) -> Any:
    if pa.types.is_floating(a) or pa.types.is_floating(b):
        return pa.float64()
    whole, scale = 0, 0
    for type in (a, b):
        if pa.types.is_decimal(type):
            whole, scale = max(whole, type.precision - type.scale), max(scale, type.scale)
        elif pa.types.is_integer(type):
            whole = max(whole, _DIGITS[type.bit_width])
        else:
            return None
    if whole + scale > 76:
        return None
    return pa.decimal128(whole + scale, scale) if whole + scale <= 38 else pa.decimal256(whole + scale, scale)


def _widest_time(a: Any, b: Any) -> Any:
    types = pa.types
    if types.is_date(a) and types.is_date(b):
        return pa.date64()
    if types.is_time(a) and types.is_time(b):
        unit = _finer(a.unit, b.unit)
        return pa.time32(unit) if unit in ("s", "ms") else pa.time64(unit)
    if types.is_duration(a) and types.is_duration(b):
        return pa.duration(_finer(a.unit, b.unit))
    if types.is_timestamp(b) and types.is_date(a):
        a, b = b, a
    if types.is_timestamp(a) and types.is_date(b) and a.tz is None:
        return pa.timestamp(_finer(a.unit, "ms") if types.is_date64(b) else a.unit)
    if types.is_timestamp(a) and types.is_timestamp(b) and a.tz == b.tz:
        return pa.timestamp(_finer(a.unit, b.unit), a.tz)
    return None


def _finer(a: str, b: str) -> str:
    return max(a, b, key=_UNITS.index)


def _is_text(type: Any) -> bool:
    return bool(pa.types.is_string(type) or pa.types.is_large_string(type) or pa.types.is_string_view(type))


def _is_bytes(type: Any) -> bool:
    types = pa.types
    return bool(
        types.is_binary(type)
        or types.is_large_binary(type)
        or types.is_binary_view(type)
        or types.is_fixed_size_binary(type)
    )


def _widest_text(a: Any, b: Any) -> Any:
    if _is_text(a) and _is_text(b):
        return pa.large_string() if pa.large_string() in (a, b) else pa.string()
    if _is_bytes(a) and _is_bytes(b):
        return pa.large_binary() if pa.large_binary() in (a, b) else pa.binary()
    return None


def _is_list(type: Any) -> bool:  # list views are left out: pyarrow 26 casts them wrongly
    return bool(pa.types.is_list(type) or pa.types.is_large_list(type) or pa.types.is_fixed_size_list(type))


def _widest_nested(a: Any, b: Any) -> Any:
    types = pa.types
    if _is_list(a) and _is_list(b):
        value = widest(a.value_type, b.value_type)
        if value is None:
            return None
        if types.is_fixed_size_list(a) and types.is_fixed_size_list(b) and a.list_size == b.list_size:
            return pa.list_(value, a.list_size)
        return pa.large_list(value) if types.is_large_list(a) or types.is_large_list(b) else pa.list_(value)
    if types.is_map(a) and types.is_map(b):
        key, item = widest(a.key_type, b.key_type), widest(a.item_type, b.item_type)
        return None if key is None or item is None else pa.map_(key, item)
    if types.is_struct(a) and types.is_struct(b):
        return _widest_struct(a, b)
    return None


def _widest_struct(a: Any, b: Any) -> Any:
    found: dict[str, Any] = {}
    for struct in (a, b):
        members = [struct.field(index) for index in range(struct.num_fields)]
        if len({member.name for member in members}) < len(members):
            return None
        for member in members:
            type = widest(found.get(member.name, pa.null()), member.type)
            if type is None:
                return None
            found[member.name] = type
    return pa.struct([pa.field(name, type) for name, type in found.items()])


def accepts(declared: Any, type: Any) -> bool:
    """Whether a column of ``type`` in a typed file may stand for one declared as ``declared``.

    Kinds must agree: numbers with numbers (bool counts as 0 and 1 here, since it was asked for), text with text. Each
    value is then cast safely, so that a 1.5 in a column declared as an integer costs that row.
    """
    if pa.types.is_boolean(_plain(type)):
        kinds = (pa.types.is_boolean, pa.types.is_integer, pa.types.is_floating, pa.types.is_null)
        return any(kind(_plain(declared)) for kind in kinds)
    return widest(declared, type) is not None


def conform_files(
    schemas: Sequence[tuple[str, Any]],
    columns: Sequence[str] | None,
    types: Mapping[str, Any],
    *,
    optional: Collection[str] = (),
) -> Any:
    """One schema for all files of a job: the wanted columns in order, each with the type that all its values fit.

    ``schemas`` are (label, schema) pairs, the label being the name that a message shows. ``columns`` None means every
    column, and each file must then have them all. A column in ``optional`` may be absent from some files (its rows are
    null). ``types`` are declared types: such a column has that type. Partition columns belong into the schemas, with
    the declared type or as strings. The result has no metadata and only nullable fields.

    Raises:
        DataError: a file lacks a column, has it twice, or has it in a type that does not go with the others'.
    """
    if columns is None:
        columns = list(dict.fromkeys(name for _, schema in schemas for name in schema.names))
    return pa.schema([pa.field(name, _settle(name, schemas, types.get(name), name in optional)) for name in columns])


def _settle(name: str, schemas: Sequence[tuple[str, Any]], declared: Any, optional: bool) -> Any:
    settled = declared
    seen: dict[Any, str] = {}
    for label, schema in schemas:
        indices = schema.get_all_field_indices(name)
        if len(indices) > 1:
            raise DataError(
                f"{label}: duplicate column {name}: {len(indices)} columns have this name; rename or drop one"
            )
        if not indices:
            if optional:
                continue
            raise DataError(f"{label}: missing column {name}{_hint(name, schema.names)}")
        type = schema.field(indices[0]).type
        if type in seen:  # thousands of files, few types
            continue
        if declared is not None:
            if not accepts(declared, type):
                raise DataError(f"{label}: column {name} is {type}, but the api takes {declared}")
        elif settled is None:
            # as it is: a dictionary or an extension that all files agree on stays one; runs have no casts in pyarrow
            settled = _plain(type) if pa.types.is_run_end_encoded(type) else type
        else:
            wider = widest(settled, type)
            if wider is None:
                other = next((old for old in seen if widest(old, type) is None), next(iter(seen)))
                both = f"{type} in {label}, {other} in {seen[other]}"
                raise DataError(f"column {name} is {both}: give all files one type, or declare it")
            settled = wider
        seen[type] = label
    return pa.null() if settled is None else settled


def _hint(name: str, names: Sequence[str]) -> str:
    near = next((other for other in names if other.strip().casefold() == name.strip().casefold()), None)
    if near is not None:
        return f"; it has {near[:_SHOWN]!r}, which is spelled differently"
    if len(names) == 1 and any(mark in names[0] for mark in _DELIMITERS):
        return f"; its only column is {names[0][:_SHOWN]!r}: give the right --delimiter"
    if not names:
        return "; it has no columns"
    return f"; it has {shown_names(names, most=8)}"


def shown_names(names: Sequence[str], *, most: int = 12) -> str:
    """Column names for a message: the first ``most``, long ones cut, since a header may be anything."""
    cut = [name if len(name) <= _SHOWN else name[:_SHOWN] + "…" for name in names[:most]]
    return ", ".join(cut) + (", …" if len(names) > most else "")


def cast_batch(batch: Any, schema: Any) -> tuple[Any, list[BadRow]]:
    """``batch`` with the columns and types of ``schema``, found by name, and the rows that do not fit.

    A column that is of the right type already is not copied. One that the batch lacks is filled with nulls. Text is
    parsed where a number, a bool or a time is wanted (blanks around it are ignored). A value that cannot be cast
    without loss becomes null, and its row a BadRow of stage "read" whose error names column and value.

    Raises:
        DataError: a column cannot be cast at all, whatever its values, or stands in the batch twice.
    """
    if batch.schema.equals(schema):
        return batch, []
    bad: dict[int, BadRow] = {}
    columns = []
    for field in schema:
        indices = batch.schema.get_all_field_indices(field.name)
        if len(indices) > 1:
            raise DataError(f"duplicate column {field.name}: {len(indices)} columns have this name; rename or drop one")
        if not indices:
            columns.append(pa.nulls(batch.num_rows, field.type))
            continue
        columns.append(_cast_column(field.name, batch.column(indices[0]), field.type, bad))
    if not columns:
        return rows_without_columns(batch.num_rows), []
    return pa.RecordBatch.from_arrays(columns, schema=schema), [bad[index] for index in sorted(bad)]


def rows_without_columns(rows: int) -> Any:
    """A record batch of no columns that still has ``rows`` rows."""
    return pa.record_batch([pa.nulls(rows)], names=["_"]).select([])


def _cast_column(name: str, column: Any, type: Any, bad: dict[int, BadRow]) -> Any:
    if column.type.equals(type):
        return column
    try:
        try:
            return cast_values(column, type)
        except pa.ArrowInvalid:
            pieces = list(_cast_rows(name, column, type, 0, bad))
    except (pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
        raise DataError(f"column {name} is {column.type} and cannot be read as {type}") from error
    return pa.concat_arrays(pieces)


def cast_values(column: Any, type: Any) -> Any:
    """An array as one of ``type``, safely; where pyarrow has no cast from a way to store values, they are unpacked first.

    Raises:
        pa.ArrowInvalid: a value does not fit.
        pa.ArrowNotImplementedError, pa.ArrowTypeError: no value could.
    """
    plain = _plain(column.type)
    if not plain.equals(column.type) and not pa.types.is_dictionary(type):
        if isinstance(column.type, pa.BaseExtensionType):
            column = column.storage
        if pa.types.is_run_end_encoded(column.type):  # pyarrow has no cast from runs
            column = pc.run_end_decode(column)
        column = pc.cast(column, plain)
    if column.type.equals(type):
        return column
    if isinstance(type, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(type, cast_values(column, type.storage_type))
    return pc.cast(column, type)


def _cast_rows(name: str, column: Any, type: Any, first: int, bad: dict[int, BadRow]) -> Iterator[Any]:
    """The casts of halves, of their halves…, down to the single values that fail; ``first`` is the row of column[0]."""
    if len(column) == 1:
        yield _cast_value(name, column, type, first, bad)
        return
    middle = len(column) // 2
    for half, start in ((column.slice(0, middle), first), (column.slice(middle), first + middle)):
        found = _cast_or_none(half, type)
        if found is None:
            yield from _cast_rows(name, half, type, start, bad)
        else:
            yield found


def _cast_or_none(column: Any, type: Any) -> Any:
    try:
        return cast_values(column, type)
    except pa.ArrowInvalid:
        return None


def _cast_value(name: str, column: Any, type: Any, row: int, bad: dict[int, BadRow]) -> Any:
    """The cast of an array of one value; null and an entry in ``bad`` where it fails."""
    temporal = pa.types.is_temporal(_plain(column.type))  # as_py fails for years past 9999
    value = (pc.cast(column, pa.string()) if temporal else column)[0].as_py()
    if isinstance(value, str) and not temporal and value != value.strip():
        found = _cast_or_none(pa.array([value.strip()]), type)
        if found is not None:
            return found
    if isinstance(value, int) and pa.types.is_floating(type):  # pyarrow refuses all beyond 2**53, exact ones too
        found = pc.cast(column, type, safe=False)
        if found[0].as_py() == value:
            return found
    text = value if temporal else repr(value)
    shown = text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
    error = f"column {name}: {shown} is not a valid {type}"
    if row in bad:
        error = f"{bad[row].error}; {error}"
    bad[row] = BadRow(row, "read", "ValueError", error)
    return pa.nulls(1, type)
