"""This module tests how types are settled over files, and that casts lose no value silently."""

from __future__ import annotations

import datetime
import decimal
import itertools

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bentobatch.errors import DataError
from bentobatch.formats.convert import accepts, cast_batch, conform_files, rows_without_columns, widest

WORDS = pa.dictionary(pa.int32(), pa.string())

WIDEST = [
    (pa.int8(), pa.int64(), pa.int64()),
    (pa.int8(), pa.uint8(), pa.int16()),
    (pa.int32(), pa.uint32(), pa.int64()),
    (pa.int64(), pa.uint64(), pa.int64()),
    (pa.int64(), pa.uint8(), pa.int64()),
    (pa.uint8(), pa.uint64(), pa.uint64()),
    (pa.int64(), pa.float64(), pa.float64()),
    (pa.int8(), pa.float32(), pa.float64()),
    (pa.float16(), pa.float64(), pa.float64()),
    (pa.null(), pa.bool_(), pa.bool_()),
    (pa.null(), WORDS, pa.string()),
    (pa.null(), pa.list_(pa.int64()), pa.list_(pa.int64())),
    (WORDS, WORDS, WORDS),
    (WORDS, pa.string(), pa.string()),
    (WORDS, pa.dictionary(pa.int8(), pa.string()), pa.string()),
    (pa.string(), pa.large_string(), pa.large_string()),
    (pa.string_view(), pa.string(), pa.string()),
    (pa.string_view(), pa.large_string(), pa.large_string()),
    (pa.binary(2), pa.binary(3), pa.binary()),
    (pa.binary(), pa.large_binary(), pa.large_binary()),
    (pa.timestamp("s"), pa.timestamp("ns"), pa.timestamp("ns")),
    (pa.timestamp("ms", "UTC"), pa.timestamp("us", "UTC"), pa.timestamp("us", "UTC")),
    (pa.date32(), pa.date64(), pa.date64()),
    (pa.date32(), pa.timestamp("s"), pa.timestamp("s")),
    (pa.date64(), pa.timestamp("s"), pa.timestamp("ms")),
    (pa.time32("s"), pa.time64("us"), pa.time64("us")),
    (pa.time32("s"), pa.time32("ms"), pa.time32("ms")),
    (pa.duration("s"), pa.duration("us"), pa.duration("us")),
    (pa.decimal128(5, 2), pa.decimal128(6, 4), pa.decimal128(7, 4)),
    (pa.decimal128(38, 0), pa.decimal128(38, 10), pa.decimal256(48, 10)),
    (pa.decimal128(5, 2), pa.int64(), pa.decimal128(22, 2)),
    (pa.decimal128(5, 2), pa.float32(), pa.float64()),
    (pa.list_(pa.int8()), pa.list_(pa.float64()), pa.list_(pa.float64())),
    (pa.list_(pa.int8()), pa.large_list(pa.int8()), pa.large_list(pa.int8())),
    (pa.list_(pa.int8(), 2), pa.list_(pa.int16(), 2), pa.list_(pa.int16(), 2)),
    (pa.list_(pa.int8(), 2), pa.list_(pa.int8(), 3), pa.list_(pa.int8())),
    (
        pa.struct([("a", pa.int8())]),
        pa.struct([("a", pa.int16()), ("b", pa.string())]),
        pa.struct([("a", pa.int16()), ("b", pa.string())]),
    ),
    (pa.map_(pa.string(), pa.int8()), pa.map_(pa.string(), pa.int16()), pa.map_(pa.string(), pa.int16())),
]


@pytest.mark.parametrize(("a", "b", "expected"), WIDEST)
def test_the_widest_type_holds_both(a, b, expected):
    """Whichever comes first (the members of a struct keep the order in which they appear)."""
    assert widest(a, b) == expected
    if not pa.types.is_struct(expected):
        assert widest(b, a) == expected


INCOMPATIBLE = [
    (pa.bool_(), pa.int64()),
    (pa.bool_(), pa.float64()),
    (pa.bool_(), pa.decimal128(5, 2)),
    (pa.string(), pa.int64()),
    (pa.string(), pa.float64()),
    (pa.string(), pa.binary()),
    (pa.string(), pa.timestamp("s")),
    (pa.timestamp("s"), pa.timestamp("s", "UTC")),
    (pa.timestamp("s", "Europe/Berlin"), pa.timestamp("s", "UTC")),
    (pa.date32(), pa.timestamp("s", "UTC")),
    (pa.timestamp("s"), pa.int64()),
    (pa.duration("s"), pa.time32("s")),
    (pa.decimal256(76, 0), pa.decimal256(76, 10)),
    (pa.list_(pa.string()), pa.list_(pa.int64())),
    (pa.list_(pa.int64()), pa.list_view(pa.int64())),
    (pa.list_(pa.int64()), pa.int64()),
    (pa.struct([("a", pa.int8())]), pa.struct([("a", pa.string())])),
    (pa.struct([("a", pa.int8()), ("a", pa.int8())]), pa.struct([("a", pa.int16())])),
    (pa.map_(pa.string(), pa.int8()), pa.map_(pa.int8(), pa.int8())),
]


@pytest.mark.parametrize(("a", "b"), INCOMPATIBLE)
def test_kinds_do_not_mix(a, b):
    """No text is guessed to be a number, no bool one, no time without a zone one with it."""
    assert widest(a, b) is None
    assert widest(b, a) is None


SCALARS = sorted({type for pair in WIDEST for type in pair[:2] if not pa.types.is_nested(type)}, key=str)


@given(st.lists(st.sampled_from(SCALARS), min_size=1, max_size=4))
def test_the_widest_type_does_not_depend_on_the_order_of_files(types):
    """Where a type is found in one order, every other order finds it too."""

    def fold(order):
        found = pa.null()
        for type in order:
            found = found if found is None else widest(found, type)
        return found

    assert len({str(fold(order)) for order in itertools.permutations(types)}) == 1


INTEGERS = [pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()]


@given(st.data())
def test_a_cast_keeps_every_value_or_tells_its_row(data):
    """Round trip over all integer and float types: what is not reported is equal, what is reported is null."""
    source = data.draw(st.sampled_from([*INTEGERS, pa.float64()]))
    target = data.draw(st.sampled_from([*INTEGERS, pa.float64(), pa.string()]))
    if pa.types.is_floating(source):
        element = st.floats(allow_nan=False) | st.integers(-300, 300).map(float)
    else:
        bits = source.bit_width
        low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1)) if pa.types.is_signed_integer(source) else (0, 2**bits)
        element = st.integers(low, high - 1) | st.integers(0, min(100, high - 1))
    values = data.draw(st.lists(st.none() | element, max_size=40))
    batch = pa.record_batch([pa.array(values, source)], names=["x"])
    cast, bad = cast_batch(batch, pa.schema([("x", target)]))
    found = cast.column(0).to_pylist()
    lost = {row.index for row in bad}
    assert cast.schema.field("x").type == target
    for index, (before, after) in enumerate(zip(values, found, strict=True)):
        if index in lost:
            assert before is not None
            assert after is None
        elif target == pa.string() and before is not None:
            assert float(after) == float(before)
        else:
            assert after == before
    if target == widest(source, target) and not {source, target} & {pa.uint64(), pa.float64()}:
        assert not bad
    back, bad_back = cast_batch(cast, pa.schema([("x", source)]))
    assert not bad_back
    assert back.column(0).to_pylist() == [None if index in lost else value for index, value in enumerate(values)]


def test_an_equal_batch_is_not_touched():
    """No copy where the types are right already; columns are put in order by name."""
    batch = pa.record_batch({"a": [1, 2], "b": ["x", "y"]})
    cast, bad = cast_batch(batch, batch.schema)
    assert cast is batch
    assert not bad
    cast, _ = cast_batch(batch, pa.schema([("b", pa.string()), ("a", pa.int64())]))
    assert cast.schema.names == ["b", "a"]
    assert cast.column(1).buffers()[1].address == batch.column(0).buffers()[1].address


def test_a_row_that_does_not_fit_costs_that_row():
    """Its value is null, the error names column and value; two columns of one row make one record."""
    batch = pa.record_batch({"x": ["1", " 2 ", "z", None, ""], "y": pa.array([1.0, 2.5, float("nan"), 4.0, None])})
    cast, bad = cast_batch(batch, pa.schema([("x", pa.float64()), ("y", pa.int32())]))
    assert cast.to_pydict() == {"x": [1.0, 2.0, None, None, None], "y": [1, None, None, 4, None]}
    assert [(row.index, row.stage, row.error) for row in bad] == [
        (1, "read", "column y: 2.5 is not a valid int32"),
        (2, "read", "column x: 'z' is not a valid double; column y: nan is not a valid int32"),
        (4, "read", "column x: '' is not a valid double"),
    ]


def test_a_long_value_is_cut_in_the_error():
    """One line, whatever the value."""
    _, (row,) = cast_batch(pa.record_batch({"x": ["a\n" * 1000]}), pa.schema([("x", pa.int64())]))
    assert len(row.error) < 150
    assert "\n" not in row.error


def test_times_that_lose_digits_are_told():
    """Nanoseconds are not rounded, and a year past 9999 can be told too."""
    batch = pa.record_batch({"t": pa.array([1, 10**9, 2**62], pa.timestamp("ns"))})
    cast, bad = cast_batch(batch, pa.schema([("t", pa.timestamp("s"))]))
    assert cast.column(0).cast(pa.int64()).to_pylist() == [None, 1, None]
    assert bad[0].error == "column t: 1970-01-01 00:00:00.000000001 is not a valid timestamp[s]"
    _, (row,) = cast_batch(
        pa.record_batch({"t": pa.array([2**60], pa.timestamp("s"))}), pa.schema([("t", pa.timestamp("ns"))])
    )
    assert row.error.startswith("column t: ")


def test_a_column_that_is_absent_or_null_is_filled_with_nulls():
    """Of the settled type, nested types included."""
    types = [pa.float64(), WORDS, pa.list_(pa.int8()), pa.struct([("a", pa.int8())]), pa.decimal128(5, 2)]
    for type, batch in itertools.product(types, (pa.record_batch({"y": [1, 2]}), pa.record_batch({"x": pa.nulls(2)}))):
        cast, bad = cast_batch(batch, pa.schema([("x", type)]))
        assert cast.schema == pa.schema([("x", type)])
        assert cast.column(0).null_count == 2
        assert not bad


@pytest.mark.parametrize(
    ("array", "type", "values"),
    [
        (pa.array(["a", "b"]).dictionary_encode(), pa.string(), ["a", "b"]),
        (pa.array(["1", "2"]).dictionary_encode(), pa.int64(), [1, 2]),
        (pa.array(["a", "b"]), WORDS, ["a", "b"]),
        (pa.array([[1], None], pa.list_(pa.int8())), pa.large_list(pa.float64()), [[1.0], None]),
        (
            pa.array([{"a": 1}], pa.struct([("a", pa.int8())])),
            pa.struct([("b", pa.string()), ("a", pa.int16())]),
            [{"a": 1, "b": None}],
        ),
        (pa.array([True, None]), pa.float64(), [1.0, None]),
        (pa.array([1, None]), pa.decimal128(22, 2), [decimal.Decimal(1), None]),
        (pa.array([datetime.date(2026, 1, 1)]), pa.timestamp("s"), [datetime.datetime(2026, 1, 1)]),
        (pa.array(["2026-01-01"]), pa.date32(), [datetime.date(2026, 1, 1)]),
        (pa.array(["a", None], pa.string_view()), pa.string(), ["a", None]),
    ],
)
def test_other_casts(array, type, values):
    """Dictionaries, nested values, bools, decimals and dates go where ``widest`` or a declaration sends them."""
    cast, bad = cast_batch(pa.record_batch([array], names=["x"]), pa.schema([("x", type)]))
    assert not bad
    assert cast.column(0).type == type
    assert cast.column(0).to_pylist() == values


def test_a_cast_that_no_value_survives_is_the_columns_fault():
    """Not one reject for every row."""
    with pytest.raises(DataError, match="column x is int64 and cannot be read as list"):
        cast_batch(pa.record_batch({"x": [1]}), pa.schema([("x", pa.list_(pa.int64()))]))
    twice = pa.RecordBatch.from_arrays([pa.array([1]), pa.array([2])], names=["x", "x"])
    with pytest.raises(DataError, match="duplicate column x"):
        cast_batch(twice, pa.schema([("x", pa.int64())]))


def test_rows_are_kept_where_no_column_is_wanted():
    """The number of rows is an answer too."""
    cast, bad = cast_batch(pa.record_batch({"x": [1, 2, 3]}), pa.schema([]))
    assert (cast.num_rows, cast.num_columns, bad) == (3, 0, [])
    assert rows_without_columns(0).num_rows == 0


def one(**types):
    return pa.schema(list(types.items()))


def test_files_settle_on_the_widest_types():
    """dir/mixed_schema: an integer file among floats is widened; a column that nobody wants does not matter."""
    files = [
        ("part-1.parquet", one(id=pa.int64(), x0=pa.float64(), extra=pa.string())),
        ("part-2.parquet", one(x0=pa.int64(), id=pa.int32(), extra=pa.int64())),
    ]
    for order in (files, files[::-1]):
        assert conform_files(order, ["id", "x0"], {}) == one(id=pa.int64(), x0=pa.float64())


def test_the_settled_schema_is_plain():
    """No metadata (a pickle may hide there), and every field nullable."""
    schema = pa.schema([pa.field("x", pa.int64(), nullable=False, metadata={"a": "b"})], metadata={"pandas": "{}"})
    settled = conform_files([("a", schema)], None, {})
    assert settled.equals(pa.schema([("x", pa.int64())]), check_metadata=True)


def test_a_missing_column_is_refused_with_the_file():
    """dir/mixed_incompatible, parquet/missing_column: before any row is scored."""
    files = [("part-1.parquet", one(x1=pa.int64(), x2=pa.int64())), ("part-2.parquet", one(x1=pa.int64()))]
    with pytest.raises(DataError, match=r"part-2\.parquet: missing column x2; it has x1"):
        conform_files(files, ["x1", "x2"], {})
    with pytest.raises(DataError, match=r"part-2\.parquet: missing column x2"):
        conform_files(files, None, {})
    with pytest.raises(DataError, match=r"part-2\.parquet: missing column x2"):
        conform_files(files, ["x2"], {"x2": pa.float64()})
    assert conform_files(files, ["x1", "x2"], {}, optional={"x2"}) == one(x1=pa.int64(), x2=pa.int64())


@pytest.mark.parametrize(
    ("names", "hint"),
    [
        (["id;x0;x1"], r"its only column is 'id;x0;x1': give the right --delimiter"),
        (["id", " x0"], r"it has ' x0', which is spelled differently"),
        (["X0"], r"it has 'X0', which is spelled differently"),
        ([], "it has no columns"),
        ([f"c{index}" for index in range(20)], "it has c0, c1, c2, c3, c4, c5, c6, c7, …$"),
    ],
)
def test_the_message_helps_to_find_what_is_missing(names, hint):
    """csv/semicolon, csv/space_header: the usual reasons are told."""
    with pytest.raises(DataError, match=hint):
        conform_files([("a.csv", pa.schema([(name, pa.null()) for name in names]))], ["x0"], {})


def test_a_duplicate_column_is_refused_if_it_is_wanted():
    """parquet/dup_columns."""
    schema = pa.schema([("x0", pa.int64()), ("x0", pa.int64()), ("x1", pa.int64())])
    for columns in (["x0"], None):
        with pytest.raises(DataError, match=r"a\.parquet: duplicate column x0"):
            conform_files([("a.parquet", schema)], columns, {})
    assert conform_files([("a.parquet", schema)], ["x1"], {}) == one(x1=pa.int64())


def test_types_that_do_not_go_together_name_both_files():
    """One type over all files, or none."""
    files = [("part-0", one(x0=pa.null())), ("part-1", one(x0=pa.int64())), ("part-2", one(x0=pa.string()))]
    with pytest.raises(DataError, match="column x0 is string in part-2, int64 in part-1"):
        conform_files(files, ["x0"], {})


def test_a_declared_type_holds_and_is_checked():
    """parquet/wrong_dtype: text is no number in a typed file; parquet/int_features, bool_feature: these are."""
    declared = {"x0": pa.float64()}
    with pytest.raises(DataError, match="a: column x0 is string, but the api takes double"):
        conform_files([("a", one(x0=pa.string()))], ["x0"], declared)
    for type in (pa.int64(), pa.float32(), pa.bool_(), pa.null(), pa.decimal128(5, 2)):
        assert conform_files([("a", one(x0=type))], ["x0"], declared) == one(x0=pa.float64())
    assert accepts(pa.int64(), pa.float64())
    assert accepts(pa.string(), WORDS)
    assert accepts(WORDS, pa.string())
    assert not accepts(pa.string(), pa.bool_())
    assert not accepts(pa.bool_(), pa.int64())
    assert not accepts(pa.float64(), pa.timestamp("s"))


def test_what_all_files_agree_on_is_kept_as_it_is():
    """A dictionary stays one (a frame's category) and an extension too (a kept UUID); runs, which have no casts, do not."""
    runs = pa.run_end_encoded(pa.int32(), pa.float64())
    for type, settled in ((WORDS, WORDS), (pa.uuid(), pa.uuid()), (runs, pa.float64())):
        assert conform_files([("a", one(x=type)), ("b", one(x=type))], ["x"], {}) == one(x=settled)
    assert conform_files([("a", one(x=WORDS)), ("b", one(x=pa.string()))], ["x"], {}) == one(x=pa.string())
    assert conform_files([("a", one(x=WORDS)), ("b", one(x=pa.null()))], ["x"], {}) == one(x=pa.string())


def test_runs_are_unfolded():
    """pyarrow has no cast from them."""
    runs = pa.RunEndEncodedArray.from_arrays(pa.array([2, 5]), pa.array([1, 2]))
    found, bad = cast_batch(pa.record_batch([runs.slice(1, 3)], names=["x"]), one(x=pa.float64()))
    assert found["x"].to_pylist() == [1.0, 2.0, 2.0]
    assert not bad
