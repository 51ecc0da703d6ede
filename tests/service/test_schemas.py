"""This module tests the declared types of output columns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from bentobatch.errors import UsageError
from bentobatch.service.schemas import is_json, schema_as_text, schema_from


@pytest.mark.parametrize(
    ("spelled", "expected"),
    [
        ("float64", pa.float64()),
        ("double", pa.float64()),
        ("float32", pa.float32()),
        ("f8", pa.float64()),
        ("<f4", pa.float32()),
        ("int64", pa.int64()),
        ("uint8", pa.uint8()),
        ("bool", pa.bool_()),
        ("string", pa.string()),
        ("large_string", pa.large_string()),
        ("str", pa.string()),
        ("U10", pa.string()),
        ("binary", pa.binary()),
        ("date32", pa.date32()),
        ("date32[day]", pa.date32()),
        ("datetime64[ns]", pa.timestamp("ns")),
        ("<M8[us]", pa.timestamp("us")),
        ("timestamp[ms]", pa.timestamp("ms")),
        ("timestamp[us, tz=Europe/Oslo]", pa.timestamp("us", "Europe/Oslo")),
        ("decimal128(10, 2)", pa.decimal128(10, 2)),
        ("decimal(5, 0)", pa.decimal128(5, 0)),
        ("list<item: double>", pa.list_(pa.float64())),
        ("list<float32>", pa.list_(pa.float32())),
        ("large_list<item: list<item: string>>", pa.large_list(pa.list_(pa.string()))),
        (np.float32, pa.float32()),
        (np.dtype("int16"), pa.int16()),
        (float, pa.float64()),
        (str, pa.string()),
        (pa.struct([("a", pa.int8())]), pa.struct([("a", pa.int8())])),
    ],
)
def test_a_type_is_read_in_arrows_and_in_numpys_words(spelled: Any, expected: pa.DataType) -> None:
    """By name, or as the type itself."""
    assert schema_from({"a": spelled}, "here") == pa.schema([("a", expected)])


@pytest.mark.parametrize(
    "spelled", ["flaot", "", "object", "timestamp[us, tz=", "decimal128(99, 2)", "list<what>", 3, [], "list<item: >"]
)
def test_an_unknown_type_is_refused_with_its_column(spelled: Any) -> None:
    """The message names the column and the spelling."""
    with pytest.raises(UsageError, match=r"here: column 'score'"):
        schema_from({"score": spelled}, "here")


def test_a_json_column_is_text_that_says_so() -> None:
    """Field metadata tells the output adapter to encode."""
    schema = schema_from({"why": "json", "score": "float64"}, "here")
    assert schema.field("why").type == pa.string()
    assert is_json(schema.field("why"))
    assert not is_json(schema.field("score"))


def test_a_schema_is_taken_as_it_is() -> None:
    """Metadata and nullability included."""
    schema = pa.schema([pa.field("a", pa.int8(), nullable=False, metadata={"k": "v"})])
    assert schema_from(schema, "here").equals(schema, check_metadata=True)


@pytest.mark.parametrize(
    "declared", [None, [], {}, "float64", {1: "float64"}, pa.schema([]), pa.schema([("a", "int8"), ("a", "int8")])]
)
def test_what_is_no_schema_is_refused(declared: Any) -> None:
    """No columns, no names, or one name twice."""
    with pytest.raises(UsageError, match="here: output_schema"):
        schema_from(declared, "here")


def test_a_schema_survives_as_text() -> None:
    """The manifest's form makes an equal schema again."""
    schema = schema_from(
        {
            "a": "float32",
            "b": "json",
            "c": "timestamp[us, tz=UTC]",
            "d": "decimal128(10, 2)",
            "e": "list<item: int8>",
            "f": "date32",
            "g": "large_string",
            "h": "duration[s]",
            "i": "time64[us]",
        },
        "here",
    )
    assert schema_from(schema_as_text(schema), "here").equals(schema, check_metadata=True)
