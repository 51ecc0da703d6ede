"""This module tests MLflowModelArtifact, and MLflow models that are run without a service."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, ClassVar

import catboost
import lightgbm
import mlflow
import mlflow.catboost
import mlflow.lightgbm
import mlflow.onnx
import mlflow.pyfunc
import mlflow.sklearn
import mlflow.xgboost
import numpy as np
import pandas as pd
import pytest
import xgboost
from mlflow.models import infer_signature
from skl2onnx import to_onnx
from sklearn import datasets
from sklearn.linear_model import LogisticRegression

from bentobatch import runs
from bentobatch.errors import BundleError
from bentobatch.frameworks.mlflow import MLflowModelArtifact
from bentobatch.frameworks.unpickle import pickles_refused
from tests.conformance.framework_suite import FrameworkSuite

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's own, of many libraries

IRIS = datasets.load_iris(as_frame=True)
SIGNATURE = infer_signature(IRIS.data)
SAVED = {"signature": SIGNATURE, "pip_requirements": []}
MARKER = "BENTOBATCH_TEST_UNPICKLED"


class Own(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
    """A model in Python, which MLflow pickles."""

    def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
        return model_input.iloc[:, 0] * 2

    def __setstate__(self, state: dict[str, Any]) -> None:
        import os  # in a class that is pickled by value

        os.environ["BENTOBATCH_TEST_UNPICKLED"] = "yes"
        self.__dict__ |= state

    def __getstate__(self) -> dict[str, Any]:
        return {"some": "state"}


def save(kind: str, folder: Path) -> str:
    """The folder of a model of that flavor."""
    path, x, y = str(folder / kind), IRIS.data, IRIS.target
    quiet = {"verbose": 0, "allow_writing_files": False, "thread_count": 1}
    if kind == "sklearn":
        model = LogisticRegression(max_iter=200).fit(x, y)
        mlflow.sklearn.save_model(model, path, serialization_format="cloudpickle", **SAVED)
    elif kind == "skops":
        mlflow.sklearn.save_model(
            LogisticRegression(max_iter=200).fit(x, y), path, serialization_format="skops", **SAVED
        )
    elif kind == "xgboost":
        mlflow.xgboost.save_model(xgboost.XGBClassifier(n_estimators=3).fit(x, y), path, **SAVED)
    elif kind == "lightgbm":
        mlflow.lightgbm.save_model(lightgbm.train({"verbose": -1}, lightgbm.Dataset(x, y), 3), path, **SAVED)
    elif kind == "lightgbm_wrapper":
        model = lightgbm.LGBMClassifier(n_estimators=3, verbose=-1).fit(x, y)
        mlflow.lightgbm.save_model(model, path, **SAVED)
    elif kind == "catboost":
        mlflow.catboost.save_model(catboost.CatBoostRegressor(iterations=3, **quiet).fit(x, y), path, **SAVED)
    elif kind == "onnx":
        model = LogisticRegression(max_iter=200).fit(x.to_numpy(), y)
        onnx_model = to_onnx(model, x.to_numpy(np.float32)[:1], options={"zipmap": False})
        mlflow.onnx.save_model(onnx_model, path, **SAVED)
    else:
        mlflow.pyfunc.save_model(path, python_model=Own(), **SAVED)
    return path


class TestModelOfScikitLearn(FrameworkSuite):
    feature_names: ClassVar = list(IRIS.data.columns)
    feature_count = 4

    @pytest.fixture(autouse=True)
    def given(self, tmp_path_factory: pytest.TempPathFactory) -> None:
        self.folder = tmp_path_factory.mktemp("mlflow")

    def make_artifact(self, name: str = "model") -> MLflowModelArtifact:
        return MLflowModelArtifact(name)

    def make_model(self) -> Any:
        path = self.folder / "sklearn"
        return str(path) if path.is_dir() else save("sklearn", self.folder)

    def predict(self, model: Any) -> Any:
        return model.predict(IRIS.data)

    def wrong_models(self) -> list[Any]:
        return [object(), "no-such-folder", str(self.folder), "models:/churn/1"]

    def test_what_a_pickle_names_is_asked_of_the_resolver_first(self, tmp_path: Path, helper: Any) -> None:
        """Not here: MLflow unpickles itself, and finds a model's own modules by its code_paths."""


@pytest.mark.parametrize("kind", ["xgboost", "lightgbm", "catboost", "onnx"])
def test_models_without_a_pickle_are_run_where_pickles_are_refused(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder itself is given, and its signature is the input schema."""
    monkeypatch.chdir(tmp_path)
    folder = save(kind, tmp_path)
    IRIS.data.iloc[:, ::-1].assign(id=1).to_csv("rows.csv", index=False)
    runs.run(folder, input_file="rows.csv", output_file="out.parquet", executor="inline", allow_pickle=False)
    out = pd.read_parquet("out.parquet")
    model = mlflow.pyfunc.load_model(folder)
    if kind == "onnx":  # MLflow itself refuses outputs of several values for each row
        labels, probabilities = model.get_raw_model().run(None, {"X": IRIS.data.to_numpy(np.float32)})
        assert out["label"].tolist() == labels.tolist()
        np.testing.assert_array_equal(out[[f"probabilities_{number}" for number in range(3)]], probabilities)
    else:
        np.testing.assert_array_equal(out["prediction"], np.asarray(model.predict(IRIS.data)).reshape(-1))
    left = {name for name in os.listdir() if not name.startswith(".")}
    assert left == {kind, "out.parquet", "rows.csv"}  # no store of MLflow's is begun in the current folder


@pytest.mark.parametrize("kind", ["sklearn", "skops", "lightgbm_wrapper", "python"])
def test_all_others_are_refused_where_pickles_are(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And run where they are not; skops too, since MLflow trusts the types that the model's own file lists."""
    monkeypatch.delenv(MARKER, raising=False)
    artifact = MLflowModelArtifact("model")
    artifact.pack(save(kind, tmp_path))
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    artifact.save_model(bundle)
    token = pickles_refused.set(True)
    try:
        with pytest.raises(BundleError, match="pickles are refused here"):
            MLflowModelArtifact("model").load(bundle)
    finally:
        pickles_refused.reset(token)
    assert MARKER not in os.environ
    assert len(MLflowModelArtifact("model").load(bundle).get().predict(IRIS.data)) == 150
    assert (MARKER in os.environ) == (kind == "python")
    os.environ.pop(MARKER, None)


def test_nothing_is_loaded_before_the_model_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Packing and saving copy files; so a bundle can be made of a model whose libraries are elsewhere."""
    monkeypatch.delenv(MARKER, raising=False)
    artifact = MLflowModelArtifact("model")
    artifact.pack(save("python", tmp_path))
    (tmp_path / "bundle").mkdir()
    artifact.save_model(tmp_path / "bundle")
    assert MARKER not in os.environ
