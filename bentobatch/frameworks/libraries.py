"""This module imports a model library at the moment when it is needed, and says what to install where it is missing."""

from __future__ import annotations

import importlib
from typing import Any

from bentobatch.errors import MissingDependencyError

EXTRAS = {
    "sklearn": "sklearn",
    "joblib": "sklearn",
    "xgboost": "xgboost",
    "lightgbm": "lightgbm",
    "catboost": "catboost",
    "statsmodels": "statsmodels",
    "skops": "skops",
    "mlflow": "mlflow",
    "spacy": "spacy",
    "fasttext": "fasttext",
    "h2o": "h2o",
    "onnx": "onnx",
    "onnxruntime": "onnx",
    "torch": "torch",
    "fastai": "fastai",
    "paddle": "paddle",
    "coremltools": "coreml",
    "transformers": "transformers",
    "tensorflow": "tensorflow",
    "keras": "keras",
}
"""The extra of the bentobatch distribution that brings each library, by the library's import name."""


def library(name: str, needed_by: str) -> Any:
    """The module ``name``, imported now; ``needed_by`` is the artifact class, for the message.

    Raises:
        MissingDependencyError: it is not installed; the message names the extra.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != name.partition(".")[0]:
            raise
        raise missing_library(name, needed_by) from error


def missing_library(name: str, needed_by: str) -> MissingDependencyError:
    """The error for a library that is not installed, to raise from the ImportError."""
    top = name.partition(".")[0]
    return MissingDependencyError(
        f"{needed_by} needs the library {top}, which is not installed: {install_command(top)}"
    )


def install_command(name: str) -> str:
    """What brings the module ``name``, as far as its name tells."""
    top = name.partition(".")[0]
    return f"pip install bentobatch[{EXTRAS[top]}]" if top in EXTRAS else f"pip install {top}"
