"""This module is the adapter of functions that take Arrow's own record batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from bentobatch.adapters.base import Converted
from bentobatch.adapters.tabular import TabularInput


class ArrowInput(TabularInput):
    """The api function gets one ``pyarrow.RecordBatch`` of many rows, untouched: nothing is copied or cast, and it is
    read-only. ``columns`` and ``dtype`` are DataframeInput's; pandas' own dtypes (category, object) mean the values'
    own type here.

    Raises:
        UsageError: an unknown dtype, duplicate columns, dtypes that do not match ``columns``.
    """

    def __init__(
        self,
        columns: Sequence[str] | None = None,
        dtype: Any = None,
        *,
        http_input_example: Any = None,
        request_schema: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(
            columns=columns, dtype=dtype, http_input_example=http_input_example, request_schema=request_schema
        )

    def convert(self, batch: pa.RecordBatch) -> Converted:
        """The batch itself."""
        return Converted((batch,), rows=batch.num_rows)
