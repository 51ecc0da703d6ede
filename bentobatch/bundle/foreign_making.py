"""This module writes the service for a model file that came without one, and saves both as a bundle; run in a child process.

The service is a short module in the bundle, with the columns and types that the model asks for written out.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from bentobatch.bundle.save import save_bundle
from bentobatch.errors import BentobatchError, BundleError, MissingDependencyError, UsageError
from bentobatch.frameworks.libraries import library
from bentobatch.frameworks.mlflow import MLflowModelArtifact
from bentobatch.frameworks.mlflow_description import signature_types
from bentobatch.frameworks.onnx import OnnxModelArtifact, tensors_of
from bentobatch.frameworks.onnx_tables import check_inputs, column_types
from bentobatch.frameworks.skops import SkopsModelArtifact

MODULE = "bentobatch_foreign_service"
_TEXT = '''"""This module serves the {what} that a command of bentobatch was given."""

import bentobatch
from bentobatch.adapters import DataframeInput
{imports}


@bentobatch.env(infer_pip_packages=True)
@bentobatch.artifacts([{artifact}])
class {service}(bentobatch.BentoService):
    @bentobatch.api(input=DataframeInput({schema}), batch=True)
    def predict(self, df):
        return {call}
'''
_MLFLOW_TYPES = {
    "boolean": "bool",
    "integer": "int32",
    "long": "int64",
    "float": "float32",
    "double": "float64",
    "string": "str",
    "binary": "bytes",
    "datetime": "datetime64[ns]",
}
"""Columns of other types (arrays, objects, tensors) are taken as the file has them."""


def main(arguments: list[str]) -> None:
    """The child's entry: make the bundle, and leave an answer beside it. ``arguments``: the request as JSON."""
    request = json.loads(arguments[0])
    folder = Path(request["folder"])
    answer: dict[str, Any] = {}
    try:
        make(request, folder)
        answer["beside"] = files_beside(Path(request["path"])) if request["kind"] == "onnx" else []
    except BentobatchError as error:
        answer = {"error": type(error).__name__, "message": str(error)}
    (folder / "answer.part").write_text(json.dumps(answer), encoding="utf-8")
    os.replace(folder / "answer.part", folder / "answer.json")


def make(request: Mapping[str, Any], folder: Path) -> None:
    """Save the bundle of the request's model as ``folder/bundle``.

    Raises: as bundle.foreign.bundle_of_model.
    """
    path = Path(request["path"])
    values = _SERVICES[request["kind"]](path, request["trust_types"])
    source = folder / f"{MODULE}.py"
    source.write_text(_TEXT.format(**values), encoding="utf-8")
    module = _imported(source)
    service = getattr(module, values["service"])()
    service.set_version(request["version"])
    service.pack("model", path)
    save_bundle(service, folder / "bundle")


def files_beside(path: Path) -> list[str]:
    """The names of the files that hold tensors of the ONNX model at ``path``, and lie beside it."""
    onnx = library("onnx", "an ONNX model")
    helper = onnx.external_data_helper
    tensors = tensors_of(onnx.load(str(path), load_external_data=False))
    return sorted({str(helper.ExternalDataInfo(each).location) for each in tensors if helper.uses_external_data(each)})


def _imported(source: Path) -> ModuleType:
    """The module that was just written; its folder, which is looked into first, holds nothing else."""
    sys.path.insert(0, str(source.parent))
    return importlib.import_module(MODULE)


def _onnx(path: Path, _trust_types: list[str]) -> dict[str, str]:
    artifact = OnnxModelArtifact("model")
    try:
        artifact.pack(path)
    except UsageError as error:
        if isinstance(error, MissingDependencyError):
            raise
        raise BundleError(str(error)) from error  # it is the file that is wrong, and not how it was packed
    session = artifact.get()
    check_inputs(session)
    columns, types = column_types(session)
    return {
        "what": "ONNX model",
        "service": "OnnxModel",
        "imports": "from bentobatch.frameworks.onnx import OnnxModelArtifact\n"
        "from bentobatch.frameworks.onnx_tables import predict_table",
        "artifact": 'OnnxModelArtifact("model")',
        "schema": f"columns={columns!a}, dtype={types!a}",
        "call": "predict_table(self.artifacts.model, df)",
    }


def _mlflow(path: Path, _trust_types: list[str]) -> dict[str, str]:
    artifact = MLflowModelArtifact("model")
    artifact.pack(path)
    types = signature_types(artifact.description)
    columns = list(types) or None
    declared = {name: _MLFLOW_TYPES[kind] for name, kind in types.items() if kind in _MLFLOW_TYPES} or None
    return {
        "what": "MLflow model",
        "service": "MlflowModel",
        "imports": "from bentobatch.frameworks.mlflow import MLflowModelArtifact, predict_table",
        "artifact": 'MLflowModelArtifact("model")',
        "schema": f"columns={columns!a}, dtype={declared!a}",
        "call": "predict_table(self.artifacts.model, df)",
    }


def _skops(_path: Path, trust_types: list[str]) -> dict[str, str]:
    return {
        "what": "skops model",
        "service": "SkopsModel",
        "imports": f"from {SkopsModelArtifact.__module__} import SkopsModelArtifact",
        "artifact": f'SkopsModelArtifact("model", trusted={trust_types!a})',
        "schema": "",
        "call": "self.artifacts.model.predict(df)",
    }


_SERVICES: dict[str, Callable[[Path, list[str]], dict[str, str]]] = {"onnx": _onnx, "mlflow": _mlflow, "skops": _skops}
