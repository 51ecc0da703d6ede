"""This module tests --no-pickle with fastai's type."""

from __future__ import annotations

from typing import Any

from tests.conformance.no_pickle_suite import PickledSuite
from tests.heavy.fastai.test_fastai import learner


class TestFastai(PickledSuite):
    kind = "FastaiModelArtifact"

    def make_model(self) -> Any:
        return learner()
