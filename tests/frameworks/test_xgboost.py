"""This module tests XgboostModelArtifact with boosters and with the scikit-learn wrappers."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import xgboost
from sklearn import datasets

from bentobatch.errors import BundleError, UsageError
from bentobatch.frameworks.xgboost import XgboostModelArtifact
from tests.conformance.framework_suite import FrameworkSuite

IRIS = datasets.load_iris(as_frame=True)
NAMES = list(IRIS.data.columns)
ROUNDS = {"n_estimators": 3, "n_jobs": 1}


class BoosterSuite(FrameworkSuite):
    feature_count = 4

    def make_artifact(self, name: str = "model") -> XgboostModelArtifact:
        return XgboostModelArtifact(name)

    def wrong_models(self) -> list[Any]:
        return [object(), "model.ubj", xgboost.XGBClassifier, xgboost.XGBClassifier()]


class TestBooster(BoosterSuite):
    feature_names: ClassVar = NAMES

    def make_model(self) -> Any:
        return xgboost.train(
            {"objective": "reg:squarederror", "nthread": 1}, xgboost.DMatrix(IRIS.data, IRIS.target), 3
        )

    def predict(self, model: Any) -> Any:
        assert type(model) is xgboost.Booster
        return model.predict(xgboost.DMatrix(IRIS.data))


class TestBoosterOfAnArray(BoosterSuite):
    def make_model(self) -> Any:
        data = xgboost.DMatrix(IRIS.data.to_numpy(), IRIS.target.to_numpy())
        return xgboost.train({"objective": "reg:squarederror", "nthread": 1}, data, 3)

    def predict(self, model: Any) -> Any:
        return model.predict(xgboost.DMatrix(IRIS.data.to_numpy()))


class TestClassifier(BoosterSuite):
    feature_names: ClassVar = NAMES
    classes: ClassVar = [0, 1, 2]

    def make_model(self) -> Any:
        return xgboost.XGBClassifier(**ROUNDS).fit(IRIS.data, IRIS.target)

    def predict(self, model: Any) -> Any:
        assert type(model) is xgboost.XGBClassifier
        return model.predict_proba(IRIS.data)


class TestRegressor(BoosterSuite):
    feature_names: ClassVar = NAMES

    def make_model(self) -> Any:
        return xgboost.XGBRegressor(**ROUNDS).fit(IRIS.data, IRIS.target)

    def predict(self, model: Any) -> Any:
        assert type(model) is xgboost.XGBRegressor
        return model.predict(IRIS.data)


def test_a_wrapper_keeps_its_own_spelling_of_missing(tmp_path: Path) -> None:
    """XGBoost's file forgets ``missing``: without it the loaded model would predict other values, silently."""
    data = IRIS.data.to_numpy().copy()
    data[::3, 2] = -1.0
    model = xgboost.XGBRegressor(**ROUNDS, missing=-1.0).fit(data, IRIS.target)
    assert not np.array_equal(model.predict(data), xgboost.XGBRegressor(**ROUNDS).fit(data, IRIS.target).predict(data))
    artifact = XgboostModelArtifact("model")
    artifact.pack(model)
    artifact.save_model(tmp_path)
    loaded = XgboostModelArtifact("model").load(tmp_path).get()
    assert loaded.missing == -1.0
    np.testing.assert_array_equal(loaded.predict(data), model.predict(data))


def test_early_stopping_keeps_the_best_iteration(tmp_path: Path) -> None:
    """predict of a wrapper stops at the best iteration, before and after."""
    model = xgboost.XGBRegressor(n_estimators=60, n_jobs=1, learning_rate=1.0, early_stopping_rounds=3)
    model.fit(IRIS.data[::2], IRIS.target[::2], eval_set=[(IRIS.data[1::2], IRIS.target[1::2])], verbose=False)
    assert model.best_iteration < 59
    artifact = XgboostModelArtifact("model")
    artifact.pack(model)
    artifact.save_model(tmp_path)
    loaded = XgboostModelArtifact("model").load(tmp_path).get()
    assert loaded.best_iteration == model.best_iteration
    np.testing.assert_array_equal(loaded.predict(IRIS.data), model.predict(IRIS.data))


def test_a_subclass_of_a_wrapper_is_refused() -> None:
    """It would come back as its base, with other behaviour."""

    class Mine(xgboost.XGBRegressor):  # type: ignore[misc]
        pass

    with pytest.raises(UsageError, match=r"not a Mine.*PickleArtifact"):
        XgboostModelArtifact("model").pack(Mine(**ROUNDS).fit(IRIS.data, IRIS.target))


def test_a_file_of_bentoml_is_read_under_its_old_name(tmp_path: Path) -> None:
    """``<name>.model``; XGBoost itself decides by the content whether it still can."""
    model = xgboost.train({"nthread": 1}, xgboost.DMatrix(IRIS.data, IRIS.target), 2)
    model.save_model(tmp_path / "model.json")
    (tmp_path / "model.json").rename(tmp_path / "model.model")
    loaded = XgboostModelArtifact("model").load(tmp_path).get()
    np.testing.assert_array_equal(loaded.predict(xgboost.DMatrix(IRIS.data)), model.predict(xgboost.DMatrix(IRIS.data)))


def test_the_binary_format_of_old_is_one_clear_line(tmp_path: Path) -> None:
    """XGBoost 3.1 no longer reads it; its own many lines and C++ trace are cut to what they say."""
    (tmp_path / "model.model").write_bytes(b"binf" + bytes(500))
    with pytest.raises(BundleError, match=r"model\.model") as caught:
        XgboostModelArtifact("model").load(tmp_path)
    assert "\n" not in str(caught.value)
    assert "Stack trace" not in str(caught.value)
