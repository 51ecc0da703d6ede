"""This module tests StatsmodelsModelArtifact."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
import statsmodels.formula.api as smf
from sklearn import datasets
from statsmodels.tsa.arima.model import ARIMA

from bentobatch.errors import UsageError
from bentobatch.frameworks.statsmodels import StatsmodelsModelArtifact
from tests.conformance.framework_suite import FrameworkSuite

IRIS = datasets.load_iris(as_frame=True)
FRAME = IRIS.data.set_axis(["length", "width", "petal length", "petal width"], axis=1)
TABLE = FRAME.assign(kind=IRIS.target.map({0: "b", 1: "c", 2: "a"}), unused=1.0)


class Held:
    """Results of statsmodels' own kind, with a function beside them."""

    def __new__(cls, function: Callable[[Any], Any]) -> Any:
        results = sm.OLS(IRIS.target, FRAME).fit()
        results._results.function = function
        return results


class TestResultsOfAFrame(FrameworkSuite):
    feature_names: ClassVar[list[str] | None] = list(FRAME.columns)
    feature_count: ClassVar[int | None] = 4

    def make_artifact(self, name: str = "model") -> StatsmodelsModelArtifact:
        return StatsmodelsModelArtifact(name)

    def make_model(self) -> Any:
        return sm.OLS(IRIS.target, FRAME).fit()

    def predict(self, model: Any) -> Any:
        return model.predict(FRAME)

    def wrong_models(self) -> list[Any]:
        return ["model", object(), sm.OLS(IRIS.target, FRAME)]

    def make_model_with(self, function: Callable[[Any], Any]) -> Any:
        return Held(function)

    def apply_model_with(self, model: Any) -> float:
        return float(model._results.function(1.0))


class TestResultsWithAConstant(TestResultsOfAFrame):
    def make_model(self) -> Any:
        return sm.GLM(IRIS.target == 1, sm.add_constant(FRAME), family=sm.families.Binomial()).fit()

    def predict(self, model: Any) -> Any:
        return model.predict(sm.add_constant(FRAME))


class TestResultsOfAFormula(TestResultsOfAFrame):
    feature_names: ClassVar = ["length", "petal width", "kind"]
    feature_count = 3

    def make_model(self) -> Any:
        return smf.ols("width ~ np.log(length) + Q('petal width') + C(kind)", TABLE).fit()

    def predict(self, model: Any) -> Any:
        return model.predict(TABLE)


class TestResultsOfArrays(TestResultsOfAFrame):
    feature_names = None

    def make_model(self) -> Any:
        return sm.OLS(IRIS.target.to_numpy(), FRAME.to_numpy()).fit()


class TestResultsOfASeriesInTime(TestResultsOfAFrame):
    feature_names = None
    feature_count = None

    def make_model(self) -> Any:
        return ARIMA(np.cos(np.arange(40.0)), order=(1, 0, 0)).fit()

    def predict(self, model: Any) -> Any:
        return model.forecast(5)


def test_arrays_with_a_constant_leave_the_width_open() -> None:
    """Whether the rows that come will have the constant, only the service knows."""
    artifact = StatsmodelsModelArtifact("model")
    artifact.pack(sm.OLS(IRIS.target.to_numpy(), sm.add_constant(FRAME.to_numpy())).fit())
    assert artifact.feature_names() is None
    assert artifact.feature_count() is None


def test_a_model_that_was_not_fitted_is_told_to_be() -> None:
    """The model of statsmodels has no parameters; fit() gives another object."""
    with pytest.raises(UsageError, match=r"not a OLS itself: pack what its fit\(\) returns"):
        StatsmodelsModelArtifact("model").pack(sm.OLS(IRIS.target, FRAME))


def test_results_without_their_data_still_predict(tmp_path: Path) -> None:
    """remove_data is the way to leave the training data out of a bundle."""
    results = sm.OLS(IRIS.target, FRAME).fit()
    expected = results.predict(FRAME)
    results.remove_data()
    artifact = StatsmodelsModelArtifact("model")
    artifact.pack(results)
    artifact.save_model(tmp_path)
    loaded = StatsmodelsModelArtifact("model").load(tmp_path).get()
    pd.testing.assert_series_equal(loaded.predict(FRAME), expected)
