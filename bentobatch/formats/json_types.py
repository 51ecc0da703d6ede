"""This module finds the columns of JSON lines and the narrowest type of each, over a whole file, block by block.

null < bool; null < int64 < float64; null < string; lists and objects by their members. Anything else, mixtures inside
a list or an object included, makes a column of strings, which keeps what is no string as its JSON text; so does an
object that is always empty, since no file format can hold a struct without fields. Strings that look like dates are
strings. Integers beyond 64 bits count as int64: they are bad values, not a reason to make floats of all others.
"""

from __future__ import annotations

import json
import math
import os
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import orjson
import pyarrow as pa

from bentobatch.formats.json_guard import deep_rows, holds_beyond, is_plain, parse_line, parse_line_exactly
from bentobatch.formats.json_rows import read_objects
from bentobatch.formats.number_rows import odd_json_rows
from bentobatch.formats.records import Records

_SAMPLE_ROWS = 1000
_THREADS = min(4, os.cpu_count() or 1)
_SCALARS = {bool: "bool", int: "int", float: "float", str: "string"}
_TYPES = {"bool": pa.bool_(), "int": pa.int64(), "float": pa.float64(), "string": pa.string()}


class _Shape:
    """What values were seen in one place: their kinds, and the shapes of what lists and objects hold there."""

    __slots__ = ("fields", "items", "kinds")

    def __init__(self) -> None:
        self.kinds: set[str] = set()
        self.items: _Shape | None = None
        self.fields: dict[str, _Shape] = {}

    def add(self, value: Any) -> None:
        """Take one value into account."""
        if value is None:
            return
        kind = _SCALARS.get(value.__class__)
        if kind is not None:
            if value not in (math.inf, -math.inf):  # a number that overflowed, and is bad in any column
                self.kinds.add(kind)
        elif isinstance(value, list):
            self.kinds.add("list")
            if self.items is None:
                self.items = _Shape()
            for item in value:
                self.items.add(item)
        else:
            self.kinds.add("object")
            for key, item in value.items():
                self.fields.setdefault(key, _Shape()).add(item)

    def arrow(self) -> Any:
        """The type of all these values, or None where they have none in common."""
        if not self.kinds:
            return pa.null()
        if self.kinds == {"int", "float"}:
            return pa.float64()
        if len(self.kinds) > 1:
            return None
        (kind,) = self.kinds
        if kind in _TYPES:
            return _TYPES[kind]
        if kind == "list":
            item = self.items.arrow() if self.items is not None else pa.null()
            return None if item is None else pa.list_(item)
        fields = [(key, shape.arrow()) for key, shape in self.fields.items()]
        return None if any(type is None for _, type in fields) else pa.struct(fields)


class JsonTypes:
    """Finds columns and types. ``wanted`` None: of all columns; ``declared`` columns need no type.

    A few rows are looked at one by one; pyarrow then tries whether the rest agrees with them, which is most often so
    and several times faster. Where it does not, the block is looked at row by row again.
    """

    def __init__(self, wanted: Sequence[str] | None, declared: Collection[str]) -> None:
        self._wanted = wanted
        self._declared = set(declared)
        self._shapes: dict[str, _Shape | None] = {}  # None: a column whose type does not matter
        self._begun = False
        self._pool: ThreadPoolExecutor | None = None
        self._tried: deque[tuple[Records, Future[bool]]] = deque()

    @property
    def columns(self) -> dict[str, Any]:
        """Every column seen so far, in the order of first sight, with its type (null where it does not matter)."""
        return {name: pa.null() if shape is None else _settle(shape) for name, shape in self._shapes.items()}

    def add(self, records: Records) -> None:
        """Look at more rows. Rows that are bad whatever their types (see JsonRows) are passed over.

        Whether a block agrees with what was seen before it is tried in threads, for some blocks at a time; blocks that do
        not are looked at in their order. What agrees with the narrower types of earlier blocks agrees with all later ones,
        so the answer is that of one thread.
        """
        if not self._begun:
            self._begun = True
            self._look(records.part(0, _SAMPLE_ROWS))
            records = records.part(_SAMPLE_ROWS, len(records))
        if not len(records):
            return
        odd = self._odd(records)
        if odd is not None:
            if odd:
                self._settle_all()  # columns are listed in the order of first sight
                self._look(records, odd)
            return
        if self._pool is None:
            self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="bentobatch-json")
        self._tried.append(
            (records, self._pool.submit(_agrees, records, self._open(), set(self._shapes), self._wanted))
        )
        if len(self._tried) > _THREADS:
            self._settle_first()

    def finish(self) -> None:
        """Settle the blocks that are still being tried; called once, after the last ``add``."""
        self._settle_all()
        if self._pool is not None:
            self._pool.shutdown()

    def _settle_all(self) -> None:
        while self._tried:
            self._settle_first()

    def _settle_first(self) -> None:
        records, agrees = self._tried.popleft()
        # types that widened meanwhile may have made this block's trial out of date, but never wrong to trust
        if not agrees.result():
            self._look(records)

    def _odd(self, records: Records) -> list[int] | None:
        """The rows that may widen a type; None where all are to be parsed. Keys are seen without their digits, so a column
        that nobody has named could be missed."""
        if self._wanted is None or any(
            _mentions(records.data, name) for name in self._wanted if name not in self._shapes
        ):
            return None
        return odd_json_rows(records, self._nothing_new())

    def _nothing_new(self) -> dict[str, frozenset[str] | None]:
        """For each column the kinds of numbers that leave its type as it is; None where any value does."""
        found: dict[str, frozenset[str] | None] = {}
        for name, shape in self._shapes.items():
            type = None if shape is None else shape.arrow()
            if shape is None or type is None or pa.types.is_string(type):
                found[name] = None
            else:
                found[name] = frozenset(shape.kinds | ({"int"} if pa.types.is_floating(type) else set()))
        return found

    def _look(self, records: Records, rows: Sequence[int] | None = None) -> None:
        """Look at all rows one by one, or at those."""
        deep = set(deep_rows(records))
        for index in range(len(records)) if rows is None else rows:
            if index in deep:
                continue
            line = records.row(index)
            try:
                row = parse_line(line)
            except ValueError:
                continue
            if isinstance(row, dict):
                if holds_beyond(row):
                    row = parse_line_exactly(line)
                self._take(row)

    def _take(self, row: dict[str, Any]) -> None:
        for name, value in row.items():
            if name not in self._shapes:
                matters = name not in self._declared and (self._wanted is None or name in self._wanted)
                self._shapes[name] = _Shape() if matters else None
            shape = self._shapes[name]
            if shape is not None:
                shape.add(value)

    def _open(self) -> dict[str, Any]:
        """The columns whose type may widen yet."""
        types = {name: shape.arrow() for name, shape in self._shapes.items() if shape is not None}
        return {name: type for name, type in types.items() if type is not None and not pa.types.is_string(type)}


def _agrees(records: Records, open: Mapping[str, Any], known: Collection[str], wanted: Sequence[str] | None) -> bool:
    """Whether pyarrow finds nothing new in these rows: no column that matters, no value of a wider type than in ``open``,
    the columns whose type may widen; ``known`` are all columns."""
    if wanted is None:
        return _agrees_fully(records, open, known)
    if any(_mentions(records.data, name) for name in wanted if name not in known):
        return False
    if any(_has_struct(type) for type in open.values()):
        return _agrees_fully(records, open, known)
    if not open:
        return True
    if not is_plain(records):
        return False
    try:
        read_objects(records, pa.schema(list(open.items())), unexpected="ignore")
    except pa.ArrowInvalid:
        return False
    return True


def _agrees_fully(records: Records, open: Mapping[str, Any], known: Collection[str]) -> bool:
    """_agrees where a new column, or a new key inside one, must not be missed."""
    if not is_plain(records):
        return False
    schema = pa.schema(list(open.items()))
    try:
        found = read_objects(records, schema, unexpected="infer").schema
    except pa.ArrowInvalid:
        return False
    return all(name in known for name in found.names if name != "\0") and all(
        found.field(field.name).type.equals(field.type) for field in schema
    )


def _settle(shape: _Shape) -> Any:
    type = shape.arrow()
    return pa.string() if type is None or _has_empty_struct(type) else type


def _has_empty_struct(type: Any) -> bool:
    if pa.types.is_list(type):
        return _has_empty_struct(type.value_type)
    if pa.types.is_struct(type):
        return not type.num_fields or any(_has_empty_struct(field.type) for field in type)
    return False


def _has_struct(type: Any) -> bool:
    if pa.types.is_list(type):
        return _has_struct(type.value_type)
    return bool(pa.types.is_struct(type))


def _mentions(data: bytes, name: str) -> bool:
    """Whether ``name`` may be a key somewhere in ``data``."""
    return orjson.dumps(name) in data or json.dumps(name).encode() in data
