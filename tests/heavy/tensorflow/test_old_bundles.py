"""This module tests that bundles of BentoML 0.13 with models of TensorFlow and Keras load as they are."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.heavy.tensorflow.test_keras import ROWS, network
from tests.heavy.tensorflow.test_tensorflow import Linear
from tests.legacy.layout import service_of

SAVED_MODEL = """
from bentoml.frameworks.tensorflow import TensorflowSavedModelArtifact

@bentoml.artifacts([TensorflowSavedModelArtifact('net')])
class Doubler(bentoml.BentoService):
    pass
"""
KERAS = """
from bentoml.frameworks.keras import KerasModelArtifact

@bentoml.artifacts([KerasModelArtifact('net', store_as_json_and_weights=%s)])
class Doubler(bentoml.BentoService):
    pass
"""


def test_a_saved_model_is_read(tmp_path: Path) -> None:
    """The folder <name>_saved_model."""
    written = tmp_path / "written"
    tf.saved_model.save(Linear(), str(written))
    files = {
        f"artifacts/net_saved_model/{path.relative_to(written)}": path.read_bytes()
        for path in written.rglob("*")
        if path.is_file()
    }
    service = service_of(tmp_path, SAVED_MODEL, files=files)
    assert service.artifacts.net(tf.constant([[1.0, 2.0]])).numpy().tolist() == [[1.0]]


@pytest.mark.parametrize("apart", [False, True], ids=["h5", "json and weights"])
def test_a_keras_model_is_read(apart: bool, tmp_path: Path) -> None:
    """With the pickle of no custom objects that is always there."""
    model = network()
    files = {
        "artifacts/net_keras_module_name.txt": "tensorflow.keras",
        "artifacts/net_custom_objects.pkl": b"\x80\x05N.",
    }
    legacy = keras.src.legacy.saving.legacy_h5_format
    if apart:
        import h5py

        with h5py.File(tmp_path / "weights", "w") as file:
            legacy.save_weights_to_hdf5_group(file, model)
        files["artifacts/net_json.json"] = model.to_json()
        files["artifacts/net_weights.hdf5"] = (tmp_path / "weights").read_bytes()
    else:
        legacy.save_model_to_hdf5(model, str(tmp_path / "model"))
        files["artifacts/net.h5"] = (tmp_path / "model").read_bytes()
    service = service_of(tmp_path, KERAS % apart, files=files)
    np.testing.assert_array_equal(service.artifacts.net.predict(ROWS, verbose=0), model.predict(ROWS, verbose=0))
