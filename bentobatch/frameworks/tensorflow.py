"""This module keeps TensorFlow models as folders in TensorFlow's own form, SavedModel."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from bentobatch.errors import BentobatchError, BundleError, UsageError
from bentobatch.frameworks.base import BentoServiceArtifact
from bentobatch.frameworks.libraries import library


class TensorflowSavedModelArtifact(BentoServiceArtifact):
    """A ``tf.Module`` or another trackable object, or the path of a SavedModel, in the folder ``<name>_saved_model``.

    A service gets what ``tf.saved_model.load`` makes of it, before saving too: the methods under ``@tf.function`` with an
    input signature, and no other. The form is a graph, not a pickle; a graph may read and write files, as code may.
    """

    pip_packages: ClassVar[tuple[str, ...]] = ("tensorflow",)
    uses_pickle: ClassVar[bool] = False

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._source: Path | None = None
        self._how: dict[str, Any] = {}

    def pack(
        self,
        model: Any,
        *,
        metadata: Mapping[str, Any] | None = None,
        signatures: Any = None,
        options: Any = None,
    ) -> BentoServiceArtifact:
        """As every artifact's; ``signatures`` and ``options`` are those of ``tf.saved_model.save``."""
        self._how = {"signatures": signatures, "options": options}
        return super().pack(model, metadata=metadata)

    def check(self, model: Any) -> Any:
        """The model as it will be loaded, from a folder of this process's own, which goes with it."""
        tf = library("tensorflow", self.owner)
        folder = Path(tempfile.mkdtemp(prefix="bentobatch-"))
        try:
            self._write(tf, model, folder / "saved_model")
            loaded = self._loaded(tf, folder / "saved_model", UsageError)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        weakref.finalize(loaded, shutil.rmtree, folder, True)
        self._source = folder / "saved_model"
        return loaded

    def _write(self, tf: Any, model: Any, made: Path) -> None:
        if isinstance(model, (str, Path)):
            if not (Path(model) / "saved_model.pb").is_file():
                raise UsageError(
                    f"{self.owner}: {str(model)!r} is no folder of a SavedModel (saved_model.pb is not there)"
                )
            shutil.copytree(model, made, symlinks=True)
            return
        try:
            tf.saved_model.save(model, str(made), **self._how)
        except (ValueError, TypeError, AttributeError, AssertionError) as error:
            raise UsageError(
                f"{self.owner} takes a tf.Module or the path of a SavedModel; TensorFlow saves no "
                f"{type(model).__name__} ({_line(error)})"
            ) from error

    def save_model(self, folder: Path) -> None:
        self.get()
        assert self._source is not None
        shutil.copytree(self._source, self._folder(folder), symlinks=True)

    def load_model(self, folder: Path) -> Any:
        tf, path = library("tensorflow", self.owner), self._folder(folder)
        if not path.is_dir():
            raise BundleError(f"{self.owner}: the folder {path} is missing; save the bundle again, or fetch it again")
        self._source = path
        return self._loaded(tf, path, BundleError)

    def _loaded(self, tf: Any, path: Path, kind: type[BentobatchError]) -> Any:
        try:
            return tf.saved_model.load(str(path))
        except Exception as error:  # TensorFlow has no error of its own for a damaged folder
            raise kind(
                f"{self.owner}: TensorFlow {tf.__version__} cannot load {path} ({_line(error)}): it is damaged, or was made "
                "by another version; install that of the bundle's requirements.txt, or save the model again"
            ) from error

    def _folder(self, folder: Path) -> Path:
        return folder / f"{self.name}_saved_model"


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
