"""This module tests H2oModelArtifact, with a server of H2O's that the artifact starts."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import h2o
import numpy as np
import pandas as pd
import pytest
from h2o.estimators import H2OGradientBoostingEstimator

from bentobatch.frameworks.h2o import H2oModelArtifact, connect, predict_table
from bentobatch.legacy.artifacts import artifact
from tests.conformance.framework_suite import FrameworkSuite

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # of H2O's own sockets

TABLE = pd.DataFrame({"a": np.arange(60.0) % 7, "b": list("xyz") * 20, "c": list("nynnyy") * 10})


@pytest.fixture(scope="module", autouse=True)
def server() -> Iterator[None]:
    connect("these tests")
    yield
    h2o.cluster().shutdown()


def trained(**options: Any) -> Any:
    model = H2OGradientBoostingEstimator(ntrees=3, min_rows=1, seed=1, **options)
    model.train(["a", "b"], "c", h2o.H2OFrame(TABLE, column_types={"b": "enum", "c": "enum"}))
    return model


class TestClassifier(FrameworkSuite):
    feature_names: ClassVar = ["a", "b"]
    feature_count = 2
    classes: ClassVar = ["n", "y"]

    def make_artifact(self, name: str = "model") -> H2oModelArtifact:
        return H2oModelArtifact(name)

    def make_model(self) -> Any:
        return trained()

    def predict(self, model: Any) -> Any:
        return predict_table(model, TABLE[["a", "b"]])[["n", "y"]].to_numpy()

    def wrong_models(self) -> list[Any]:
        return ["model", object(), H2OGradientBoostingEstimator()]


def test_no_server_outlives_the_process_that_started_it(tmp_path: Path) -> None:
    """Not even where that one is killed, as workers are."""
    code = (
        "import h2o, os; from bentobatch.frameworks.h2o import connect; connect('this test');"
        "print(h2o.connection().local_server._process.pid, flush=True); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=False)
    assert done.returncode == -9
    server = int(done.stdout.split()[-1])
    for _ in range(600):
        if not Path(f"/proc/{server}").exists():
            return
        time.sleep(0.1)
    raise AssertionError(f"H2O's process {server} is still there")


def test_the_file_of_bentoml_is_read(tmp_path: Path) -> None:
    """There it has no ending."""
    model = trained()
    shutil.move(h2o.download_model(model, path=str(tmp_path)), tmp_path / "model")
    loaded = artifact("H2oModelArtifact")("model").load(tmp_path).get()
    pd.testing.assert_frame_equal(predict_table(loaded, TABLE), predict_table(model, TABLE))
