"""This module is the service of workload S2: a random forest, whose call costs 18 ms for one row and 19 ms for 64."""

from __future__ import annotations

import bentobatch
from bentobatch.adapters import NumpyInput
from bentobatch.frameworks.sklearn import SklearnModelArtifact

# arrays, as the servers take them that are written by hand: scikit-learn spends 0.6 ms on looking at a DataFrame


@bentobatch.artifacts([SklearnModelArtifact("model")])
class Costly(bentobatch.BentoService):
    """Tells the class of rows of 20 features."""

    @bentobatch.api(input=NumpyInput(columns=[f"f{number}" for number in range(20)], dtype="float64"), batch=True)
    def predict(self, rows):
        return self.artifacts.model.predict(rows)
