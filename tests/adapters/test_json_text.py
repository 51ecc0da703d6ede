"""This module tests that JSON is read and written without loss."""

from __future__ import annotations

import dataclasses
import datetime
import json
import math
from collections import OrderedDict
from decimal import Decimal
from uuid import UUID

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bentobatch.adapters.json_text import json_text, parse_json

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(JSON_VALUES)
def test_what_is_written_is_read_back(value):
    """Integers of any size, floats and text survive, with and without escapes."""
    try:
        text = json_text(value)
    except UnicodeEncodeError:
        return
    assert parse_json(text.encode("utf-8", "surrogatepass")) == value
    escaped = json_text(value, ensure_ascii=True)
    assert escaped.isascii()
    assert json.loads(escaped) == value


@pytest.mark.parametrize("number", [2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**63) - 1, 10**40, -(10**40)])
def test_integers_keep_every_digit(number):
    """No integer becomes a float on the way in or out, alone or inside."""
    assert parse_json(b"%d" % number) == number
    assert type(parse_json(b'{"a": [%d]}' % number)["a"][0]) is int
    assert json_text([number]) == f"[{number}]"


@pytest.mark.parametrize(
    "text",
    [b"", b" ", b"{oops", b"[1,2", b"1 2", b"NaN", b"[Infinity]", b"-Infinity", b"1e400", b'"\xff"', b'"a\x00b"',
     b"[NaN, 12345678901234567890123]", b"\xef\xbb\xbf[1]"],
)  # fmt: skip
def test_what_is_no_json_is_refused_with_its_position(text):
    """Bare NaN and Infinity are no JSON, whichever parser looks at them."""
    with pytest.raises(json.JSONDecodeError, match="line 1 column"):
        parse_json(text)


@pytest.mark.parametrize("inner", [b"1", b"12345678901234567890123"])
@pytest.mark.parametrize("depth", [1100, 20_000])
def test_deep_nesting_is_an_error_and_no_crash(inner, depth):
    """20,000 levels, closed or not, end neither in a RecursionError nor in a segmentation fault."""
    for text in (b"[" * depth + inner + b"]" * depth, b'{"a":' * depth + inner + b"}" * depth):
        with pytest.raises(json.JSONDecodeError, match="depth"):
            parse_json(text)
    with pytest.raises(json.JSONDecodeError):
        parse_json(b"[" * depth)


def test_an_integer_of_a_million_digits_is_refused():
    """308 digits are exact; what is beyond a double costs no quadratic work."""
    assert parse_json(b"9" * 308) == int("9" * 308)
    with pytest.raises(json.JSONDecodeError, match="infinity"):
        parse_json(b"9" * 1_000_000)
    with pytest.raises(TypeError, match="no JSON form"):
        json_text([10**5000])


def test_what_json_does_not_know_is_written_plainly():
    """NaN is null (D16), bytes are base64, times ISO 8601 with their nanoseconds, decimals text."""
    values = {
        "nan": math.nan,
        "inf": np.float64("inf"),
        "bytes": b"\x00\xff",
        "date": datetime.date(2026, 1, 2),
        "stamp": pd.Timestamp("2026-01-02T03:04:05.000000006", tz="UTC"),
        "nat": pd.NaT,
        "na": pd.NA,
        "np": np.datetime64("2026-01-02T00:00:00.000000001"),
        "nps": np.array(["2026-01-02", "NaT"], dtype="M8[D]"),
        "npnat": np.timedelta64("NaT"),
        "decimal": Decimal("1.10"),
        "uuid": UUID(int=1),
        "array": np.array([[1, 2], [3, 4]])[:, ::-1],
        "scalar": pa.scalar(5),
        "ordered": OrderedDict(a=(1, 2)),
        1: np.str_("one"),
    }
    expected = {
        "nan": None,
        "inf": None,
        "bytes": "AP8=",
        "date": "2026-01-02",
        "stamp": "2026-01-02T03:04:05.000000006+00:00",
        "nat": None,
        "na": None,
        "np": "2026-01-02T00:00:00.000000001",
        "nps": ["2026-01-02", None],
        "npnat": None,
        "decimal": "1.10",
        "uuid": "00000000-0000-0000-0000-000000000001",
        "array": [[2, 1], [4, 3]],
        "scalar": 5,
        "ordered": {"a": [1, 2]},
        "1": "one",
    }
    assert json.loads(json_text(values)) == expected
    assert json.loads(json_text({**values, "huge": 2**70})) == {**expected, "huge": 2**70}


def test_both_writers_agree_on_dataclasses_and_keys():
    """A huge integer beside them changes the writer, not the text."""

    @dataclasses.dataclass
    class Box:
        side: float

    assert json.loads(json_text({"a": Box(math.nan), 2: 1})) == {"a": {"side": None}, "2": 1}
    assert json.loads(json_text({"a": Box(math.nan), 2: 2**80, None: 0, True: 1, 1.5: 2})) == {
        "a": {"side": None}, "2": 2**80, "null": 0, "true": 1, "1.5": 2,
    }  # fmt: skip


@pytest.mark.parametrize("value", [object(), {1, 2}, {(1, 2): 3}, 1j, [2**70, {1}], {(1,): 2**70}])
def test_what_has_no_json_form_is_a_type_error(value):
    """Nothing is written as its repr."""
    with pytest.raises(TypeError):
        json_text(value)


def test_values_nested_too_deeply_are_refused_when_written():
    """300 levels are written, 20,000 are an error and no crash."""
    value: list = []
    for _ in range(300):
        value = [value]
    assert json_text(value) == "[" * 301 + "]" * 301
    for _ in range(20_000):
        value = [value]
    with pytest.raises(TypeError, match="too deeply"):
        json_text(value)
