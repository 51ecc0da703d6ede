"""This module tests CatBoostModelArtifact."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import catboost
import numpy as np
import pytest
from sklearn import datasets

from bentobatch.errors import BundleError, UsageError
from bentobatch.frameworks.catboost import CatBoostModelArtifact
from tests.conformance.framework_suite import FrameworkSuite

IRIS = datasets.load_iris(as_frame=True)
FRAME = IRIS.data.assign(kind=IRIS.target.map({0: "b", 1: "c", 2: "a"}))
QUIET = {"iterations": 5, "verbose": 0, "allow_writing_files": False, "thread_count": 1}


class TestClassifier(FrameworkSuite):
    feature_names: ClassVar = list(FRAME.columns)
    feature_count = 5
    classes: ClassVar = ["setosa", "versicolor", "virginica"]

    def make_artifact(self, name: str = "model") -> CatBoostModelArtifact:
        return CatBoostModelArtifact(name)

    def make_model(self) -> Any:
        labels = IRIS.target_names[IRIS.target]
        return catboost.CatBoostClassifier(**QUIET).fit(FRAME, labels, cat_features=["kind"])

    def predict(self, model: Any) -> Any:
        return model.predict_proba(FRAME)

    def wrong_models(self) -> list[Any]:
        return ["model.cbm", object(), catboost.CatBoostClassifier, catboost.CatBoostClassifier(**QUIET)]


class TestRegressorOfAnArray(TestClassifier):
    feature_names = None  # CatBoost's own 0, 1, … are no names of anybody's columns
    feature_count = 4
    classes = None

    def make_model(self) -> Any:
        return catboost.CatBoostRegressor(**QUIET).fit(IRIS.data.to_numpy(), IRIS.target)

    def predict(self, model: Any) -> Any:
        return model.predict(IRIS.data.to_numpy())


@pytest.mark.parametrize("kind", ["CatBoost", "CatBoostClassifier"])
def test_a_model_comes_back_as_what_it_was(kind: str, tmp_path: Path) -> None:
    """The same file gives scores as a CatBoost and labels as a CatBoostClassifier."""
    model = getattr(catboost, kind)({"loss_function": "Logloss", **QUIET} if kind == "CatBoost" else None)
    model.set_params(loss_function="Logloss", **QUIET)
    model.fit(IRIS.data, IRIS.target == 1)
    artifact = CatBoostModelArtifact("model")
    artifact.pack(model)
    artifact.save_model(tmp_path)
    loaded = CatBoostModelArtifact("model").load(tmp_path).get()
    assert type(loaded) is type(model)
    np.testing.assert_array_equal(loaded.predict(IRIS.data), model.predict(IRIS.data))


def test_a_kind_that_is_none_is_refused(tmp_path: Path) -> None:
    """The file says which class is made: only one of CatBoost's four."""
    artifact = CatBoostModelArtifact("model")
    artifact.pack(catboost.CatBoostRegressor(**QUIET).fit(IRIS.data, IRIS.target))
    artifact.save_model(tmp_path)
    (tmp_path / "model.kind.json").write_text(json.dumps({"kind": "sum_models"}))
    with pytest.raises(BundleError, match=r"model\.kind\.json names no kind"):
        CatBoostModelArtifact("model").load(tmp_path)


def test_a_subclass_is_refused() -> None:
    """It would come back as its base."""

    class Own(catboost.CatBoostRegressor):  # type: ignore[misc]
        pass

    with pytest.raises(UsageError, match="not a Own"):
        CatBoostModelArtifact("model").pack(Own(**QUIET).fit(IRIS.data, IRIS.target))
