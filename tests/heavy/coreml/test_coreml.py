"""This module tests what CoreMLModelArtifact does on any system; to predict takes macOS, where it was not run."""

from __future__ import annotations

from typing import Any

import coremltools
import numpy as np
from coremltools.models import datatypes
from coremltools.models.neural_network import NeuralNetworkBuilder

from bentobatch.frameworks.coreml import CoreMLModelArtifact
from tests.conformance.framework_suite import FrameworkSuite


class TestNeuralNetwork(FrameworkSuite):
    def make_artifact(self, name: str = "model") -> Any:
        return CoreMLModelArtifact(name)

    def make_model(self) -> Any:
        builder = NeuralNetworkBuilder([("x", datatypes.Array(2))], [("y", datatypes.Array(1))])
        builder.add_inner_product(
            "layer",
            W=np.array([[1.0, 2.0]]),
            b=np.array([0.5]),
            input_channels=2,
            output_channels=1,
            has_bias=True,
            input_name="x",
            output_name="y",
        )
        return coremltools.models.MLModel(builder.spec)

    def predict(self, model: Any) -> Any:
        """The weights and the layers: on this system they cannot be run."""
        return str(model.get_spec())
