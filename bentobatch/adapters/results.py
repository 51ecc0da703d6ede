"""This module reads what an api function returned as columns, by what each result is and nothing else."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from bentobatch.adapters.numpy_arrays import array_of_numpy, numpy_of
from bentobatch.adapters.pandas_arrays import array_of_pandas, is_pandas_column, is_pandas_frame
from bentobatch.adapters.values import array_of
from bentobatch.errors import ModelError

_SCALARS = (bool, int, float, complex, np.generic, Decimal, datetime.date, datetime.time, datetime.timedelta, pa.Scalar)
_ARROW_COLUMNS = (pa.Array, pa.ChunkedArray)
_ARROW_TABLES = (pa.Table, pa.RecordBatch)


class ResultColumns(NamedTuple):
    """``columns`` are pairs of a name and one value for each row, in order. ``named`` says that the function chose the
    names, ``plain`` that the result is one column without a name."""

    columns: list[tuple[str, Any]]
    named: bool
    plain: bool


def settle_result(result: Any) -> Any:
    """``result`` in a form that can be read twice and has a length: iterators as lists, tensors and sparse matrices as
    numpy arrays, frames of other libraries as Arrow tables, a scalar (the result of one row) as a list of one.

    Raises:
        ModelError: it is not a collection of one result for each row.
    """
    if is_pandas_frame(result) or is_pandas_column(result) or isinstance(result, (*_ARROW_COLUMNS, *_ARROW_TABLES)):
        return result
    if isinstance(result, np.ndarray):
        return _settled_array(result)
    if isinstance(result, (list, tuple)):
        return result
    if result is None or isinstance(result, (str, bytes, bytearray, memoryview, set, frozenset)):
        raise _not_rows(result)
    if isinstance(result, Mapping):
        return _settled_mapping(result)
    if isinstance(result, _SCALARS):
        return [result]
    return _settled_foreign(result)


def result_length(result: Any) -> int:
    """How many rows ``result`` answers.

    Raises:
        ModelError: it is not a collection of one result for each row.
        TypeError: it is an iterator, which counting would use up: pass it through ``settle_result`` first.
    """
    if isinstance(result, Iterator):
        raise TypeError("an iterator has no length; pass it through settle_result first")
    settled = settle_result(result)
    if isinstance(settled, Mapping):
        return len(next(iter(settled.values())))
    if isinstance(settled, _ARROW_TABLES):
        return int(settled.num_rows)
    return len(settled)


def result_columns(result: Any, *, name: str, classes: Sequence[Any] | None = None) -> ResultColumns:
    """The columns of a settled result; values are not touched yet (see ``array_of_column``).

    Raises:
        ModelError: two columns have one name, or there is none.
    """
    if is_pandas_frame(result):
        pairs = [(str(head), result.iloc[:, position]) for position, head in enumerate(result.columns)]
    elif isinstance(result, _ARROW_TABLES):
        pairs = list(zip(result.schema.names, result.columns, strict=True))
    elif isinstance(result, Mapping):
        pairs = [(str(head), values) for head, values in result.items()]
    elif isinstance(result, np.ndarray) and result.dtype.names:
        pairs = [(head, result[head]) for head in result.dtype.names]
    elif isinstance(result, np.ndarray) and result.ndim == 2:
        heads = _matrix_names(name, result.shape[1], classes)
        pairs = [(head, result[:, position]) for position, head in enumerate(heads)]
        return ResultColumns(_checked(pairs), named=False, plain=False)
    else:
        return ResultColumns([(name, result)], named=False, plain=True)
    return ResultColumns(_checked(pairs), named=True, plain=False)


def array_of_column(values: Any) -> pa.Array:
    """One column as an Arrow array.

    Raises:
        MixedValuesError, NoArrowFormError, TypeError: the values have no common Arrow type, or none at all.
    """
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    if isinstance(values, pa.Array):
        return values
    if is_pandas_column(values):
        return array_of_pandas(values)
    if isinstance(values, np.ndarray):
        return array_of(values.tolist()) if values.dtype.kind == "O" else array_of_numpy(values)
    return array_of(values)


def values_of_column(values: Any) -> list[Any]:
    """One column as a list of the function's own values, for JSON texts."""
    if isinstance(values, _ARROW_COLUMNS):
        plain: list[Any] = values.to_pylist()
        return plain
    if isinstance(values, np.ndarray) and values.dtype.kind not in "mM":
        found: list[Any] = values.tolist()
        return found
    return list(values)


def _settled_foreign(result: Any) -> Any:
    """Values of libraries that are not imported here, told by their methods; and iterators."""
    if hasattr(result, "toarray"):  # a sparse matrix of scipy
        return _settled_array(np.asarray(result.toarray()))
    if hasattr(result, "__arrow_c_stream__"):  # a frame or a column of another library, such as polars
        return pa.table(result) if hasattr(result, "columns") else pa.chunked_array(result)
    if hasattr(result, "__array__") or hasattr(result, "detach"):
        try:
            return _settled_array(numpy_of(result))
        except (TypeError, RuntimeError) as error:  # such as torch's bfloat16, which numpy does not know
            told = str(error).partition("\n")[0]
            raise ModelError(f"the function returned {type(result).__name__} that is no numpy array: {told}") from error
    if isinstance(result, Iterable):
        return list(result)
    raise _not_rows(result)


def _settled_array(array: np.ndarray[Any, Any]) -> Any:
    if isinstance(array, np.matrix):
        array = np.asarray(array)
    return [array[()]] if array.ndim == 0 else array


def _settled_mapping(result: Mapping[Any, Any]) -> dict[str, Any]:
    settled: dict[str, Any] = {}
    for head, values in result.items():
        if not _is_column(values):
            raise ModelError(
                f"the function returned {type(result).__name__} whose value {head!r} is {type(values).__name__}, expected "
                "one result for each row: return a list with one dict for each row, or a dict of columns"
            )
        settled[str(head)] = settle_result(values)
    if len(settled) < len(result):
        raise ModelError(f"the function returned a dict in which two column names read alike: {_heads(result)}")
    if not settled:
        raise _not_rows(result)
    lengths = {head: len(values) for head, values in settled.items()}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{head}: {length}" for head, length in lengths.items())
        raise ModelError(f"the function returned columns of different lengths ({told})")
    return settled


def _is_column(values: Any) -> bool:
    if isinstance(values, (list, tuple, *_ARROW_COLUMNS)) or is_pandas_column(values):
        return True
    return hasattr(values, "__array__") and not is_pandas_frame(values) and getattr(values, "ndim", 1) > 0


def _not_rows(result: Any) -> ModelError:
    kind = "None" if result is None else type(result).__name__
    cure = "does it lack a return?" if result is None else "return a list, an array or a frame"
    if isinstance(result, (set, frozenset)):
        cure = "a set has no order; return a list"
    return ModelError(f"the function returned {kind}, expected one result for each row: {cure}")


def _matrix_names(name: str, width: int, classes: Sequence[Any] | None) -> list[str]:
    if classes is not None and len(classes) == width:
        heads = [f"{name}_{each}" for each in classes]
        if len(set(heads)) == width:
            return heads
    return [f"{name}_{position}" for position in range(width)]


def _checked(pairs: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
    heads = [head for head, _ in pairs]
    if not heads:
        raise ModelError("the function returned a table without columns, expected one result for each row")
    twice = next((head for position, head in enumerate(heads) if head in heads[:position]), None)
    if twice is not None:
        raise ModelError(f"the function returned two columns named {twice!r}; rename one of them")
    return pairs


def _heads(result: Mapping[Any, Any]) -> str:
    return ", ".join(repr(head) for head in result)
