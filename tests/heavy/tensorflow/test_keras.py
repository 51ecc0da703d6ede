"""This module tests KerasModelArtifact with Keras 3 over TensorFlow."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from bentobatch.errors import BundleError, UsageError
from bentobatch.frameworks.keras import KerasModelArtifact
from bentobatch.frameworks.unpickle import pickles_refused
from tests.conformance.framework_suite import FrameworkSuite

ROWS = np.array([[1.0, 2.0], [3.0, 4.0]], dtype=np.float32)


class Scale(keras.layers.Layer):
    """A layer that is not Keras's own."""

    def call(self, rows: Any) -> Any:
        return rows * 3


def network(*layers: Any) -> Any:
    keras.utils.set_random_seed(7)
    return keras.Sequential([keras.Input((2,)), keras.layers.Dense(1), *layers])


class TestModel(FrameworkSuite):
    feature_count = 2

    def make_artifact(self, name: str = "model") -> Any:
        return KerasModelArtifact(name)

    def make_model(self) -> Any:
        return network()

    def predict(self, model: Any) -> Any:
        return model.predict(ROWS, verbose=0)


class TestJsonAndWeights(TestModel):
    def make_artifact(self, name: str = "model") -> Any:
        return KerasModelArtifact(name, store_as_json_and_weights=True)


class TestDeclaredObjects(TestModel):
    def make_artifact(self, name: str = "model") -> Any:
        return KerasModelArtifact(name, default_custom_objects={"Scale": Scale})

    def make_model(self) -> Any:
        return network(Scale())


class TestPackedObjects(TestModel):
    """They are pickled, as in BentoML 0.13."""

    def make_model(self) -> Any:
        return {"model": network(Scale()), "custom_objects": {"Scale": Scale}}

    def make_model_with(self, function: Callable[[Any], Any]) -> Any:
        return {"model": network(), "custom_objects": {"treble": function}}

    def test_what_a_pickle_names_is_asked_of_the_resolver_first(self, tmp_path: Path, helper: Any) -> None:
        """The objects are a pickle of load_pickle, whose own tests say the rest."""
        self.make_artifact().pack(self.make_model_with(helper.treble)).save_model(tmp_path)
        assert helper.__name__.encode() in (tmp_path / "model_custom_objects.pkl").read_bytes()


def test_files_of_bentoml_are_read(tmp_path: Path) -> None:
    """.h5, and JSON with weights; the pickle of None that is always there is no pickle to --no-pickle."""
    model = network()
    for name, content in (
        ("model_keras_module_name.txt", b"tensorflow.keras"),
        ("model_custom_objects.pkl", b"\x80\x04N."),
    ):
        (tmp_path / name).write_bytes(content)
    keras.src.legacy.saving.legacy_h5_format.save_model_to_hdf5(model, str(tmp_path / "model.h5"))
    token = pickles_refused.set(True)
    try:
        loaded = KerasModelArtifact("model").load(tmp_path).get()
    finally:
        pickles_refused.reset(token)
    np.testing.assert_array_equal(loaded.predict(ROWS, verbose=0), model.predict(ROWS, verbose=0))


@pytest.mark.parametrize("declared", [None, {"Scale": Scale}], ids=["the pickle", "the service's own"])
def test_no_pickle_refuses_the_pickle_that_would_be_read(declared: Any, tmp_path: Path) -> None:
    """Objects that the service declares come before those of the pickle, which is then not touched."""
    KerasModelArtifact("model").pack({"model": network(Scale()), "custom_objects": {"Scale": Scale}}).save_model(
        tmp_path
    )
    (tmp_path / "model_custom_objects.pkl").write_bytes(pickle.dumps(Canary(tmp_path / "canary")))
    token = pickles_refused.set(True)
    try:
        if declared is None:
            with pytest.raises(BundleError, match=r"model_custom_objects\.pkl"):
                KerasModelArtifact("model").load(tmp_path)
        else:
            assert KerasModelArtifact("model", declared).load(tmp_path).packed
    finally:
        pickles_refused.reset(token)
    assert not (tmp_path / "canary").exists()


class Canary:
    """Makes a folder where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> Any:
        return os.mkdir, (self.path,)


def test_a_lambda_layer_is_refused_when_it_is_packed_and_when_it_is_loaded(tmp_path: Path) -> None:
    """Its Python code is marshalled into the file, which Keras's safe mode does not run."""
    model = network(keras.layers.Lambda(lambda rows: rows * 2))
    with pytest.raises(UsageError, match="layer of your own instead of Lambda"):
        KerasModelArtifact("model").pack(model)
    model.save(tmp_path / "model.keras")
    with pytest.raises(BundleError, match=r"model\.keras"):
        KerasModelArtifact("model").load(tmp_path)


def test_a_class_that_nobody_would_know_is_told_when_packing() -> None:
    """Not when the bundle is loaded elsewhere."""
    with pytest.raises(UsageError, match=r"classes \(Scale\) in default_custom_objects"):
        KerasModelArtifact("model").pack(network(Scale()))
