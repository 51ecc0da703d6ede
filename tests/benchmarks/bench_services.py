"""This module holds the prediction services of the benchmarks; bundles carry a copy of it, so it imports no other of ours."""

from __future__ import annotations

import bentobatch
from bentobatch.adapters import DataframeInput
from bentobatch.frameworks.json import JSONArtifact
from bentobatch.frameworks.lightgbm import LightGBMModelArtifact
from bentobatch.frameworks.sklearn import SklearnModelArtifact


@bentobatch.artifacts([SklearnModelArtifact("model")])
class Probability(bentobatch.BentoService):
    """The probability of class 1, by any scikit-learn classifier."""

    @bentobatch.api(input=DataframeInput(), batch=True)
    def predict(self, df):
        return self.artifacts.model.predict_proba(df)[:, 1]


@bentobatch.artifacts([SklearnModelArtifact("model")])
class Value(bentobatch.BentoService):
    """The prediction of a scikit-learn regression."""

    @bentobatch.api(input=DataframeInput(), batch=True)
    def predict(self, df):
        return self.artifacts.model.predict(df)


@bentobatch.artifacts([LightGBMModelArtifact("model")])
class Boosted(bentobatch.BentoService):
    """The probability of class 1, by a LightGBM booster."""

    @bentobatch.api(input=DataframeInput(), batch=True)
    def predict(self, df):
        return self.artifacts.model.predict(df)


def slow_score(row, steps):
    """A number from a row of floats, in ``steps`` steps of plain Python, which hold the GIL all the while."""
    value = 0.0
    width = len(row)
    for step in range(steps):
        value = value * 0.5 + row[step % width]
    return value


@bentobatch.artifacts([JSONArtifact("settings")])
class PythonBound(bentobatch.BentoService):
    """A model that is a pure-Python function, row by row."""

    @bentobatch.api(input=DataframeInput(columns=[f"x{index:02d}" for index in range(20)]), batch=True)
    def predict(self, df):
        steps = self.artifacts.settings["steps"]
        return [slow_score(row, steps) for row in df.to_numpy().tolist()]


@bentobatch.artifacts([JSONArtifact("settings")])
class TextLength(bentobatch.BentoService):
    """The characters of five texts together: needs every byte of them, and gives a number that is easily checked."""

    @bentobatch.api(input=DataframeInput(columns=[f"text{index}" for index in range(5)]), batch=True)
    def predict(self, df):
        return sum(df[name].str.len() for name in df.columns).to_numpy(dtype="int64")
