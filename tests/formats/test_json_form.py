"""The form that Arrow values have in JSON."""

from __future__ import annotations

import pyarrow as pa

from bentobatch.formats.json_form import json_values


def test_moments_beyond_every_calendar_are_null() -> None:
    """pyarrow's own text for them is no ISO 8601."""
    assert json_values(pa.array([2**62, 0, None], pa.timestamp("us"))) == [None, "1970-01-01T00:00:00.000000", None]
    assert json_values(pa.array([2**31 - 1, 1], pa.int32()).cast(pa.date32())) == [None, "1970-01-02"]


def test_run_end_encoded_values_are_decoded() -> None:
    """An api that takes Arrow may return them."""
    runs = pa.RunEndEncodedArray.from_arrays(pa.array([2, 3], pa.int32()), pa.array([7, None]))
    assert json_values(runs) == [7, 7, None]
