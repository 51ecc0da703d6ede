"""This module tests TensorflowSavedModelArtifact with TensorFlow."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from bentobatch.errors import UsageError
from bentobatch.frameworks.tensorflow import TensorflowSavedModelArtifact
from tests.conformance.framework_suite import FrameworkSuite

ROWS = tf.constant([[1.0, 2.0], [3.0, 4.0]])


class Linear(tf.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weights = tf.Variable([[0.5], [0.25]])

    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32)])
    def __call__(self, rows: Any) -> Any:
        return rows @ self.weights

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32)])
    def double(self, values: Any) -> Any:
        return values * 2


class TestModule(FrameworkSuite):
    def make_artifact(self, name: str = "model") -> Any:
        return TensorflowSavedModelArtifact(name)

    def make_model(self) -> Any:
        return Linear()

    def predict(self, model: Any) -> Any:
        return model(ROWS).numpy()


class TestPath(TestModule):
    @pytest.fixture(autouse=True)
    def folder(self, tmp_path_factory: pytest.TempPathFactory) -> None:
        self.path = tmp_path_factory.mktemp("exported") / "model"

    def make_model(self) -> Any:
        if not self.path.exists():
            tf.saved_model.save(Linear(), str(self.path))
        return str(self.path)


def test_what_is_packed_behaves_as_what_is_loaded(tmp_path: Path) -> None:
    """Methods and signatures, from the moment of packing, whatever becomes of the folder it came from."""
    artifact = TensorflowSavedModelArtifact("model")
    artifact.pack(Linear(), signatures={"twice": Linear().double.get_concrete_function()})
    assert artifact.get().double(tf.constant([2.0])).numpy().tolist() == [4.0]
    artifact.save_model(tmp_path)
    assert os.listdir(tmp_path) == ["model_saved_model"]
    loaded = TensorflowSavedModelArtifact("model").load(tmp_path).get()
    assert loaded.signatures["twice"](tf.constant([2.0]))["output_0"].numpy().tolist() == [4.0]


def test_a_folder_that_is_none_is_told(tmp_path: Path) -> None:
    """One line, when packing."""
    with pytest.raises(UsageError, match="is no folder of a SavedModel"):
        TensorflowSavedModelArtifact("model").pack(tmp_path)
