"""This module writes values as JSON and raw buffers, and reads them again: what passes between a model in a process of an
older Python and the code that calls it.

It is loaded there by its path, without the rest of bentobatch: so it needs Python 3.7 and numpy only, and stays so.

Source of the form: a JSON tree in which what is no plain text, number or list is {"t": kind, ...}; arrays are numbers of
buffers, in C order.
"""

from __future__ import annotations

import json
import struct
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

_LENGTH = struct.Struct("!Q")
_RAW_KINDS = "biufcSUmM"


class OpaqueError(TypeError):
    """A value that has no form here."""


def encode(value: Any, buffers: list[bytes], path: list[Any] | None = None) -> Any:
    """``value`` as JSON values; its arrays are appended to ``buffers``. Where it has no form, it is {"t": "object"} with
    ``path``, by which the receiver may name it: a list of ["attr", name] and ["item", key].

    Raises:
        OpaqueError: it has no form, and no path.
    """
    if value is None or isinstance(value, (bool, str)) or type(value) in (int, float):
        return value
    if isinstance(value, (list, tuple)):
        inner = [encode(item, buffers, _further(path, "item", number)) for number, item in enumerate(value)]
        return {"t": "tuple" if isinstance(value, tuple) else "list", "v": inner}
    if isinstance(value, dict):
        inner = [
            [encode(key, buffers), encode(item, buffers, _further(path, "item", key))] for key, item in value.items()
        ]
        return {"t": "dict", "v": inner}
    if isinstance(value, (bytes, bytearray)):
        buffers.append(bytes(value))
        return {"t": "bytes", "b": len(buffers) - 1}
    if isinstance(value, np.ndarray):
        return _array(value, buffers)
    if isinstance(value, np.generic):
        return {"t": "scalar", "v": _array(np.asarray(value), buffers)}
    found = _of_library(value, buffers)
    if found is not None:
        return found
    if path is None:
        raise OpaqueError(f"a {type(value).__name__} cannot be passed between the model's process and this one")
    return {"t": "object", "p": path, "n": type(value).__name__}


def decode(form: Any, buffers: Sequence[bytes], make_object: Callable[[list[Any], str], Any] | None = None) -> Any:
    """The value that ``encode`` wrote; ``make_object`` is given the path and the type's name of one without a form."""
    if not isinstance(form, dict):
        return form
    kind = form["t"]
    if kind in ("list", "tuple"):
        items = [decode(item, buffers, make_object) for item in form["v"]]
        return tuple(items) if kind == "tuple" else items
    if kind == "dict":
        return {decode(key, buffers): decode(item, buffers, make_object) for key, item in form["v"]}
    if kind == "bytes":
        return bytes(buffers[form["b"]])
    if kind == "array":
        return np.frombuffer(bytearray(buffers[form["b"]]), dtype=np.dtype(form["d"])).reshape(form["s"])
    if kind == "objects":
        made = np.empty(len(form["v"]), dtype=object)
        made[:] = [decode(item, buffers, make_object) for item in form["v"]]
        return made.reshape(form["s"])
    if kind == "scalar":
        return decode(form["v"], buffers)[()]
    if kind == "object":
        assert make_object is not None, "only answers hold such"
        return make_object(form["p"], form["n"])
    return _to_library(form, buffers)


def send(stream: Any, message: Any, buffers: Sequence[bytes] = ()) -> None:
    """Write one message and its buffers to a binary stream."""
    text = json.dumps({"message": message, "sizes": [len(buffer) for buffer in buffers]}).encode()
    stream.write(_LENGTH.pack(len(text)))
    stream.write(text)
    for buffer in buffers:
        stream.write(buffer)
    stream.flush()


def receive(stream: Any) -> tuple[Any, list[bytes]] | None:
    """The next message and its buffers, or None at the stream's end."""
    head = stream.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    text = stream.read(_LENGTH.unpack(head)[0])
    try:
        told = json.loads(text.decode())
    except ValueError:  # the other end died while it wrote
        return None
    buffers = [stream.read(size) for size in told["sizes"]]
    if any(len(buffer) != size for buffer, size in zip(buffers, told["sizes"])):  # noqa: B905 - strict came with 3.10
        return None
    return told["message"], buffers


def _further(path: list[Any] | None, kind: str, key: Any) -> list[Any] | None:
    return None if path is None or not isinstance(key, (str, int)) else [*path, [kind, key]]


def _array(array: Any, buffers: list[bytes]) -> dict[str, Any]:
    if array.dtype.kind in _RAW_KINDS:
        buffers.append(np.ascontiguousarray(array).tobytes())
        return {"t": "array", "d": array.dtype.str, "s": list(array.shape), "b": len(buffers) - 1}
    if array.dtype.kind == "O":
        return {"t": "objects", "s": list(array.shape), "v": [encode(item, buffers) for item in array.ravel().tolist()]}
    raise OpaqueError(f"an array of {array.dtype} cannot be passed between the model's process and this one")


def _of_library(value: Any, buffers: list[bytes]) -> dict[str, Any] | None:
    """A frame, a series, an index or a sparse matrix, by the libraries that are imported already: nothing else has such."""
    pandas = sys.modules.get("pandas")
    if pandas is not None and isinstance(value, pandas.DataFrame):
        columns = [_array(_numpy(value.iloc[:, number]), buffers) for number in range(value.shape[1])]
        return {
            "t": "frame",
            "c": [encode(name, buffers) for name in value.columns.tolist()],
            "v": columns,
            "r": len(value),
        }
    if pandas is not None and isinstance(value, pandas.Series):
        name = value.name if isinstance(value.name, (str, int)) else None
        return {"t": "series", "n": name, "v": _array(_numpy(value), buffers)}
    if pandas is not None and isinstance(value, pandas.Index):
        return _array(value.to_numpy(), buffers)
    sparse = sys.modules.get("scipy.sparse")
    if sparse is not None and sparse.issparse(value):
        rows = value.tocsr()
        parts = [_array(part, buffers) for part in (rows.data, rows.indices, rows.indptr)]
        return {"t": "sparse", "s": list(rows.shape), "v": parts}
    return None


def _to_library(form: Any, buffers: Sequence[bytes]) -> Any:
    if form["t"] == "sparse":
        from scipy import sparse

        parts = tuple(decode(part, buffers) for part in form["v"])
        return sparse.csr_matrix(parts, shape=tuple(form["s"]))
    import pandas

    if form["t"] == "series":
        return pandas.Series(decode(form["v"], buffers), name=form["n"])
    names = [decode(name, buffers) for name in form["c"]]
    columns = dict(enumerate(decode(column, buffers) for column in form["v"]))
    frame = pandas.DataFrame(columns, index=range(form["r"]))
    frame.columns = names
    return frame


def _numpy(series: Any) -> Any:
    """A column as numpy has it: plain dtypes as they are, all others as objects with None for what is missing."""
    if isinstance(series.dtype, np.dtype):
        return series.to_numpy()
    values = series.astype(object).to_numpy(copy=True)
    values[series.isna().to_numpy()] = None
    return values
