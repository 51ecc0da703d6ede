"""This module is the service that one writes by hand: Flask, a model, and no batches. ``MODEL`` is a file of joblib's.

It gets what it wants in the form that costs it least: lists of numbers, straight into numpy.
"""

from __future__ import annotations

import os

import joblib
import numpy as np
from flask import Flask, jsonify, request

app = Flask(__name__)
model = joblib.load(os.environ["MODEL"])


@app.post("/predict")
def predict():
    """The classes of the rows."""
    rows = np.array(request.get_json(), dtype=np.float64)
    return jsonify(model.predict(rows).tolist())
