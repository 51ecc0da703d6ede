"""This module imports libraries that warn while they are imported, before warnings are errors."""

from __future__ import annotations

import os
import warnings

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import catboost  # noqa: F401
    import fasttext  # noqa: F401
    import h2o.estimators  # noqa: F401
    import mlflow.catboost
    import mlflow.lightgbm
    import mlflow.onnx
    import mlflow.pyfunc
    import mlflow.sklearn
    import mlflow.xgboost  # noqa: F401
    import spacy  # noqa: F401
