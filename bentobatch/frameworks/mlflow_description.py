"""This module reads the MLmodel of an MLflow model: what it is, what it takes, and whether it is known to hold no pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from bentobatch.errors import BundleError, UsageError

MODEL_FILE = "MLmodel"
_MOST_BYTES = 4 << 20
_CATBOOST = ("CatBoost", "CatBoostClassifier", "CatBoostRegressor", "CatBoostRanker")
_XGBOOST = ("XGBClassifier", "XGBRegressor", "XGBRanker", "XGBRFClassifier", "XGBRFRegressor", "XGBModel")
_XGBOOST_CLASSES = ("xgboost.core.Booster", *(f"xgboost.sklearn.{name}" for name in _XGBOOST))


def described(source: Path, owner: str, kind: type[BundleError | UsageError]) -> Mapping[str, Any]:
    """What the MLmodel in ``source`` says, as plain values; nothing is imported or run for it.

    Raises:
        ``kind``: it is missing, or no description of a model with the flavor python_function.
    """
    path = source / MODEL_FILE
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
        if len(data) > _MOST_BYTES:
            raise ValueError("it is too large")
        content = yaml.safe_load(data)
        if not isinstance(content["flavors"]["python_function"]["loader_module"], str):
            raise TypeError("loader_module is no text")
        signature_types(content)
    except FileNotFoundError as error:
        raise kind(f"{owner}: the file {path} is missing; save the bundle again, or fetch it again") from error
    except (yaml.YAMLError, ValueError, TypeError, KeyError, AttributeError, RecursionError, OSError) as error:
        reason = " ".join(str(error).split())[:300]
        raise kind(
            f"{owner}: {path} is no description of an MLflow model that predicts in Python ({reason}); save the model again "
            "with mlflow"
        ) from error
    return dict(content)


def signature_types(content: Mapping[str, Any]) -> dict[str, str]:
    """The input columns of a model's signature with MLflow's types ("double", "string", …; "tensor" for a named one), in
    order; {} where there is no signature, or one without names."""
    signature = content.get("signature") or {}
    inputs = json.loads(signature.get("inputs") or "[]")
    named = {str(each["name"]): str(each["type"]) for each in inputs if each.get("name") is not None}
    return named if len(named) == len(inputs) else {}


def stores_no_pickle(content: Mapping[str, Any]) -> bool:
    """Whether loading the model is known to unpickle nothing: one of four libraries, in their own formats, and no code of
    the model's own. Everything else may, whatever its files are called."""
    flavors = content["flavors"]
    main = flavors["python_function"]
    package, _, library_name = str(main["loader_module"]).partition(".")
    flavor = flavors.get(library_name)
    if package != "mlflow" or main.get("code") or not isinstance(flavor, Mapping) or flavor.get("code"):
        return False
    if library_name == "onnx":
        return True
    if library_name == "xgboost":
        return flavor.get("model_class", "xgboost.core.Booster") in _XGBOOST_CLASSES
    if library_name == "lightgbm":
        return bool(flavor.get("model_class", "lightgbm.basic.Booster") == "lightgbm.basic.Booster")
    if library_name == "catboost":
        return flavor.get("model_type") in _CATBOOST and flavor.get("save_format") in ("cbm", "json")
    return False
