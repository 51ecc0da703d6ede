"""This module reads a file of joblib.dump with a find_class of our own, also inside its arrays of objects.

joblib.load has no place for that. What is used of joblib's inside (NumpyUnpickler, NumpyArrayWrapper) is the same from
1.2 to 1.6 but for one argument, which is passed where it is taken.
"""

from __future__ import annotations

import inspect
import pickle
from collections.abc import Callable
from typing import IO, Any

from joblib.numpy_pickle import NumpyArrayWrapper, NumpyUnpickler

Find = Callable[[str, str, Callable[[str, str], Any]], Any]


def load(stream: IO[bytes], find: Find) -> Any:
    """The object in ``stream`` (already decompressed); ``find(module, name, look_up)`` gives what it refers to."""
    return _Unpickler(stream, find).load()


class _Unpickler(NumpyUnpickler):  # type: ignore[misc]
    # a class attribute of the base that is keyed by opcode: methods below are found through it only where listed
    dispatch = NumpyUnpickler.dispatch.copy()

    def __init__(self, stream: IO[bytes], find: Find) -> None:
        takes_order = "ensure_native_byte_order" in inspect.signature(NumpyUnpickler.__init__).parameters
        super().__init__("", stream, **({"ensure_native_byte_order": True} if takes_order else {}))
        self._find = find

    def find_class(self, module: str, name: str) -> Any:
        if module == "joblib.numpy_pickle" and name == "NumpyArrayWrapper":
            return _ArrayWrapper
        return self._find(module, name, super().find_class)


class _ArrayWrapper(NumpyArrayWrapper):  # type: ignore[misc]
    """An array of Python objects is a pickle of its own in the stream, which joblib before 1.6 gives to pickle.load."""

    def read_array(self, unpickler: Any, *options: Any) -> Any:
        if self.dtype.hasobject:
            return _Nested(unpickler).load()
        return super().read_array(unpickler, *options)


class _Nested(pickle._Unpickler):  # the C one reads ahead, beyond the nested pickle
    def __init__(self, outer: _Unpickler) -> None:
        super().__init__(outer.file_handle)
        self._outer = outer

    def find_class(self, module: str, name: str) -> Any:
        return self._outer._find(module, name, super().find_class)
