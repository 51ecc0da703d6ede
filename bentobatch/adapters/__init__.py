"""This module names the adapters; each is imported at its first use, so that importing the package costs nothing."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bentobatch.adapters.annotated_images import AnnotatedImageInput
    from bentobatch.adapters.arrow import ArrowInput
    from bentobatch.adapters.base import LINE_COLUMN, Converted, InputAdapter, OutputAdapter
    from bentobatch.adapters.dataframe import DataframeInput
    from bentobatch.adapters.files import BadFileError, FileInput, FilesInput, StoredFile
    from bentobatch.adapters.images import ImageInput
    from bentobatch.adapters.json_values import JsonInput, StringInput
    from bentobatch.adapters.multi_files import MultiFileInput
    from bentobatch.adapters.multi_images import MultiImageInput
    from bentobatch.adapters.numpy_input import NumpyInput
    from bentobatch.adapters.outputs import DataframeOutput, DefaultOutput, JsonOutput
    from bentobatch.adapters.results import result_length, settle_result
    from bentobatch.adapters.tf_tensors import TfTensorInput, TfTensorOutput
    from bentobatch.adapters.torch_tensors import TorchTensorInput

__all__ = [
    "LINE_COLUMN",
    "AnnotatedImageInput",
    "ArrowInput",
    "BadFileError",
    "Converted",
    "DataframeInput",
    "DataframeOutput",
    "DefaultOutput",
    "FileInput",
    "FilesInput",
    "ImageInput",
    "InputAdapter",
    "JsonInput",
    "JsonOutput",
    "MultiFileInput",
    "MultiImageInput",
    "NumpyInput",
    "OutputAdapter",
    "StoredFile",
    "StringInput",
    "TfTensorInput",
    "TfTensorOutput",
    "TorchTensorInput",
    "result_length",
    "settle_result",
]

_HOMES = {
    "LINE_COLUMN": "base",
    "AnnotatedImageInput": "annotated_images",
    "ArrowInput": "arrow",
    "BadFileError": "files",
    "Converted": "base",
    "DataframeInput": "dataframe",
    "DataframeOutput": "outputs",
    "DefaultOutput": "outputs",
    "FileInput": "files",
    "FilesInput": "files",
    "ImageInput": "images",
    "InputAdapter": "base",
    "JsonInput": "json_values",
    "JsonOutput": "outputs",
    "MultiFileInput": "multi_files",
    "MultiImageInput": "multi_images",
    "NumpyInput": "numpy_input",
    "OutputAdapter": "base",
    "StoredFile": "files",
    "StringInput": "json_values",
    "TfTensorInput": "tf_tensors",
    "TfTensorOutput": "tf_tensors",
    "TorchTensorInput": "torch_tensors",
    "result_length": "results",
    "settle_result": "results",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
