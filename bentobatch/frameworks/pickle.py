"""This module keeps any Python object as a pickle; code that nobody else could import goes with it."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

from bentobatch.errors import UsageError
from bentobatch.frameworks.base import BentoServiceArtifact
from bentobatch.frameworks.model_knowledge import classes_of, feature_count_of, feature_names_of
from bentobatch.frameworks.unpickle import dump_pickle, load_pickle

_PICKLERS = ("cloudpickle", "pickle")


class PickleArtifact(BentoServiceArtifact):
    """Any object that can be pickled, in ``<name>.pkl``.

    ``pickle_module``: "cloudpickle" or "pickle", by name or as the module, as BentoML 0.13 has it. Both are read alike;
    others (dill, joblib) have files of their own kind and are refused.
    """

    pip_packages: ClassVar[tuple[str, ...]] = ("cloudpickle",)

    def __init__(self, name: str, pickle_module: str | ModuleType = "cloudpickle") -> None:
        super().__init__(name)
        self.pickle_module = pickle_module.__name__ if isinstance(pickle_module, ModuleType) else pickle_module
        if self.pickle_module not in _PICKLERS:
            raise UsageError(
                f"{self.owner}: pickle_module {self.pickle_module!r} is not supported; "
                f"use one of {', '.join(_PICKLERS)}, or write a custom artifact"
            )

    def config(self) -> dict[str, Any]:
        return {"pickle_module": self.pickle_module}

    def save_model(self, folder: Path) -> None:
        dump_pickle(self.get(), self._file(folder), self.owner, pickle_module=self.pickle_module)

    def load_model(self, folder: Path) -> Any:
        return load_pickle(self._file(folder), self.owner)

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
