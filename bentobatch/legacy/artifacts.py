"""This module makes artifacts that take BentoML's arguments out of the house's own, found by their names when asked for."""

from __future__ import annotations

import functools
from pathlib import Path
from types import ModuleType
from typing import Any

from bentobatch.frameworks.json import JSONArtifact as OwnJSONArtifact
from bentobatch.frameworks.pickle import PickleArtifact as OwnPickleArtifact
from bentobatch.frameworks.unpickle import load_joblib, load_pickle
from bentobatch.legacy.adapters import absent, own_class

_RENAMED = {"Fastai2ModelArtifact": "FastaiModelArtifact"}


@functools.cache
def artifact(name: str) -> type:
    """The class for BentoML's artifact ``name``; one that raises when it is used, where the house has none."""
    found = {"PickleArtifact": PickleArtifact, "JSONArtifact": JSONArtifact}.get(name)
    if found is None:
        found = own_class("frameworks", _RENAMED.get(name, name))
    return found or absent(
        name,
        f"this bentobatch has no artifact {name}; in a copy of the bundle, put a class of your own in its place, derived "
        "from BentoServiceArtifact, whose load(path) reads the model's files in artifacts/, or pack the model anew, in a "
        "PickleArtifact",
    )


class PickleArtifact(OwnPickleArtifact):
    """Any object that was pickled, by cloudpickle, by BentoML's copy of it, or by whatever module ``pickle_module`` is."""

    def __init__(self, name: str, pickle_module: str | ModuleType = "cloudpickle") -> None:
        given = pickle_module.__name__ if isinstance(pickle_module, ModuleType) else str(pickle_module)
        self._written_by = given.rpartition(".")[2]
        super().__init__(name, "pickle" if self._written_by == "pickle" else "cloudpickle")

    def load_model(self, folder: Path) -> Any:
        load = load_joblib if self._written_by == "joblib" else load_pickle
        return load(self._file(folder), self.owner)


class JSONArtifact(OwnJSONArtifact):
    """A JSON value, with BentoML's order of arguments. What was written is read as JSON, whoever wrote it."""

    def __init__(self, name: str, encoding: str = "utf-8", json_module: Any = None) -> None:
        module = json_module if isinstance(json_module, (str, ModuleType)) else "json"
        super().__init__(name, encoding=encoding, json_module=module)
