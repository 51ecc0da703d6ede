"""This module tests LightGBMModelArtifact."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import lightgbm
import numpy as np
import pytest
from sklearn import datasets

from bentobatch.errors import UsageError
from bentobatch.frameworks.lightgbm import LightGBMModelArtifact
from tests.conformance.framework_suite import FrameworkSuite

IRIS = datasets.load_iris(as_frame=True)
FRAME = IRIS.data.set_axis(["sepal_length", "sepal_width", "petal_length", "petal_width"], axis=1)
QUIET = {"verbose": -1, "num_threads": 1}


def boosted(data: Any) -> Any:
    return lightgbm.train({"objective": "regression", **QUIET}, lightgbm.Dataset(data, IRIS.target), 5)


class TestBooster(FrameworkSuite):
    feature_names: ClassVar = list(FRAME.columns)
    feature_count = 4

    def make_artifact(self, name: str = "model") -> LightGBMModelArtifact:
        return LightGBMModelArtifact(name)

    def make_model(self) -> Any:
        return boosted(FRAME)

    def predict(self, model: Any) -> Any:
        return model.predict(FRAME)


class TestBoosterOfAnArray(TestBooster):
    feature_names = None  # LightGBM's own Column_0… are no names of anybody's columns

    def make_model(self) -> Any:
        return boosted(FRAME.to_numpy())


def test_the_wrapper_is_refused_with_both_ways_out() -> None:
    """Decided: the wrapper belongs into a SklearnModelArtifact, so that this artifact never unpickles."""
    wrapper = lightgbm.LGBMRegressor(n_estimators=2, **QUIET).fit(FRAME, IRIS.target)
    with pytest.raises(UsageError, match=r"LGBMRegressor.*booster_.*SklearnModelArtifact"):
        LightGBMModelArtifact("model").pack(wrapper)


def test_early_stopping_predicts_the_same_after_loading(tmp_path: Path) -> None:
    """predict uses the best iteration; that is what is stored."""
    train, valid = lightgbm.Dataset(FRAME[::2], IRIS.target[::2]), lightgbm.Dataset(FRAME[1::2], IRIS.target[1::2])
    model = lightgbm.train(
        {"objective": "regression", "learning_rate": 0.9, **QUIET},
        train,
        60,
        valid_sets=[valid],
        callbacks=[lightgbm.early_stopping(2, verbose=False)],
    )
    assert model.best_iteration < 60
    artifact = LightGBMModelArtifact("model")
    artifact.pack(model)
    artifact.save_model(tmp_path)
    loaded = LightGBMModelArtifact("model").load(tmp_path).get()
    np.testing.assert_array_equal(loaded.predict(FRAME), model.predict(FRAME))


def test_pandas_categories_are_kept(tmp_path: Path) -> None:
    """Codes are made from the training frame's categories, which the file holds."""
    frame = FRAME.assign(kind=IRIS.target.map({0: "b", 1: "c", 2: "a"}).astype("category"))
    model = lightgbm.train({"objective": "regression", **QUIET}, lightgbm.Dataset(frame, IRIS.target), 5)
    artifact = LightGBMModelArtifact("model")
    artifact.pack(model)
    artifact.save_model(tmp_path)
    some = frame[50:100].assign(kind=frame["kind"][50:100].cat.remove_unused_categories())
    loaded = LightGBMModelArtifact("model").load(tmp_path).get()
    np.testing.assert_array_equal(loaded.predict(some), model.predict(some))
