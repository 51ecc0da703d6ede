"""This module keeps LightGBM boosters in LightGBM's own text format."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from bentobatch.errors import BundleError, UsageError
from bentobatch.frameworks.base import BentoServiceArtifact
from bentobatch.frameworks.libraries import library
from bentobatch.frameworks.model_knowledge import real_names


class LightGBMModelArtifact(BentoServiceArtifact):
    """A ``lightgbm.Booster`` in ``<name>.txt``.

    The scikit-learn wrapper (LGBMClassifier …) has no form of its own but a pickle, so it belongs into a
    SklearnModelArtifact; here it is refused with that advice, and --no-pickle stays exact. After early stopping only
    the trees up to the best iteration are stored, which are those that ``predict`` uses.
    """

    pip_packages: ClassVar[tuple[str, ...]] = ("lightgbm",)
    uses_pickle: ClassVar[bool] = False

    def check(self, model: Any) -> Any:
        lightgbm = library("lightgbm", self.owner)
        if isinstance(model, lightgbm.LGBMModel):
            raise UsageError(
                f"{self.owner} takes a lightgbm.Booster, not the wrapper {type(model).__name__}: "
                "pack model.booster_, or use SklearnModelArtifact, which keeps the wrapper"
            )
        if not isinstance(model, lightgbm.Booster):
            raise UsageError(f"{self.owner} takes a lightgbm.Booster, not a {type(model).__name__}: pass the booster")
        return model

    def save_model(self, folder: Path) -> None:
        self.get().save_model(str(self._file(folder)))

    def load_model(self, folder: Path) -> Any:
        lightgbm = library("lightgbm", self.owner)
        path = self._file(folder)
        if not path.is_file():  # LightGBM ends in the same error for a missing and for a damaged file
            raise BundleError(f"{self.owner}: the file {path} is missing; save the bundle again, or fetch it again")
        try:
            return lightgbm.Booster(model_file=str(path))
        except lightgbm.basic.LightGBMError as error:
            raise BundleError(f"{self.owner}: LightGBM cannot read {path} ({error}); save the model again") from error

    def feature_names(self) -> list[str] | None:
        """LightGBM writes a blank in a name as an underscore, for good; declare the columns where that matters."""
        return real_names(self.get().feature_name())

    def feature_count(self) -> int | None:
        return int(self.get().num_feature())

    def _file(self, folder: Path) -> Path:
        return folder / f"{self.name}.txt"
