"""This module keeps XGBoost models, boosters and scikit-learn wrappers alike, in XGBoost's own binary JSON (UBJSON)."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, ClassVar

from bentobatch.errors import BundleError, UsageError
from bentobatch.frameworks.base import BentoServiceArtifact
from bentobatch.frameworks.libraries import library
from bentobatch.frameworks.model_knowledge import classes_of, feature_count_of
from bentobatch.frameworks.text import read_text

_WRAPPERS = ("XGBClassifier", "XGBRegressor", "XGBRanker", "XGBRFClassifier", "XGBRFRegressor", "XGBModel")
_LOST = ("missing", "enable_categorical")
"""Parameters of a wrapper that change its predictions and that save_model forgets."""


class XgboostModelArtifact(BentoServiceArtifact):
    """An ``xgboost.Booster`` or one of XGBoost's scikit-learn wrappers, in ``<name>.ubj``.

    ``<name>.kind.json`` beside it says which, and keeps what the wrapper's own file forgets. A bundle of BentoML 0.13
    has ``<name>.model`` instead, which is read where the installed XGBoost still can (before 3.1).
    """

    pip_packages: ClassVar[tuple[str, ...]] = ("xgboost",)
    uses_pickle: ClassVar[bool] = False

    def check(self, model: Any) -> Any:
        xgboost = library("xgboost", self.owner)
        kinds = (xgboost.Booster, *(getattr(xgboost, name) for name in _WRAPPERS))
        if type(model) not in kinds:  # a subclass would come back as its base
            raise UsageError(
                f"{self.owner} takes an xgboost.Booster or one of {', '.join(_WRAPPERS)}, "
                f"not a {type(model).__name__}: pass one of these, or use PickleArtifact"
            )
        if not isinstance(model, xgboost.Booster) and not model.__sklearn_is_fitted__():
            raise UsageError(f"{self.owner}: the {type(model).__name__} is not fitted yet: call fit before pack")
        return model

    def save_model(self, folder: Path) -> None:
        model = self.get()
        model.save_model(str(folder / f"{self.name}.ubj"))
        kind: dict[str, Any] = {"kind": type(model).__name__}
        if kind["kind"] in _WRAPPERS:
            kind |= {name: _written(getattr(model, name)) for name in _LOST}
        (folder / f"{self.name}.kind.json").write_text(json.dumps(kind), encoding="utf-8")

    def load_model(self, folder: Path) -> Any:
        xgboost = library("xgboost", self.owner)
        path, kind = folder / f"{self.name}.ubj", {"kind": "Booster"}
        if path.is_file():
            kind = self._kind(folder)
        elif (folder / f"{self.name}.model").is_file():
            path = folder / f"{self.name}.model"
        else:
            raise BundleError(f"{self.owner}: the file {path} is missing; save the bundle again, or fetch it again")
        model = getattr(xgboost, kind["kind"])()
        try:
            # from a path XGBoost guesses the format by the name, from a buffer by the content
            model.load_model(str(path) if path.suffix == ".ubj" else bytearray(path.read_bytes()))
        except xgboost.core.XGBoostError as error:
            reason = str(error).partition("Stack trace")[0]
            raise BundleError(
                f"{self.owner}: XGBoost {xgboost.__version__} cannot read {path} ({' '.join(reason.split())}); install "
                "the version of the bundle's requirements.txt, or save the model again"
            ) from error
        if kind["kind"] != "Booster":
            model.set_params(**{name: _read(kind[name]) for name in _LOST if name in kind})
        return model

    def feature_names(self) -> list[str] | None:
        names = self._booster().feature_names
        return list(names) if names else None

    def feature_count(self) -> int | None:
        return feature_count_of(self.get()) or int(self._booster().num_features())

    def classes(self) -> list[Any] | None:
        return classes_of(self.get())

    def _booster(self) -> Any:
        model = self.get()
        return model.get_booster() if hasattr(model, "get_booster") else model

    def _kind(self, folder: Path) -> dict[str, Any]:
        path = folder / f"{self.name}.kind.json"
        try:
            kind = json.loads(read_text(path, "utf-8", self.owner))
        except ValueError as error:
            raise BundleError(f"{self.owner}: {path} is not JSON ({error}); save the model again") from error
        if not isinstance(kind, dict) or kind.get("kind") not in ("Booster", *_WRAPPERS):
            raise BundleError(f"{self.owner}: {path} names no kind of XGBoost model; save the model again")
        return kind


def _written(value: Any) -> Any:
    """A parameter as strict JSON; NaN, the usual ``missing``, is written as text."""
    return "NaN" if isinstance(value, float) and math.isnan(value) else value


def _read(value: Any) -> Any:
    return math.nan if value == "NaN" else value
