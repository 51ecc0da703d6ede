"""Tests of the artifacts that old services declare: BentoML's arguments, own ones in its manner, and those we have not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bentobatch import plugins
from bentobatch.bundle.load import load
from bentobatch.errors import BentobatchError, UsageError
from bentobatch.legacy.names import _FRAMEWORKS
from tests.legacy.layout import SERVICE, service_of, write_bundle


def test_own_artifacts_in_bentomls_manner_work(tmp_path: Path) -> None:
    """pack, save, load and get, with `return self.pack(…)` at the end of load, and options with defaults."""
    body = """
import os
from bentoml.service.artifacts import BentoServiceArtifact
from bentoml.service.env import BentoServiceEnv

class Number(BentoServiceArtifact):
    def __init__(self, name, extension=".num"):
        super(Number, self).__init__(name)
        self._extension = extension
        self._number = None

    def set_dependencies(self, env: BentoServiceEnv):
        env.add_pip_packages(["nothing"])

    def pack(self, number, metadata=None):
        self._number = number
        return self

    def load(self, path):
        with open(os.path.join(path, self.name + self._extension)) as file:
            return self.pack(float(file.read()))

    def save(self, dst):
        with open(os.path.join(dst, self.name + self._extension), "w") as file:
            file.write(str(self._number))

    def get(self):
        return self._number

@bentoml.artifacts([Number("number", extension=".txt")])
class Doubler(bentoml.BentoService):
    pass
"""
    service = service_of(tmp_path, body, files={"artifacts/number.txt": "2.5"})
    assert service.artifacts.number == 2.5


def test_a_subclass_loads_its_own_artifacts_only(tmp_path: Path) -> None:
    """In BentoML the list of a subclass took the place of its base's, and only its models were saved."""
    body = """
@bentoml.artifacts([PickleArtifact("never_saved")])
class Base(bentoml.BentoService):
    pass

@bentoml.artifacts([PickleArtifact("model")])
class Doubler(Base):
    pass
"""
    assert list(service_of(tmp_path, body).artifacts.keys()) == ["model"]


def test_an_artifact_that_the_house_has_not_is_told_by_its_name(tmp_path: Path) -> None:
    """Importing it is no error: the line may be a remnant."""
    head = "from bentoml.frameworks.gluon import GluonModelArtifact\n"
    assert load(write_bundle(tmp_path / "unused", head + SERVICE)).name == "Doubler"
    text = head + SERVICE.replace("PickleArtifact('model')", "GluonModelArtifact('model')")
    with pytest.raises(UsageError, match="this bentobatch has no artifact GluonModelArtifact"):
        load(write_bundle(tmp_path / "used", text))


@pytest.mark.parametrize(("module", "name"), [(module, name) for module in _FRAMEWORKS for name in _FRAMEWORKS[module]])
def test_every_artifact_of_bentoml_is_here_or_says_what_to_do(module: str, name: str, tmp_path: Path) -> None:
    """Imported from its module, declared, and loaded: a model that is missing, a library that is, or one line of advice."""
    head = f"from bentoml.frameworks.{module} import {name}\n"
    text = head + SERVICE.replace("PickleArtifact('model')", f"{name}('elsewhere')")
    with pytest.raises(BentobatchError) as caught:
        load(write_bundle(tmp_path / "old", text))
    told = str(caught.value)
    assert "\n" not in told
    if name in plugins.TABLES["frameworks"]:
        assert name in told or "pip install" in told
    else:
        assert told.startswith(
            f"{name} of BentoML is not available here: this bentobatch has no artifact {name}; in a copy"
        )


@pytest.mark.parametrize(
    "module", ["'pickle'", "'cloudpickle'", "cloudpickle", "bentoml_cloudpickle", "'dill'", "'joblib'"]
)
def test_pickle_artifacts_of_any_pickle_module_load(module: str, tmp_path: Path) -> None:
    """By name, as a module, and BentoML's own copy, its default."""
    head = "import cloudpickle\nfrom bentoml.utils import cloudpickle as bentoml_cloudpickle\n"
    text = head + SERVICE.replace("PickleArtifact('model')", f"PickleArtifact('model', pickle_module={module})")
    assert load(write_bundle(tmp_path / "old", text)).artifacts.model == {"factor": 2.0}


def test_text_and_json_artifacts_take_bentomls_arguments(tmp_path: Path) -> None:
    """JSONArtifact(name, encoding, json_module), TextFileArtifact(name, file_extension, encoding)."""
    body = """
import json
from bentoml.service.artifacts.common import JSONArtifact, TextFileArtifact

@bentoml.artifacts([JSONArtifact("names", "latin-1", json_module=json), TextFileArtifact("text", ".md", "latin-1")])
class Doubler(bentoml.BentoService):
    pass
"""
    files = {"artifacts/names.json": '["é"]'.encode("latin-1"), "artifacts/text.md": "é\r\n".encode("latin-1")}
    service = service_of(tmp_path, body, files=files)
    assert (service.artifacts.names, service.artifacts.text) == (["é"], "é\r\n")


def test_metadata_is_read_only_and_as_it_was_packed(tmp_path: Path) -> None:
    """svc.artifacts.get(name).metadata."""
    service = load(write_bundle(tmp_path / "old"))
    assert service.artifacts.get("model").metadata == {}
    assert service.artifacts["model"].get() == {"factor": 2.0}
    assert np.isclose(service.artifacts.model["factor"], 2.0)


def test_an_onnx_model_of_bentoml_is_read(tmp_path: Path) -> None:
    """The same file, and the backend by position."""
    from tests.frameworks.test_onnx import ROWS, linear

    body = """
from bentoml.frameworks.onnx import OnnxModelArtifact

@bentoml.artifacts([OnnxModelArtifact('net', backend='onnxruntime')])
class Doubler(bentoml.BentoService):
    pass
"""
    service = service_of(tmp_path, body, files={"artifacts/net.onnx": linear().SerializeToString()})
    assert service.artifacts.net.run(None, {"x": ROWS})[0].shape == (3, 1)
