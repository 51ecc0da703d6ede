"""This module lists what a pickle or joblib file refers to by name, without importing or executing any of it.

It runs the pickle's opcodes on stand-ins: every name becomes an inert class that takes any call, state or item and
keeps nothing. Reading opcodes alone would not do: joblib lays raw array data between them, and how much of it is known
only to who follows the stack (pickletools.genops stops there). Files are read as a stream; large byte strings are
skipped, so that a model of many gigabytes takes no memory of that size.
"""

from __future__ import annotations

import dis
import importlib
import io
import pickle
import types
from collections.abc import Callable
from typing import IO, Any, cast

from bentobatch.errors import BundleError

# The unpickler in Python, whose steps can be followed; joblib stands on it too. typeshed knows little of it.
_PYTHON_UNPICKLER: Any = pickle._Unpickler

_SKIP_BYTES = 1 << 20
_CHUNK = 1 << 20
_MAGIC = (b"\x78", b"\x1f\x8b", b"BZ", b"\x5d\x00", b"\xfd7zXZ", b"\x04\x22\x4d\x18")  # zlib gzip bz2 lzma xz lz4


def open_stream(file: io.BufferedReader) -> IO[bytes]:
    """``file`` as it is where it holds a pickle, or decompressed where joblib compressed it."""
    if not file.peek(8).startswith(_MAGIC):
        return file
    from joblib.compressor import _COMPRESSORS  # only joblib writes such files, so it is there
    from joblib.numpy_pickle_utils import _detect_compressor

    compressor = _COMPRESSORS.get(_detect_compressor(file))
    if compressor is None:
        return file
    return cast("IO[bytes]", io.BufferedReader(compressor.decompressor_file(file), buffer_size=_CHUNK))


def references_in(file: io.BufferedReader, path: str) -> set[tuple[str, str]]:
    """Each (module, name) in the pickle; the name is "" for a module that is referred to as a whole.

    Raises:
        BundleError: the file is no pickle, or ends too early.
    """
    found: set[tuple[str, str]] = set()
    try:
        _Reader(open_stream(file), found).load()
    except MemoryError:
        raise
    except Exception as error:  # damaged opcodes fail in any way; nothing of the pickle ran
        raise BundleError(
            f"{path} is not a pickle that can be read ({type(error).__name__}: {error}); save the model again"
        ) from error
    return found


class _StandInType(type):
    """The type of stand-ins, so that a name that is used as a class, a function or a constant is all the same."""

    def __call__(cls, *_args: Any, **_options: Any) -> Any:
        return _StandIn.__new__(_StandIn)


class _StandIn(metaclass=_StandInType):
    """Whatever the pickle names or builds: takes everything, keeps nothing."""

    def __new__(cls, *_args: Any, **_options: Any) -> _StandIn:
        return object.__new__(_StandIn)

    def __setstate__(self, state: Any) -> None: ...
    def __setitem__(self, key: Any, value: Any) -> None: ...
    def __call__(self, *_args: Any, **_options: Any) -> _StandIn:
        return self

    def append(self, item: Any) -> None: ...
    def extend(self, items: Any) -> None: ...
    def add(self, item: Any) -> None: ...


class _Array:
    """joblib's note that an array's raw data comes next; ``__setstate__`` keeps what tells how many bytes."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.shape = state["shape"]
        self.dtype = state["dtype"]
        self.aligned = state.get("numpy_array_alignment_bytes") is not None


def _item_type(module: str, name: str) -> Any:
    """numpy's own dtype and scalar types, which tell how long an array's items are; anything else is a stand-in."""
    numpy = importlib.import_module("numpy")  # whoever wrote an array has it
    found = getattr(importlib.import_module(module), name, None)
    return found if isinstance(found, type) and issubclass(found, (numpy.dtype, numpy.generic)) else _StandIn


class _Reader(_PYTHON_UNPICKLER):  # type: ignore[misc]
    dispatch = _PYTHON_UNPICKLER.dispatch.copy()

    def __init__(self, stream: IO[bytes], found: set[tuple[str, str]]) -> None:
        super().__init__(stream)
        self._stream = stream
        self._found = found

    def find_class(self, module: str, name: str) -> Any:
        self._found.add((module, name))
        if (module, name) == ("joblib.numpy_pickle", "NumpyArrayWrapper"):
            return _Array
        if module in ("numpy", "numpy.dtypes"):
            return _item_type(module, name)
        if module.endswith(("cloudpickle.cloudpickle", "cloudpickle.cloudpickle_fast")):
            return {"subimport": self._module, "_builtin_type": self._builtin_type}.get(name, _StandIn)
        return _StandIn

    def get_extension(self, code: int) -> None:
        raise pickle.UnpicklingError(f"it uses extension code {code}")

    def persistent_load(self, _id: Any) -> Any:
        return _StandIn()

    def _module(self, name: str) -> _StandIn:
        self._found.add((name, ""))
        return _StandIn()

    def _builtin_type(self, name: str) -> Any:
        return self._code if name == "CodeType" else _StandIn

    def _code(self, *args: Any) -> Any:
        """The code of a function that was stored by value: made to be read, never run. Notes what it imports."""
        try:
            code = types.CodeType(*args)
        except (TypeError, ValueError):  # of another Python version: it cannot be read here
            return _StandIn()
        for step in dis.get_instructions(code):
            if step.opname == "IMPORT_NAME" and step.argval:
                self._found.add((step.argval, ""))
        return code

    def _load_build(self) -> None:
        super().load_build()
        array = self.stack[-1]
        if not isinstance(array, _Array):
            return
        self.stack[-1] = _StandIn()
        if array.dtype.hasobject:
            type(self)(self._stream, self._found).load()
            return
        if array.aligned:
            self._skip(self._stream.read(1)[0], self._stream.read)
        size = array.dtype.itemsize
        for length in array.shape:
            size *= int(length)
        self._skip(size, self._stream.read)

    def _skip(self, size: int, read: Callable[[int], bytes]) -> None:
        while size > 0:
            piece = read(min(size, _CHUNK))
            if not piece:
                raise EOFError("its data ends too early")
            size -= len(piece)

    def _load_long_bytes(self) -> None:
        size = int.from_bytes(self.read(8), "little")
        if size <= _SKIP_BYTES:
            self.append(self.read(size))
            return
        self._skip(size, self.read)
        self.append(b"")

    dispatch[pickle.BUILD[0]] = _load_build
    dispatch[pickle.BINBYTES8[0]] = _load_long_bytes
    dispatch[pickle.BYTEARRAY8[0]] = _load_long_bytes
