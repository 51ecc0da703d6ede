"""This module keeps scikit-learn models in the files of skops, which hold no pickle: what may be made of them is listed."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from bentobatch.errors import BundleError, UsageError
from bentobatch.frameworks.base import BentoServiceArtifact
from bentobatch.frameworks.libraries import library
from bentobatch.frameworks.model_knowledge import classes_of, feature_count_of, feature_names_of


class SkopsModelArtifact(BentoServiceArtifact):
    """A fitted scikit-learn model in ``<name>.skops``.

    Loading makes objects of the types that skops itself knows (numpy's, scipy's, scikit-learn's), and of those in
    ``trusted``, full names such as "mypackage.Scaler"; a file with any other one is refused. The file's own list is
    never taken for ``trusted``. What is packed is the model, or the path of a .skops file.
    """

    pip_packages: ClassVar[tuple[str, ...]] = ("skops", "scikit-learn")
    uses_pickle: ClassVar[bool] = False

    def __init__(self, name: str, trusted: Sequence[str] = ()) -> None:
        super().__init__(name)
        if isinstance(trusted, str) or not all(isinstance(each, str) for each in trusted):
            raise UsageError(f"{self.owner}: trusted is a list of types' full names, such as ['mypackage.Scaler']")
        self.trusted = tuple(trusted)

    def config(self) -> dict[str, Any]:
        return {"trusted": list(self.trusted)}

    def check(self, model: Any) -> Any:
        if isinstance(model, (str, Path)):
            if not Path(model).is_file():
                raise UsageError(f"{self.owner}: there is no file {str(model)!r}: give the path of a .skops file")
            return self._loaded(Path(model))
        library("skops.io", self.owner)
        if isinstance(model, type) or not (hasattr(model, "fit") and hasattr(model, "get_params")):
            raise UsageError(
                f"{self.owner} takes a fitted scikit-learn model, or the path of a .skops file, not "
                f"{'the class ' + model.__name__ if isinstance(model, type) else 'a ' + type(model).__name__}"
            )
        return model

    def save_model(self, folder: Path) -> None:
        skops = library("skops.io", self.owner)
        path = self._file(folder)
        try:
            skops.dump(self.get(), path)
        except (TypeError, AttributeError, skops.exceptions.UnsupportedTypeException) as error:
            raise UsageError(
                f"{self.owner}: skops cannot store this model ({error}): use SklearnModelArtifact, which pickles it"
            ) from error
        self._refuse_untrusted(path, UsageError)

    def load_model(self, folder: Path) -> Any:
        return self._loaded(self._file(folder))

    def feature_names(self) -> list[str] | None:
        return feature_names_of(self.get())

    def feature_count(self) -> int | None:
        return feature_count_of(self.get())

    def classes(self) -> list[Any] | None:
        return classes_of(self.get())

    def _loaded(self, path: Path) -> Any:
        skops = library("skops.io", self.owner)
        library("sklearn", self.owner)
        if not path.is_file():
            raise BundleError(f"{self.owner}: the file {path} is missing; save the bundle again, or fetch it again")
        self._refuse_untrusted(path, BundleError)
        try:
            return skops.load(path, trusted=list(self.trusted))
        except Exception as error:  # whatever an object raises while it is rebuilt from a damaged state
            raise self._unreadable(path, error) from error

    def _refuse_untrusted(self, path: Path, kind: type[BundleError | UsageError]) -> None:
        skops = library("skops.io", self.owner)
        try:
            strange = sorted(set(skops.get_untrusted_types(file=path)) - set(self.trusted))
        except Exception as error:  # zipfile's, json's and skops' own
            raise self._unreadable(path, error) from error
        if strange:
            options = " ".join(f"--trust-type {name}" for name in strange)
            raise kind(
                f"{self.owner}: {path} makes objects of types that nobody has trusted: {', '.join(strange)}; if you know "
                f"them and where the file comes from, name them: {type(self).__name__}(…, trusted={strange!r}), or on the "
                f"command line, for a .skops file, {options}"
            )

    def _unreadable(self, path: Path, error: Exception) -> BundleError:
        if isinstance(error, zipfile.BadZipFile):
            return BundleError(f"{self.owner}: {path} is no skops file ({error}); write it with skops.io.dump")
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        return BundleError(
            f"{self.owner}: skops cannot read {path} ({reason}); it is damaged, or was made by other versions than those "
            "installed: write it again with skops.io.dump"
        )

    def _file(self, folder: Path) -> Path:
        return folder / f"{self.name}.skops"
