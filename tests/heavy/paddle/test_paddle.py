"""This module tests PaddlePaddleModelArtifact with PaddlePaddle."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pytest

from bentobatch.errors import UsageError
from bentobatch.frameworks.paddle import PaddlePaddleModelArtifact
from tests.conformance.framework_suite import FrameworkSuite

ROWS = np.array([[1, 2], [3, 4]], dtype=np.float32)


class Net(paddle.nn.Layer):
    def __init__(self) -> None:
        super().__init__()
        paddle.seed(7)
        self.layer = paddle.nn.Linear(2, 1)

    def forward(self, rows: Any) -> Any:
        return self.layer(rows)


def static() -> Any:
    spec = [paddle.static.InputSpec([None, 2], "float32")]
    return paddle.jit.to_static(Net(), input_spec=spec, full_graph=True)


def predicted(predictor: Any, rows: Any = ROWS) -> Any:
    handle = predictor.get_input_handle(predictor.get_input_names()[0])
    handle.reshape(rows.shape)
    handle.copy_from_cpu(rows)
    predictor.run()
    return predictor.get_output_handle(predictor.get_output_names()[0]).copy_to_cpu()


class TestLayer(FrameworkSuite):
    def make_artifact(self, name: str = "model") -> Any:
        return PaddlePaddleModelArtifact(name)

    def make_model(self) -> Any:
        return static()

    def predict(self, model: Any) -> Any:
        return predicted(model)


class TestPath(TestLayer):
    @pytest.fixture(autouse=True)
    def folder(self, tmp_path_factory: pytest.TempPathFactory) -> None:
        self.path = tmp_path_factory.mktemp("exported") / "net"

    def make_model(self) -> Any:
        paddle.jit.save(static(), str(self.path))
        return str(self.path)


def test_the_files_are_a_program_and_weights(tmp_path: Path) -> None:
    """And no other, such as those with names of variables that PaddlePaddle pickles."""
    PaddlePaddleModelArtifact("net").pack(static()).save_model(tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["net.json", "net.pdiparams"]


def test_threads_do_not_see_each_others_rows(tmp_path: Path) -> None:
    """A predictor has a state between its inputs and its outputs; a job's threads use one artifact."""
    artifact = PaddlePaddleModelArtifact("net").pack(static())
    wrong: list[int] = []

    def score(number: int) -> None:
        rows = np.full((3, 2), number, dtype=np.float32)
        wanted = predicted(artifact.get(), rows)
        for _ in range(200):
            if not (predicted(artifact.get(), rows) == wanted).all() or len(wanted) != 3:
                wrong.append(number)

    threads = [threading.Thread(target=score, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_layer_without_its_inputs_is_refused() -> None:
    """With what to do."""
    with pytest.raises(UsageError, match="input_spec"):
        PaddlePaddleModelArtifact("net").pack(Net())
    with pytest.raises(UsageError, match="without a suffix"):
        PaddlePaddleModelArtifact("net").pack("/nowhere/net")
