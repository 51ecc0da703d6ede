"""This module tests --no-pickle with the types of TensorFlow and Keras."""

from __future__ import annotations

from typing import Any

from tests.conformance.no_pickle_suite import PickledSuite, PlainSuite
from tests.heavy.tensorflow.test_keras import Scale, network
from tests.heavy.tensorflow.test_tensorflow import Linear


class TestTensorflow(PlainSuite):
    kind = "TensorflowSavedModelArtifact"
    auxiliary = frozenset({"model_saved_model/fingerprint.pb"})

    def make_model(self) -> Any:
        return Linear()


class TestKeras(PlainSuite):
    kind = "KerasModelArtifact"

    def make_model(self) -> Any:
        return network()


class TestKerasWithObjects(PickledSuite):
    kind = "KerasModelArtifact"

    def make_model(self) -> Any:
        return {"model": network(Scale()), "custom_objects": {"Scale": Scale}}
