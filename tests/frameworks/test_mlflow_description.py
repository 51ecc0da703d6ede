"""This module tests what is read of an MLmodel before MLflow is asked; MLflow itself: tests/heavy/small/test_mlflow.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bentobatch.errors import BundleError
from bentobatch.frameworks.mlflow_description import described, signature_types, stores_no_pickle

WRAPPER = "xgboost.sklearn.XGBClassifier"
CATBOOST = {"model_type": "CatBoost", "save_format": "cbm"}


def flavors(name: str, flavor: Any, **main: Any) -> dict[str, Any]:
    return {"flavors": {"python_function": {"loader_module": f"mlflow.{name}", **main}, name: flavor}}


@pytest.mark.parametrize(
    ("description", "known"),
    [
        (flavors("onnx", {"data": "model.onnx"}), True),
        (flavors("xgboost", {"model_class": WRAPPER, "code": None}), True),
        (flavors("xgboost", {}), True),  # MLflow before 1.22 has boosters only
        (flavors("xgboost", {"model_class": "joblib.numpy_pickle.NumpyUnpickler"}), False),
        (flavors("xgboost", {"model_class": [WRAPPER]}), False),
        (flavors("lightgbm", {"model_class": "lightgbm.basic.Booster"}), True),
        (
            flavors("lightgbm", {"model_class": "lightgbm.sklearn.LGBMClassifier", "serialization_format": "skops"}),
            False,
        ),
        (flavors("catboost", CATBOOST), True),
        (flavors("catboost", {**CATBOOST, "save_format": "python"}), False),
        (flavors("sklearn", {"serialization_format": "skops"}), False),
        (flavors("statsmodels", {"data": "model.statsmodels"}), False),
        (flavors("pyfunc.model", {}), False),
        (flavors("onnx", {}, code="code"), False),
        (flavors("onnx", {"code": "code"}), False),
        (flavors("onnx", None), False),
        ({"flavors": {"python_function": {"loader_module": "onnx"}, "onnx": {}}}, False),
        ({"flavors": {"python_function": {"loader_module": "mlflow.sklearn"}, "onnx": {}}}, False),
    ],
)
def test_only_what_is_known_to_hold_no_pickle_passes(description: dict[str, Any], known: bool) -> None:
    """By the module that loads the model and what that one goes by; code of the model's own may do anything."""
    assert stores_no_pickle(description) is known


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "flavors: {sklearn: {}}",
        "flavors: {python_function: {loader_module: 3}}",
        "flavors: {python_function: {loader_module: x}}\nsignature: {inputs: 'no JSON'}",
        "flavors: {python_function: {loader_module: x}}\nsignature: {inputs: '[1]'}",
        "flavors: !!python/object/apply:os.mkdir [canary]",
        "\x00",
        "[" * 5000,
    ],
)
def test_what_is_no_description_is_one_line_that_names_the_file(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing in it is executed."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "MLmodel").write_text(text)
    with pytest.raises(BundleError, match="MLmodel") as caught:
        described(tmp_path, "artifact", BundleError)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "canary").exists()


def test_the_columns_of_a_signature_are_told_in_order() -> None:
    """A signature without names, such as that of one tensor, names no columns."""
    named = '[{"name": "b", "type": "double"}, {"name": "a", "type": "string", "required": false}]'
    assert list(signature_types({"signature": {"inputs": named}}).items()) == [("b", "double"), ("a", "string")]
    assert signature_types({"signature": {"inputs": '[{"type": "tensor", "tensor-spec": {}}]'}}) == {}
    assert signature_types({"signature": None}) == signature_types({}) == {}
