"""This module tests --no-pickle with the types of PyTorch."""

from __future__ import annotations

from typing import Any

from tests.conformance.no_pickle_suite import PickledSuite, PlainSuite
from tests.heavy.torch import nets
from tests.heavy.torch.test_pytorch import exported
from tests.heavy.torch.test_transformers import classifier, tokenizer


class TestPytorch(PickledSuite):
    kind = "PytorchModelArtifact"

    def make_model(self) -> Any:
        return nets.Net()


class TestPytorchExported(PlainSuite):
    kind = "PytorchModelArtifact"

    def make_model(self) -> Any:
        return exported()


class TestLightning(PlainSuite):
    kind = "PytorchLightningModelArtifact"

    def make_model(self) -> Any:
        return nets.LightningNet()


class TestTransformers(PlainSuite):
    kind = "TransformersModelArtifact"
    auxiliary = frozenset({"model_transformers/tokenizer/tokenizer_config.json"})

    def make_model(self) -> Any:
        return {"model": classifier(), "tokenizer": tokenizer()}
