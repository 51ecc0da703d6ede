"""This module tests --no-pickle with PaddlePaddle's type."""

from __future__ import annotations

from typing import Any

from tests.conformance.no_pickle_suite import PlainSuite
from tests.heavy.paddle.test_paddle import static


class TestPaddle(PlainSuite):
    kind = "PaddlePaddleModelArtifact"

    def make_model(self) -> Any:
        return static()
