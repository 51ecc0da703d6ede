"""This module is the service that one writes by hand with FastAPI, and no batches. ``MODEL`` is a file of joblib's."""

from __future__ import annotations

import os

import joblib
import numpy as np
from fastapi import FastAPI

app = FastAPI()
model = joblib.load(os.environ["MODEL"])


@app.post("/predict")
def predict(rows: list[list[float]]) -> list[int]:
    """The classes of the rows."""
    return model.predict(np.array(rows, dtype=np.float64)).tolist()
