"""Which columns and types a request must bring, and with whom it may be joined."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import bentobatch
from bentobatch.adapters import ArrowInput, DataframeInput, JsonInput, NumpyInput, StringInput
from bentobatch.errors import DataError, ModelError
from bentobatch.rows import BadRow
from bentobatch.scorer import Scorer
from bentobatch.serving.columns import MatrixRows, RequestColumns, Rows, join_rows
from bentobatch.serving.scoring import Answer, join_answers
from bentobatch.serving.tables import rows_of_json


def columns(scorer_of: Any, input: Any, **options: Any) -> RequestColumns:
    return RequestColumns(scorer_of(lambda self, rows: rows, input=input), **options)


def batch(**values: Any) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict(
        {name: each if isinstance(each, pa.Array) else pa.array(each) for name, each in values.items()}
    )


AB = DataframeInput(columns=["a", "b"])


def test_columns_are_matched_by_name_in_any_order(scorer_of: Any) -> None:
    """The model gets them in the order that the api declares."""
    settled = columns(scorer_of, AB).settle(batch(b=[2], a=[1]))
    assert settled.batch.to_pydict() == {"a": [1], "b": [2]}


def test_the_packed_model_knows_the_columns_too(bundles: Path) -> None:
    """As in a batch run, where the api declares none."""
    service = bentobatch.load(str(bundles / "linear"))
    assert RequestColumns(Scorer(service, service.get_inference_api("predict"))).names == ("x0", "x1", "x2")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (batch(a=[1]), "lacks the column 'b'; api 'predict' takes the columns 'a', 'b'"),
        (batch(a=[1], b=[2], c=[3], d=[4]), "has the columns 'c', 'd', which the api does not take"),
        (batch(a=[1], c=[2]), "lacks the column 'b' and has the column 'c'"),
        (pa.RecordBatch.from_arrays([pa.array([1])] * 3, names=["a", "b", "a"]), "has the column 'a' twice"),
    ],
)
def test_missing_and_extra_columns_are_named(scorer_of: Any, rows: pa.RecordBatch, message: str) -> None:
    """To the request that has them, before it is joined."""
    with pytest.raises(DataError) as caught:
        columns(scorer_of, AB).settle(rows)
    assert message in str(caught.value)


def test_a_value_that_is_not_of_the_declared_type_is_named(scorer_of: Any) -> None:
    """With its column and its row."""
    declared = columns(scorer_of, DataframeInput(columns=["a", "b"], dtype={"b": "int64"}))
    with pytest.raises(DataError, match=r"column 'b', row 1: 'oops' is no int64"):
        declared.settle(batch(a=[1, 2], b=["7", "oops"]))
    assert declared.settle(batch(a=[1, 2], b=["7", "8"])).batch.column("b").to_pylist() == [7, 8]


def test_types_can_be_told_where_the_api_declares_none(scorer_of: Any) -> None:
    """What the api declares comes first."""
    told = columns(
        scorer_of, DataframeInput(columns=["a", "b"], dtype={"b": "int64"}), types={"a": pa.float64(), "b": pa.string()}
    )
    assert told.settle(batch(a=[1], b=[1])).batch.schema.types == [pa.float64(), pa.int64()]


FLOATS = pa.array([1.0])
KINDS = {
    "integer": [[1], [2, 3]],
    "integer and null": [[1, None], [None, 2]],
    "float, null or not": [[1.0], [None, 1.5], [None]],
    "truth": [[True]],
    "truth and null": [[True, None]],
    "text, null or not": [["a"], ["b", None]],
    "list": [[[1]], [[2, 3]]],
    "list with null": [[[1, None]], [None, [1]]],
    "object": [[{"a": 1}]],
    "object with null": [[{"a": None}, {"a": 1}]],
    "time": [[datetime.datetime(2026, 1, 1)], [None, datetime.datetime(2026, 1, 2)]],
}


def test_rows_are_of_one_kind_exactly_where_joining_changes_no_type(scorer_of: Any) -> None:
    """Each example joins with all of its own line and with none of another."""
    every = columns(scorer_of, DataframeInput(columns=["x"]))
    settled = [(kind, every.settle(batch(x=values))) for kind, examples in KINDS.items() for values in examples]
    for kind, rows in settled:
        for other, others in settled:
            assert rows.joins(others) is (kind == other), (kind, other)


def test_a_categorical_column_stands_alone(scorer_of: Any) -> None:
    """Joined dictionaries would show one request the categories of another."""
    every = columns(scorer_of, ArrowInput(columns=["x"]))
    words = every.settle(batch(x=pa.array(["a"]).dictionary_encode()))
    nested = every.settle(batch(x=pa.array([["a"]], pa.list_(pa.dictionary(pa.int8(), pa.string())))))
    assert not words.joins(words)
    assert not nested.joins(nested)


def test_metadata_of_the_sender_does_not_part_requests(scorer_of: Any) -> None:
    """pandas and others write their own into a schema."""
    every = columns(scorer_of, DataframeInput(columns=["x"]))
    plain = batch(x=[1.0])
    marked = plain.replace_schema_metadata({"pandas": "{}"})
    first, second = every.settle(plain), every.settle(marked)
    assert first.kind is second.kind
    assert join_rows([first, second, first.part(0, 0)]).to_pydict() == {"x": [1.0, 1.0]}


def test_strangers_cannot_fill_the_memory_with_schemas(scorer_of: Any) -> None:
    """An api without known columns takes any, and remembers a bounded number."""
    every = columns(scorer_of, DataframeInput())
    for number in range(200):
        assert every.settle(batch(**{f"x{number}": [1]})).batch.num_rows == 1
    assert len(every._known) == 64


@pytest.mark.parametrize("dtype", [None, "float64"])
@pytest.mark.parametrize(
    ("body", "quick"),
    [
        (b"[[1.5, 2.5], [3.5, 4.5]]", True),
        (b'[{"b": 1.5, "a": 2.5}, {"a": 4.5, "b": 3.5}]', True),
        (b'[{"instances": 1.5}]', True),
        (b'[{"a": 1.5}, {"b": 2.5}]', False),
        (b'[{"a": 1.5}, {"a": 2.5, "b": 3.5}]', False),
        (b"[[1.5, null]]", False),
        (b"[[[1.5, 2.5]]]", False),
        (b'[["1.5"]]', False),
        (b'{"a": [1.5]}', False),
        (b"[]", False),
    ],
)
def test_columns_that_nobody_declared_are_read_alike_in_either_way(
    scorer_of: Any, body: bytes, quick: bool, dtype: str | None
) -> None:
    """Rows of floats go straight into an array for NumpyInput; what that stands for is what the long way makes."""
    adapter = NumpyInput(dtype=dtype)
    every = columns(scorer_of, adapter)
    found = rows_of_json(body, adapter, every, 10)
    slow = columns(scorer_of, adapter).settle(adapter.table_from_text(body))
    assert isinstance(found, MatrixRows) is quick
    assert found.kind == slow.kind
    assert found.batch.equals(slow.batch)
    assert found.joins(every.settle(adapter.table_from_text(body)))


def test_strangers_cannot_fill_the_memory_with_columns_of_arrays(scorer_of: Any) -> None:
    """After so many different ones they are read the long way."""
    adapter = NumpyInput()
    every = columns(scorer_of, adapter)
    found = [rows_of_json(b'[{"x%d": 1.5}]' % number, adapter, every, 10) for number in range(200)]
    assert [rows.batch.schema.names for rows in found] == [[f"x{number}"] for number in range(200)]
    assert sum(isinstance(rows, MatrixRows) for rows in found) == len(every._matrices) == 64
    wide = rows_of_json(b"[[" + b"1.5," * 2_000 + b"1.5]]", adapter, columns(scorer_of, adapter), 10)
    assert (wide.batch.num_columns, type(wide)) == (2_001, Rows)


@pytest.mark.parametrize("adapter", [JsonInput(), StringInput()])
def test_lines_are_taken_as_they_are(scorer_of: Any, adapter: Any) -> None:
    """One column of raw text, whichever of Arrow's two binary types it has."""
    every = columns(scorer_of, adapter)
    first = every.settle(pa.table({"line": pa.array([b"1"], pa.binary())}))
    second = every.settle(batch(line=pa.array([b"2"], pa.large_binary())))
    assert first.joins(second)
    assert join_rows([first, second]).column("line").to_pylist() == [b"1", b"2"]


def test_parts_of_an_answer_are_put_together() -> None:
    """Integers beside floats become floats, as where a batch was bisected; parts without any good row are null."""
    none = pa.RecordBatch.from_arrays([], names=[])
    bad = BadRow(0, "model", "ValueError", "no")
    parts = [Answer(2, batch(p=[1, 2])), Answer(1, none, (bad,)), Answer(1, batch(p=[0.5]))]
    joined = join_answers(parts)
    assert joined.columns.to_pydict() == {"p": [1.0, 2.0, None, 0.5]}
    assert (joined.rows, [item.index for item in joined.bad]) == (4, [2])
    assert join_answers([parts[1], parts[1]]).rows == 2
    with pytest.raises(ModelError, match="output_schema"):
        join_answers([parts[0], Answer(1, batch(p=["text"]))])
