"""This module tests JSONArtifact."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import orjson
import pytest

from bentobatch.errors import BundleError, UsageError
from bentobatch.frameworks.json import JSONArtifact
from tests.conformance.framework_suite import FrameworkSuite


class TestJSONArtifact(FrameworkSuite):
    def make_artifact(self, name: str = "model") -> JSONArtifact:
        return JSONArtifact(name)

    def make_model(self) -> Any:
        return {"labels": ["søtøsa", "versicolor"], "threshold": 0.1 + 0.2, "none": None}

    def predict(self, model: Any) -> Any:
        return [repr(model)]


class TestJSONArtifactOfOrjson(TestJSONArtifact):
    def make_artifact(self, name: str = "model") -> JSONArtifact:
        return JSONArtifact(name, json_module=orjson, file_extension=".js", encoding="utf-16")

    def test_importing_the_artifact_imports_no_model_library(self) -> None:
        """The option names a module; only using the artifact imports it."""
        assert JSONArtifact("model", json_module="no_such_module").config()["json_module"] == "no_such_module"


def test_the_service_sees_the_same_value_before_and_after_saving(tmp_path: Path) -> None:
    """JSON has no tuples and no keys but text: that shows at packing, not after loading."""
    artifact = JSONArtifact("model").pack({1: (2, 3)})
    artifact.save_model(tmp_path)
    assert artifact.get() == JSONArtifact("model").load(tmp_path).get() == {"1": [2, 3]}


def test_a_json_module_that_is_missing_is_named() -> None:
    """With what to install."""
    with pytest.raises(UsageError, match="pip install no_such_module"):
        JSONArtifact("model", json_module="no_such_module").pack([1])


def test_a_json_module_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its dumps writes, its loads reads."""
    module = types.ModuleType("shouting_json")
    module.dumps = lambda value: str(value).upper()  # type: ignore[attr-defined]
    module.loads = lambda text: text.lower()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "shouting_json", module)
    artifact = JSONArtifact("model", json_module=module).pack("abc")
    artifact.save_model(tmp_path)
    assert (tmp_path / "model.json").read_text() == "ABC"
    assert JSONArtifact("model", json_module=module).load(tmp_path).get() == "abc"


def test_text_that_is_not_json_is_named(tmp_path: Path) -> None:
    """BundleError with the file."""
    (tmp_path / "model.json").write_text("{")
    with pytest.raises(BundleError, match=r"model\.json is not JSON"):
        JSONArtifact("model").load(tmp_path)


@pytest.mark.parametrize("extension", ["json", "../x", ".a/b", "", None])
def test_an_extension_stays_in_the_folder(extension: Any) -> None:
    """It begins with a dot and has no slash."""
    with pytest.raises(UsageError, match="file_extension"):
        JSONArtifact("model", file_extension=extension)
