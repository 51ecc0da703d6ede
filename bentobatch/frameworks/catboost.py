"""This module keeps CatBoost models in CatBoost's own binary format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

from bentobatch.errors import BundleError, UsageError
from bentobatch.frameworks.base import BentoServiceArtifact
from bentobatch.frameworks.libraries import library
from bentobatch.frameworks.text import read_text

_KINDS = ("CatBoost", "CatBoostClassifier", "CatBoostRegressor", "CatBoostRanker")


class CatBoostModelArtifact(BentoServiceArtifact):
    """A ``CatBoost``, ``CatBoostClassifier``, ``CatBoostRegressor`` or ``CatBoostRanker``, in ``<name>.cbm``.

    ``<name>.kind.json`` beside it says which of them, since the same file read as another one predicts other values.
    """

    pip_packages: ClassVar[tuple[str, ...]] = ("catboost",)
    uses_pickle: ClassVar[bool] = False

    def check(self, model: Any) -> Any:
        catboost = library("catboost", self.owner)
        if type(model) not in [getattr(catboost, kind) for kind in _KINDS]:  # a subclass would come back as its base
            raise UsageError(
                f"{self.owner} takes one of {', '.join(_KINDS)}, not a {type(model).__name__}: pass one of these, or use "
                "PickleArtifact"
            )
        if not model.is_fitted():
            raise UsageError(f"{self.owner}: the {type(model).__name__} is not fitted yet: call fit before pack")
        return model

    def save_model(self, folder: Path) -> None:
        self.get().save_model(str(self._file(folder)))
        kind = json.dumps({"kind": type(self.get()).__name__})
        (folder / f"{self.name}.kind.json").write_text(kind, encoding="utf-8")

    def load_model(self, folder: Path) -> Any:
        catboost = library("catboost", self.owner)
        path = self._file(folder)
        if not path.is_file():  # CatBoost ends in the same error for a missing and for a damaged file
            raise BundleError(f"{self.owner}: the file {path} is missing; save the bundle again, or fetch it again")
        model = getattr(catboost, self._kind(folder))()
        try:
            model.load_model(str(path))
        except catboost.CatBoostError as error:
            reason = " ".join(str(error).split())
            raise BundleError(f"{self.owner}: CatBoost cannot read {path} ({reason}); save the model again") from error
        return model

    def feature_names(self) -> list[str] | None:
        names = [str(name) for name in self.get().feature_names_ or ()]
        invented = [str(position) for position in range(len(names))]  # of a bare array's columns
        return names if names and names != invented else None

    def feature_count(self) -> int | None:
        return len(self.get().feature_names_)

    def classes(self) -> list[Any] | None:
        labels = self.get().classes_
        values = labels.tolist() if hasattr(labels, "tolist") else list(labels)
        return values or None

    def _kind(self, folder: Path) -> str:
        path = folder / f"{self.name}.kind.json"
        try:
            kind = json.loads(read_text(path, "utf-8", self.owner))["kind"]
        except (ValueError, TypeError, KeyError) as error:
            raise BundleError(f"{self.owner}: {path} is damaged ({error}); save the model again") from error
        if kind not in _KINDS:
            raise BundleError(f"{self.owner}: {path} names no kind of CatBoost model; save the model again")
        return str(kind)

    def _file(self, folder: Path) -> Path:
        return folder / f"{self.name}.cbm"
