"""This module says what an adapter is: record batches on one side, the user's values on the other.

An input adapter makes the arguments of the api function, an output adapter makes columns of what it returned. Adapters
know nothing of files, servers or schedulers: all of those make record batches.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pyarrow as pa

from bentobatch.adapters.matrix_batch import MatrixBatch
from bentobatch.rows import BadRow

LINE_COLUMN = "line"
"""The one column (large_binary) of a batch in lines mode: each row is a line of a text file, or an inline value."""


@dataclass(frozen=True)
class Converted:
    """The arguments made from a batch. ``args`` holds one value for each positional argument of the api function, each
    for ``rows`` rows together (a frame, a list of values…). Rows in ``bad`` are left out of ``args``; the others
    follow in order, so that rows + len(bad) is the number of rows of the batch."""

    args: tuple[Any, ...]
    rows: int
    bad: Sequence[BadRow] = ()


class InputAdapter(ABC):
    """Record batches to arguments. Subclasses keep their options as attributes and list them in ``config``.

    ``batch_only``: the adapter has no single-item form, so the api must be declared with batch=True.
    ``lines``: text formats hand over each record's raw text (column LINE_COLUMN) instead of parsed columns.
    ``late_modules``: those that the first conversion imports; a server does so before it takes requests.
    """

    batch_only: ClassVar[bool] = False
    lines: ClassVar[bool] = False
    late_modules: ClassVar[tuple[str, ...]] = ()
    pip_packages: ClassVar[tuple[str, ...]] = ()

    http_input_example: Any = None
    request_schema: Mapping[str, Any] | None = None

    @property
    def columns(self) -> tuple[str, ...] | None:
        """The feature columns that the api declares, in order, or None."""
        return None

    @property
    def takes_matrix_batch(self) -> bool:
        """Whether ``convert`` takes a MatrixBatch as well, and ``cuts`` does not look into it."""
        return False

    @property
    def types(self) -> Mapping[str, pa.DataType]:
        """Declared types by column; a column that is not named keeps its own."""
        return {}

    def types_for(self, names: Sequence[str]) -> Mapping[str, pa.DataType]:
        """Declared types of the features ``names``, once these are settled. It tells more than ``types`` where one dtype
        is declared for all columns, or dtypes are listed by position."""
        return {name: self.types[name] for name in names if name in self.types}

    def config(self) -> dict[str, Any]:
        """The options as JSON values, for the bundle's manifest; ``type(self)(**config)`` makes an equal adapter."""
        return {}

    @abstractmethod
    def table_from_text(self, text: bytes, *, columns: Sequence[str] | None = None) -> pa.Table:
        """The rows of one inline value or JSON document. ``columns`` names the features for rows without names, which
        are taken by position, and only where their width fits. In lines adapters: one row, the text itself.

        Raises:
            DataError: the text is malformed, or its rows do not fit the columns.
        """

    def cuts(self, batch: pa.RecordBatch | MatrixBatch) -> Sequence[int]:  # noqa: ARG002 - for adapters whose values outgrow their bytes
        """Rows, ascending, before which ``batch`` is to be cut into calls of its own, since the values of all rows would
        be too large together (decoded images). They depend on the batch alone; most adapters need none."""
        return ()

    @abstractmethod
    def convert(self, batch: pa.RecordBatch) -> Converted:
        """The arguments for the rows of ``batch``, which holds the feature columns (or LINE_COLUMN) and nothing else.
        Where ``takes_matrix_batch`` it may be a MatrixBatch, whose memory is not the function's.

        A row that cannot be made into a value goes to ``Converted.bad`` with stage "convert"; nothing is raised for it.
        """


class OutputAdapter(ABC):
    """What an api function returned, as columns."""

    def config(self) -> dict[str, Any]:
        """The options as JSON values, for the bundle's manifest."""
        return {}

    @abstractmethod
    def columns(
        self,
        result: Any,
        *,
        name: str = "prediction",
        classes: Sequence[Any] | None = None,
        schema: pa.Schema | None = None,
    ) -> pa.RecordBatch:
        """``result`` as a record batch with one row for each result.

        ``name`` is the column of a plain 1-D result; a 2-D one gives ``<name>_<class>`` where ``classes`` has as many
        entries as the result has columns, else ``<name>_0…``. With ``schema`` (held since planning) values are cast to
        it safely; without it the types are found from the values.

        Raises:
            ModelError: the values have no Arrow form, or do not fit ``schema``; the message names the column.
        """

    def numbers(self, result: Any, *, schema: pa.Schema | None = None) -> list[Any] | None:  # noqa: ARG002
        """The values of the one column that ``columns`` makes of a settled result, in Python's types, where these are plain
        numbers and are told without making it; else None."""
        return None
