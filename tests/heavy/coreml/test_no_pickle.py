"""This module tests --no-pickle with Core ML's type."""

from __future__ import annotations

from typing import Any

from tests.conformance.no_pickle_suite import PlainSuite
from tests.heavy.coreml import test_coreml


class TestCoreML(PlainSuite):
    kind = "CoreMLModelArtifact"

    def make_model(self) -> Any:
        return test_coreml.TestNeuralNetwork().make_model()
