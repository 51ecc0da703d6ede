"""This module is the demo's service: a classifier of tumours, as a data scientist would write it."""

from __future__ import annotations

import bentobatch
from bentobatch.adapters import DataframeInput
from bentobatch.frameworks.sklearn import SklearnModelArtifact


@bentobatch.env(infer_pip_packages=True)
@bentobatch.artifacts([SklearnModelArtifact("model")])
class CancerScreening(bentobatch.BentoService):
    """Tells how likely a tumour is benign, from the measures of its cells."""

    @bentobatch.api(input=DataframeInput(), batch=True)
    def predict(self, measures):
        return self.artifacts.model.predict_proba(measures)[:, 1]
