"""This module is the service of workload S2: a random forest, whose call costs 18 ms for one row and 19 ms for 64."""

from __future__ import annotations

import bentobatch
from bentobatch.adapters import DataframeInput
from bentobatch.frameworks.sklearn import SklearnModelArtifact


@bentobatch.artifacts([SklearnModelArtifact("model")])
class Costly(bentobatch.BentoService):
    """Tells the class of rows of 20 features."""

    @bentobatch.api(input=DataframeInput(), batch=True)
    def predict(self, df):
        return self.artifacts.model.predict(df)
