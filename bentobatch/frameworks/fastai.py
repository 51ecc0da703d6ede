"""This module keeps learners of fastai, which have no form but a pickle."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from bentobatch.devices import torch_device
from bentobatch.errors import BundleError, UsageError
from bentobatch.frameworks.base import BentoServiceArtifact
from bentobatch.frameworks.libraries import library
from bentobatch.frameworks.unpickle import dump_pickle, load_pickle, load_torch_pickle


class FastaiModelArtifact(BentoServiceArtifact):
    """A fastai ``Learner`` (version 2) in ``<name>.pkl``, without its data and its optimizer's state, as ``export`` does.

    It is loaded onto the device that was asked for (see devices.py). Bundles of BentoML 0.13 hold what ``export`` itself
    wrote, which is read too.
    """

    pip_packages: ClassVar[tuple[str, ...]] = ("fastai", "fastcore", "torch", "cloudpickle")

    def check(self, model: Any) -> Any:
        learner = library("fastai.learner", self.owner).Learner
        if not isinstance(model, learner):
            raise UsageError(
                f"{self.owner} takes a fastai Learner, not a {type(model).__name__}: pass the learner, or the model in "
                "it to a PytorchModelArtifact"
            )
        return model

    def save_model(self, folder: Path) -> None:
        learner = self.get()
        with _without_data(learner):
            device = next(learner.model.parameters()).device
            learner.model.cpu()
            try:
                dump_pickle(learner, self._file(folder), self.owner)
            finally:
                learner.model.to(device)

    def load_model(self, folder: Path) -> Any:
        learner_class = library("fastai.learner", self.owner).Learner
        path = self._file(folder)
        load = load_torch_pickle if path.is_file() and zipfile.is_zipfile(path) else load_pickle
        learner = load(path, self.owner)
        if not isinstance(learner, learner_class):
            raise BundleError(f"{self.owner}: {path} holds a {type(learner).__name__}, which is no fastai Learner")
        self.loaded_on = torch_device(library("torch", self.owner), self.owner)
        learner.model.to(self.loaded_on)
        learner.dls.to(self.loaded_on)
        learner.model.eval()
        return learner

    def _file(self, folder: Path) -> Path:
        return folder / f"{self.name}.pkl"


@contextmanager
def _without_data(learner: Any) -> Iterator[None]:
    """Inside, the learner has its transforms and no data, and no optimizer."""
    data, optimizer = learner.dls, learner.opt
    learner._end_cleanup()
    learner.dls, learner.opt = data.new_empty(), None
    try:
        yield
    finally:
        learner.dls, learner.opt = data, optimizer
