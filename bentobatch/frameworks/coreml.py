"""This module keeps Core ML models, which macOS alone can run."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, ClassVar

from bentobatch.errors import BundleError, UsageError
from bentobatch.frameworks.base import BentoServiceArtifact
from bentobatch.frameworks.libraries import library


class CoreMLModelArtifact(BentoServiceArtifact):
    """A ``coremltools.models.MLModel``: in ``<name>.mlmodel``, or in the folder ``<name>.mlpackage`` for an ML program.

    It can be packed, saved and loaded anywhere that Core ML Tools can be installed; its ``predict`` is macOS's.
    """

    pip_packages: ClassVar[tuple[str, ...]] = ("coremltools",)
    uses_pickle: ClassVar[bool] = False

    def check(self, model: Any) -> Any:
        coremltools = library("coremltools", self.owner)
        if not isinstance(model, coremltools.models.MLModel):
            raise UsageError(
                f"{self.owner} takes a coremltools.models.MLModel, not a {type(model).__name__}: convert it with "
                "coremltools.convert first"
            )
        return model

    def save_model(self, folder: Path) -> None:
        model = self.get()
        package = model.get_spec().WhichOneof("Type") in ("mlProgram", "pipeline") and model.package_path is not None
        if package:
            shutil.copytree(model.package_path, folder / f"{self.name}.mlpackage", symlinks=True)
        else:
            model.save(str(folder / f"{self.name}.mlmodel"))

    def load_model(self, folder: Path) -> Any:
        coremltools = library("coremltools", self.owner)
        path = folder / f"{self.name}.mlpackage"
        if not path.is_dir():
            path = folder / f"{self.name}.mlmodel"
        if not path.exists():
            raise BundleError(f"{self.owner}: the file {path} is missing; save the bundle again, or fetch it again")
        try:
            return coremltools.models.MLModel(str(path))
        except Exception as error:  # protobuf's, macOS's and Core ML's own, as damage will have it
            reason = " ".join(str(error).split())[:300]
            raise BundleError(
                f"{self.owner}: Core ML Tools {coremltools.__version__} cannot read {path} ({reason}): it is damaged, or was "
                "made by another version; install that of the bundle's requirements.txt, or save the model again"
            ) from error
