"""This module keeps fastText models in fastText's own binary format."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from bentobatch.errors import BundleError, UsageError
from bentobatch.frameworks.base import BentoServiceArtifact
from bentobatch.frameworks.libraries import library


class FasttextModelArtifact(BentoServiceArtifact):
    """A model of ``fasttext.train_supervised``, ``train_unsupervised`` or ``load_model``, in ``<name>.bin``; a quantized
    one too. BentoML 0.13 has ``<name>`` without an ending, which is read as well.
    """

    pip_packages: ClassVar[tuple[str, ...]] = ("fasttext",)
    uses_pickle: ClassVar[bool] = False

    def check(self, model: Any) -> Any:
        fasttext = library("fasttext", self.owner)
        if not isinstance(model, fasttext.FastText._FastText):
            raise UsageError(
                f"{self.owner} takes a model that fasttext trained or loaded, not a {type(model).__name__}: pass what "
                "fasttext.train_supervised or fasttext.load_model gives"
            )
        return model

    def save_model(self, folder: Path) -> None:
        self.get().save_model(str(folder / f"{self.name}.bin"))

    def load_model(self, folder: Path) -> Any:
        fasttext = library("fasttext", self.owner)
        path = folder / f"{self.name}.bin"
        if not path.is_file() and (folder / self.name).is_file():
            path = folder / self.name
        if not path.is_file():
            raise BundleError(f"{self.owner}: the file {path} is missing; save the bundle again, or fetch it again")
        try:
            return fasttext.load_model(str(path))
        except (ValueError, MemoryError, RuntimeError) as error:  # a damaged one may ask for any amount of memory
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise BundleError(f"{self.owner}: fastText cannot read {path} ({reason}); save the model again") from error
