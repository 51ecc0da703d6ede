"""This module is the service of workload S1: a logistic regression, where the server costs more than the model."""

from __future__ import annotations

import bentobatch
from bentobatch.adapters import DataframeInput
from bentobatch.frameworks.sklearn import SklearnModelArtifact


@bentobatch.artifacts([SklearnModelArtifact("model")])
class Light(bentobatch.BentoService):
    """Tells the class of rows of 20 features."""

    @bentobatch.api(input=DataframeInput(), batch=True)
    def predict(self, df):
        return self.artifacts.model.predict(df)
