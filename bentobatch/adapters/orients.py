"""This module reads JSON tables in pandas' orients as columns of Python values, and never guesses against the features."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from bentobatch.errors import DataError

ORIENTS = ("records", "columns", "values", "split", "index")

Columns = dict[str, list[Any]]


def columns_of_json(
    value: Any, *, orient: str | None = None, names: Sequence[str] | None = None, pick: bool = True
) -> Columns:
    """The columns of a parsed JSON table. ``names`` are the features: rows without names are taken in their order, and
    of rows with names these columns are picked, the others dropped; without ``pick`` rows with names are left as they are.

    A key that a row lacks is null in that row. With no ``orient`` it is found from the shape; a dict of dicts is read
    the way in which its keys are the features', else by columns, as pandas does.

    Raises:
        DataError: the value is no table, its rows are ragged, or a feature is missing.
    """
    if not isinstance(value, (list, dict)):
        raise DataError(f'the input is {_spoken(value)}, not a table; write rows, such as [[1, 2]] or [{{"a": 1}}]')
    found = orient or _guess(value, names)
    table = _BY_POSITION[found](value, names) if found in _BY_POSITION else _BY_NAME[found](value)
    if names is None or (table and not pick):
        return table
    if not table:  # no rows
        return {name: [] for name in names}
    missing = [name for name in names if name not in table]
    if missing:
        word = "column" if len(missing) == 1 else "columns"
        raise DataError(f"missing {word} {_listed(missing)}: the input has {_listed(list(table))}")
    return {name: table[name] for name in names}


def _guess(value: Any, names: Sequence[str] | None) -> str:
    if isinstance(value, list):
        return "records" if value and isinstance(value[0], dict) else "values"
    if _is_split(value, names):
        return "split"
    kinds = {dict if isinstance(each, dict) else list if isinstance(each, list) else None for each in value.values()}
    if kinds == {None}:
        return "records"
    if kinds == {dict} and names is not None:
        inner = set().union(*value.values())
        if not set(names) <= set(value) and set(names) <= inner:
            return "index"
    return "columns"


def _is_split(value: dict[str, Any], names: Sequence[str] | None) -> bool:
    if not {"columns", "data"} <= set(value) <= {"columns", "data", "index"} or (names and set(names) <= set(value)):
        return False
    data = value["data"]
    return isinstance(value["columns"], list) and isinstance(data, list) and all(isinstance(row, list) for row in data)


def _values(value: Any, names: Sequence[str] | None) -> Columns:
    rows = _as_rows(value, names)
    if not rows:
        return {name: [] for name in names or ()}
    for index, row in enumerate(rows):
        if not isinstance(row, list):
            raise DataError(f"row {index} is {_spoken(row)}, expected a list of values such as row 0")
    width = len(rows[0]) if names is None else len(names)
    for index, row in enumerate(rows):
        if len(row) != width:
            other = "row 0 has" if names is None else "the model takes"
            told = "" if names is None else f": {_listed(names)}"
            raise DataError(f"row {index} has {_count(len(row))}, {other} {width}{told}")
    if not width:
        raise DataError("the rows hold no values")
    heads = [str(index) for index in range(width)] if names is None else names
    return {name: list(column) for name, column in zip(heads, zip(*rows, strict=True), strict=True)}


def _as_rows(value: Any, names: Sequence[str] | None) -> list[Any]:
    """Rows of a list, which may itself be one flat row where its width says so."""
    if not isinstance(value, list):
        raise DataError(f"the input is {_spoken(value)}, expected a list of rows, such as [[1, 2], [3, 4]]")
    if not value or any(isinstance(row, (list, dict)) for row in value):
        return value
    if names is not None:
        return [[each] for each in value] if len(names) == 1 else [value]
    raise DataError("a flat list may be one row or one column; write [[1, 2]] for one row, [[1], [2]] for one column")


def _records(value: Any) -> Columns:
    rows = [value] if isinstance(value, dict) else value
    for index, row in enumerate(rows):
        if not isinstance(row, dict):
            raise DataError(f"row {index} is {_spoken(row)}, expected an object of column names and values")
    heads: dict[str, None] = {}
    for row in rows:
        heads.update(dict.fromkeys(row))
    if rows and not heads:
        raise DataError("the rows hold no values")
    return {name: [row.get(name) for row in rows] for name in heads}


def _columns(value: Any) -> Columns:
    if not isinstance(value, dict):
        raise DataError(f'the input is {_spoken(value)}, expected an object of columns, such as {{"a": [1, 2]}}')
    if all(isinstance(column, dict) for column in value.values()):
        rows: dict[str, None] = {}
        for column in value.values():
            rows.update(dict.fromkeys(column))
        return {name: [column.get(row) for row in rows] for name, column in value.items()}
    height = -1
    for name, column in value.items():
        if not isinstance(column, list):
            raise DataError(
                f"column {name!r} is {_spoken(column)} beside columns of many rows; write a list of rows, [{{…}}]"
            )
        if height not in (-1, len(column)):
            raise DataError(f"column {name!r} has {_count(len(column))}, the columns before it {height}")
        height = len(column)
    return value


def _index(value: Any) -> Columns:
    if not isinstance(value, dict):
        raise DataError(f'the input is {_spoken(value)}, expected an object of rows, such as {{"0": {{"a": 1}}}}')
    return _records(list(value.values()))


def _split(value: Any, names: Sequence[str] | None) -> Columns:
    if not isinstance(value, dict) or not isinstance(value.get("data"), list):
        raise DataError('the input is not of orient split; write {"columns": [names], "data": [rows]}')
    if "columns" not in value:
        return _values(value["data"], names)
    heads = value["columns"]
    if not isinstance(heads, list) or any(isinstance(head, (list, dict)) for head in heads):
        raise DataError("columns of orient split must be a list of names")
    texts = [head if isinstance(head, str) else str(head) for head in heads]
    twice = next((text for position, text in enumerate(texts) if text in texts[:position]), None)
    if twice is not None:
        raise DataError(f"duplicate column {twice!r} in the input")
    for index, row in enumerate(value["data"]):
        if not isinstance(row, list) or len(row) != len(texts):
            found = _count(len(row)) if isinstance(row, list) else _spoken(row)
            raise DataError(f"row {index} of data has {found}, columns names {len(texts)}: {_listed(texts)}")
    return {text: [row[position] for row in value["data"]] for position, text in enumerate(texts)}


_BY_NAME: dict[str, Callable[[Any], Columns]] = {"records": _records, "columns": _columns, "index": _index}
_BY_POSITION: dict[str, Callable[[Any, Sequence[str] | None], Columns]] = {"values": _values, "split": _split}


def _count(number: int) -> str:
    return f"{number} value" if number == 1 else f"{number} values"


def _spoken(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a truth value"
    names: dict[type, str] = {dict: "an object", list: "a list", str: "text", int: "a number", float: "a number"}
    return names[type(value)]


def _listed(names: Iterable[str], limit: int = 12) -> str:
    """Names in a message: at most ``limit`` of them."""
    every = [str(name) for name in names]
    if not every:
        return "no columns"
    return ", ".join(every[:limit]) + (f", … ({len(every)} in all)" if len(every) > limit else "")
