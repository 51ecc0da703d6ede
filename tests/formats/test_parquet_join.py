"""Joining Parquet files copies their pages and writes one footer; readers see one ordinary file."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bentobatch.errors import StorageError
from bentobatch.formats import parquet_join
from bentobatch.formats.parquet_join import join_parquet
from bentobatch.formats.write import part_writer

SCHEMA = pa.schema(
    [
        ("id", pa.int64()),
        ("text", pa.string()),
        ("nested", pa.list_(pa.struct([("a", pa.int8()), ("b", pa.bool_())]))),
        ("price", pa.decimal128(10, 2)),
        ("at", pa.timestamp("ns", "UTC")),
    ]
)


def part(rows: int, first: int = 0, *, schema: pa.Schema = SCHEMA) -> io.BytesIO:
    file = io.BytesIO()
    with part_writer("parquet", schema, file, metadata={"first": str(first)}) as writer:
        for start in range(first, first + rows, 1000):
            values = [row(number) for number in range(start, min(start + 1000, first + rows))]
            writer.write(pa.RecordBatch.from_pylist(values, schema=schema))
    file.seek(0)
    return file


def row(number: int) -> dict[str, Any]:
    return {
        "id": number,
        "text": None if number % 5 == 0 else f"word {number % 7}",
        "nested": [{"a": number % 100, "b": number % 2 == 0}] * (number % 3),
        "price": None,
        "at": number,
    }


def joined(parts: list[io.BytesIO]) -> io.BytesIO:
    out = io.BytesIO()
    join_parquet(parts, out, template=part(0, 99).getvalue())
    out.seek(0)
    return out


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 2500), max_size=6))
def test_the_whole_holds_the_rows_of_its_parts_in_order(heights: list[int]) -> None:
    """Whatever their heights, none at all included; types, nulls and page checksums stay as they were."""
    firsts = np.cumsum([0, *heights])
    out = joined([part(height, int(first)) for height, first in zip(heights, firsts, strict=False)])
    with pq.ParquetFile(out, page_checksum_verification=True) as file:
        assert file.schema_arrow.remove_metadata() == SCHEMA
        assert file.metadata.num_rows == sum(heights)
        assert (
            file.read().to_pylist()
            == pa.RecordBatch.from_pylist([row(number) for number in range(sum(heights))], schema=SCHEMA).to_pylist()
        )


def test_many_parts_and_wide_files_are_joined() -> None:
    """Lists of more than fourteen members have another form in a footer; statistics of every row group still hold."""
    wide = pa.schema([(f"c{number}", pa.float64()) for number in range(40)])
    parts = []
    for number in range(20):
        file = io.BytesIO()
        with part_writer("parquet", wide, file, metadata={}) as writer:
            writer.write(pa.RecordBatch.from_arrays([pa.array([float(number)])] * 40, schema=wide))
        parts.append(file)
    template = io.BytesIO()
    part_writer("parquet", wide, template, metadata={"plan": "x"}).close()
    out = io.BytesIO()
    assert join_parquet(parts, out, template=template.getvalue()) == 20
    file = pq.ParquetFile(out)
    assert file.schema_arrow.metadata[b"plan"] == b"x"
    assert [file.metadata.row_group(i).column(39).statistics.min for i in range(20)] == list(map(float, range(20)))
    assert pq.read_table(out, filters=[("c0", ">", 17.0)]).num_rows == 2


def test_parts_of_another_schema_are_refused() -> None:
    """One file has one schema."""
    other = part(3, schema=SCHEMA.remove(1))
    with pytest.raises(StorageError, match="another schema"):
        joined([part(3), other])


@pytest.mark.parametrize("cut", [0, 3, 7, 11, 200])
def test_a_torn_part_is_refused(cut: int) -> None:
    """It ends before its footer does, or has none."""
    data = part(1000).getvalue()
    with pytest.raises(StorageError, match="no whole Parquet file"):
        joined([io.BytesIO(data[:cut] if cut < 12 else data[:-cut])])


def test_a_damaged_footer_raises_nothing_but_our_error() -> None:
    """Whatever its bytes, the error is ours: nothing else leaves the reader."""
    data = bytearray(part(1000).getvalue())
    length = int.from_bytes(data[-8:-4], "little")
    for place in range(len(data) - 8 - length, len(data) - 8, 7):
        broken = bytearray(data)
        broken[place] ^= 0xFF
        with contextlib.suppress(StorageError):  # a byte of a statistic may change without any notice
            joined([io.BytesIO(bytes(broken))])


@settings(max_examples=200, deadline=None)
@given(st.integers(-(2**63), 2**63 - 1))
def test_integers_survive_the_compact_protocol(value: int) -> None:
    """Zigzag and variable length, from one byte to ten."""
    made = parquet_join._Struct([(1, parquet_join._I64, value), (300, parquet_join._I32, 7)])
    data = parquet_join._encoded(parquet_join._STRUCT, made)
    assert parquet_join._Reader(data).struct() == made
