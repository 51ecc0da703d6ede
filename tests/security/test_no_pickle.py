"""This module tests --no-pickle with every type of artifact; those of heavy libraries in tests/heavy/*/test_no_pickle.py.

A type that is added to the tables fails here until it is given a model somewhere.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from bentobatch.plugins import TABLES
from tests.conformance.no_pickle_suite import PickledSuite, PlainSuite


class TestSklearn(PickledSuite):
    kind = "SklearnModelArtifact"

    def make_model(self) -> Any:
        from sklearn.linear_model import LinearRegression

        return LinearRegression().fit([[0.0], [1.0]], [0.0, 1.0])


class TestPickle(PickledSuite):
    kind = "PickleArtifact"

    def make_model(self) -> Any:
        return {"a": 1}


class TestStatsmodels(PickledSuite):
    kind = "StatsmodelsModelArtifact"

    def make_model(self) -> Any:
        import statsmodels.api

        return statsmodels.api.OLS(np.arange(9.0), np.arange(18.0).reshape(9, 2)).fit()


class TestXgboost(PlainSuite):
    kind = "XgboostModelArtifact"

    def make_model(self) -> Any:
        import xgboost

        return xgboost.XGBRegressor(n_estimators=2, n_jobs=1).fit(np.arange(8.0).reshape(4, 2), np.arange(4.0))


class TestLightgbm(PlainSuite):
    kind = "LightGBMModelArtifact"

    def make_model(self) -> Any:
        import lightgbm

        data = lightgbm.Dataset(np.arange(80.0).reshape(40, 2), np.arange(40.0))
        return lightgbm.train({"verbose": -1, "num_threads": 1}, data, 2)


class TestCatboost(PlainSuite):
    kind = "CatBoostModelArtifact"

    def make_model(self) -> Any:
        import catboost

        quiet = {"verbose": 0, "allow_writing_files": False, "thread_count": 1}
        return catboost.CatBoostRegressor(iterations=2, **quiet).fit(np.arange(8.0).reshape(4, 2), np.arange(4.0))


class TestSkops(PlainSuite):
    kind = "SkopsModelArtifact"

    def make_model(self) -> Any:
        from sklearn.linear_model import LinearRegression

        return LinearRegression().fit([[0.0], [1.0]], [0.0, 1.0])


class TestOnnx(PlainSuite):
    kind = "OnnxModelArtifact"

    def make_model(self) -> Any:
        from tests.frameworks.test_onnx import linear

        return linear()


class TestJson(PlainSuite):
    kind = "JSONArtifact"

    def make_model(self) -> Any:
        return {"a": 1}


class TestText(PlainSuite):
    kind = "TextFileArtifact"

    def make_model(self) -> Any:
        return "text"


def test_every_type_is_given_a_model_somewhere() -> None:
    """So that none is forgotten."""
    tests = Path(__file__).resolve().parents[1]
    places = [Path(__file__), *tests.glob("heavy/*/test_no_pickle.py")]
    found = {kind for place in places for kind in re.findall(r'^    kind = "(\w+)"', place.read_text(), re.MULTILINE)}
    assert found == set(TABLES["frameworks"])
