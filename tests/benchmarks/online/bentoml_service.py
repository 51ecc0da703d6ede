"""This module is the service as one writes it with BentoML 1.4: an api that is batched. ``MODEL`` is a file of joblib's."""

from __future__ import annotations

import os

import bentoml
import joblib
import numpy as np


@bentoml.service(workers=2)
class Served:
    """Tells the class of rows of 20 features."""

    def __init__(self) -> None:
        self.model = joblib.load(os.environ["MODEL"])

    @bentoml.api(batchable=True, max_batch_size=256)
    def predict(self, rows: np.ndarray) -> np.ndarray:
        """The classes of the rows."""
        return self.model.predict(rows)
