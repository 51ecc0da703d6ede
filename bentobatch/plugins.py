"""This module finds formats, adapters, frameworks and executors by name, and imports one only when it is asked for.

The tables are plain strings ("module:Class" and an install hint), so that listing what exists imports nothing.
Other distributions add their own through the entry-point groups ``bentobatch.formats``, ``bentobatch.adapters``,
``bentobatch.frameworks`` and ``bentobatch.executors``.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any

from bentobatch.errors import MissingDependencyError, UsageError


@dataclass(frozen=True)
class Plugin:
    """Where a named thing lives. ``target`` is "module:attribute"; ``hint`` tells what to install when it is missing."""

    target: str
    hint: str = ""


_ADAPTER = "bentobatch.adapters"
_FRAMEWORK = "bentobatch.frameworks"
_FORMAT = "bentobatch.formats"

TABLES: dict[str, dict[str, Plugin]] = {
    "formats": {
        "parquet": Plugin(f"{_FORMAT}.parquet:ParquetFormat"),
        "csv": Plugin(f"{_FORMAT}.csv:CsvFormat"),
        "jsonl": Plugin(f"{_FORMAT}.json_lines:JsonLinesFormat"),
        "text": Plugin(f"{_FORMAT}.text:TextFormat"),
        "arrow": Plugin(f"{_FORMAT}.arrow_ipc:ArrowFormat"),
        "orc": Plugin(f"{_FORMAT}.orc:OrcFormat"),
        "binary_files": Plugin(f"{_FORMAT}.binary_files:BinaryFilesFormat"),
    },
    "adapters": {
        "DataframeInput": Plugin(f"{_ADAPTER}.dataframe:DataframeInput"),
        "JsonInput": Plugin(f"{_ADAPTER}.json_values:JsonInput"),
        "StringInput": Plugin(f"{_ADAPTER}.json_values:StringInput"),
        "ArrowInput": Plugin(f"{_ADAPTER}.arrow:ArrowInput"),
        "FileInput": Plugin(f"{_ADAPTER}.files:FileInput"),
        "MultiFileInput": Plugin(f"{_ADAPTER}.multi_files:MultiFileInput"),
        "ImageInput": Plugin(f"{_ADAPTER}.images:ImageInput"),
        "MultiImageInput": Plugin(f"{_ADAPTER}.multi_images:MultiImageInput"),
        "AnnotatedImageInput": Plugin(f"{_ADAPTER}.annotated_images:AnnotatedImageInput"),
        "NumpyInput": Plugin(f"{_ADAPTER}.numpy_input:NumpyInput"),
        "TfTensorInput": Plugin(f"{_ADAPTER}.tf_tensors:TfTensorInput"),
        "TorchTensorInput": Plugin(f"{_ADAPTER}.torch_tensors:TorchTensorInput"),
        "DefaultOutput": Plugin(f"{_ADAPTER}.outputs:DefaultOutput"),
        "DataframeOutput": Plugin(f"{_ADAPTER}.outputs:DataframeOutput"),
        "JsonOutput": Plugin(f"{_ADAPTER}.outputs:JsonOutput"),
        "TfTensorOutput": Plugin(f"{_ADAPTER}.tf_tensors:TfTensorOutput"),
    },
    "frameworks": {
        "SklearnModelArtifact": Plugin(f"{_FRAMEWORK}.sklearn:SklearnModelArtifact", "pip install scikit-learn"),
        "XgboostModelArtifact": Plugin(f"{_FRAMEWORK}.xgboost:XgboostModelArtifact", "pip install xgboost"),
        "LightGBMModelArtifact": Plugin(f"{_FRAMEWORK}.lightgbm:LightGBMModelArtifact", "pip install lightgbm"),
        "CatBoostModelArtifact": Plugin(f"{_FRAMEWORK}.catboost:CatBoostModelArtifact", "pip install catboost"),
        "StatsmodelsModelArtifact": Plugin(
            f"{_FRAMEWORK}.statsmodels:StatsmodelsModelArtifact", "pip install statsmodels"
        ),
        "MLflowModelArtifact": Plugin(f"{_FRAMEWORK}.mlflow:MLflowModelArtifact", "pip install bentobatch[mlflow]"),
        "SpacyModelArtifact": Plugin(f"{_FRAMEWORK}.spacy:SpacyModelArtifact", "pip install bentobatch[spacy]"),
        "FasttextModelArtifact": Plugin(
            f"{_FRAMEWORK}.fasttext:FasttextModelArtifact", "pip install bentobatch[fasttext]"
        ),
        "H2oModelArtifact": Plugin(f"{_FRAMEWORK}.h2o:H2oModelArtifact", "pip install bentobatch[h2o]"),
        "SkopsModelArtifact": Plugin(f"{_FRAMEWORK}.skops:SkopsModelArtifact", "pip install skops"),
        "PytorchModelArtifact": Plugin(f"{_FRAMEWORK}.pytorch:PytorchModelArtifact", "pip install bentobatch[torch]"),
        "PytorchLightningModelArtifact": Plugin(
            f"{_FRAMEWORK}.pytorch:PytorchLightningModelArtifact", "pip install bentobatch[torch]"
        ),
        "TensorflowSavedModelArtifact": Plugin(
            f"{_FRAMEWORK}.tensorflow:TensorflowSavedModelArtifact", "pip install bentobatch[tensorflow]"
        ),
        "KerasModelArtifact": Plugin(f"{_FRAMEWORK}.keras:KerasModelArtifact", "pip install bentobatch[keras]"),
        "TransformersModelArtifact": Plugin(
            f"{_FRAMEWORK}.transformers:TransformersModelArtifact", "pip install bentobatch[transformers]"
        ),
        "FastaiModelArtifact": Plugin(f"{_FRAMEWORK}.fastai:FastaiModelArtifact", "pip install bentobatch[fastai]"),
        "PaddlePaddleModelArtifact": Plugin(
            f"{_FRAMEWORK}.paddle:PaddlePaddleModelArtifact", "pip install bentobatch[paddle]"
        ),
        "CoreMLModelArtifact": Plugin(f"{_FRAMEWORK}.coreml:CoreMLModelArtifact", "pip install bentobatch[coreml]"),
        "OnnxModelArtifact": Plugin(f"{_FRAMEWORK}.onnx:OnnxModelArtifact", "pip install bentobatch[onnx]"),
        "PickleArtifact": Plugin(f"{_FRAMEWORK}.pickle:PickleArtifact"),
        "JSONArtifact": Plugin(f"{_FRAMEWORK}.json:JSONArtifact"),
        "TextFileArtifact": Plugin(f"{_FRAMEWORK}.text:TextFileArtifact"),
    },
    "executors": {
        "dask": Plugin("bentobatch_dask.executor:DaskScheduler", "pip install bentobatch[dask]"),
        "spark": Plugin("bentobatch_spark.executor:SparkScheduler", "pip install bentobatch[spark]"),
        "celery": Plugin("bentobatch_celery.executor:CeleryScheduler", "pip install bentobatch[celery]"),
    },
}


def find(kind: str, name: str) -> Any:
    """The class registered as ``name`` under ``kind`` (one of the keys of TABLES).

    Raises:
        UsageError: nothing of that name is registered.
        MissingDependencyError: it is registered, but a library that it imports is not installed.
    """
    plugin = TABLES[kind].get(name)
    if plugin is None:
        for entry in entry_points(group=f"bentobatch.{kind}"):
            if entry.name == name:
                return entry.load()
        known = ", ".join(sorted(TABLES[kind]))
        raise UsageError(f"no {kind[:-1]} is named {name!r}; known are: {known}")
    module_name, _, attribute = plugin.target.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "bentobatch":
            raise
        hint = plugin.hint or f"pip install {error.name}"
        raise MissingDependencyError(
            f"{name} needs the library {error.name}, which is not installed: {hint}"
        ) from error
    return getattr(module, attribute)
