"""This module keeps scikit-learn models, and those of other libraries in its manner, in files of joblib."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from bentobatch.errors import UsageError
from bentobatch.frameworks.base import BentoServiceArtifact
from bentobatch.frameworks.libraries import library
from bentobatch.frameworks.model_knowledge import classes_of, feature_count_of, feature_names_of
from bentobatch.frameworks.unpickle import dump_joblib, load_joblib


class SklearnModelArtifact(BentoServiceArtifact):
    """An estimator, transformer, pipeline or search, in ``<name>.pkl``."""

    pip_packages: ClassVar[tuple[str, ...]] = ("scikit-learn", "joblib")

    def check(self, model: Any) -> Any:
        """Anything with ``fit`` and ``predict`` or ``transform``; scikit-learn's own base class is not required."""
        library("sklearn", self.owner)
        if isinstance(model, type) or not (
            hasattr(model, "fit") and any(hasattr(model, method) for method in ("predict", "transform", "fit_predict"))
        ):
            what = f"the class {model.__name__} itself" if isinstance(model, type) else f"a {type(model).__name__}"
            raise UsageError(
                f"{self.owner} takes a fitted scikit-learn model, not {what}: "
                "pass a fitted estimator or pipeline, or use PickleArtifact for other objects"
            )
        return model

    def save_model(self, folder: Path) -> None:
        dump_joblib(self.get(), self._file(folder), self.owner)

    def load_model(self, folder: Path) -> Any:
        library("sklearn", self.owner)
        return load_joblib(self._file(folder), self.owner)

    def pickle_file(self, folder: Path) -> Path | None:
        return self._file(folder)

    def feature_names(self) -> list[str] | None:
        return feature_names_of(self.get())

    def feature_count(self) -> int | None:
        return feature_count_of(self.get())

    def classes(self) -> list[Any] | None:
        return classes_of(self.get())

    def _file(self, folder: Path) -> Path:
        return folder / f"{self.name}.pkl"
