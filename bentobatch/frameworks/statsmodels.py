"""This module keeps the results of statsmodels, which have no form of their own but a pickle."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, ClassVar

from bentobatch.errors import UsageError
from bentobatch.frameworks.base import BentoServiceArtifact
from bentobatch.frameworks.libraries import library
from bentobatch.frameworks.unpickle import dump_pickle, load_pickle

_WORD_OR_QUOTED = re.compile(r"""'([^']*)'|"([^"]*)"|([^\W\d]\w*)""")


class StatsmodelsModelArtifact(BentoServiceArtifact):
    """The fitted results of a statsmodels model (what ``fit()`` returns), in ``<name>.pkl``.

    The data that the model was fitted on is in it too; ``results.remove_data()`` before packing leaves it out, where
    the results can predict without. A formula with functions of the caller's own cannot be loaded elsewhere.
    """

    pip_packages: ClassVar[tuple[str, ...]] = ("statsmodels",)

    def check(self, model: Any) -> Any:
        wrapper = library("statsmodels.base.wrapper", self.owner).ResultsWrapper
        results = library("statsmodels.base.model", self.owner).Results
        if not isinstance(model, (wrapper, results)):
            fitted = " itself: pack what its fit() returns" if hasattr(model, "fit") else ": pass what fit() returned"
            raise UsageError(f"{self.owner} takes the results of statsmodels, not a {type(model).__name__}{fitted}")
        return model

    def save_model(self, folder: Path) -> None:
        dump_pickle(self.get(), self._file(folder), self.owner, pickle_module="pickle")

    def load_model(self, folder: Path) -> Any:
        library("statsmodels", self.owner)
        return load_pickle(self._file(folder), self.owner)

    def feature_names(self) -> list[str] | None:
        """The columns of the frame that it was fitted on, in its order: those that a formula names, else all but the
        constant, which ``add_constant`` adds inside the service as it did before the fit."""
        data = getattr(self.get().model, "data", None)
        formula = getattr(self.get().model, "formula", None)
        columns = getattr(getattr(data, "frame" if formula else "orig_exog", None), "columns", None)
        if columns is None or not all(isinstance(name, str) for name in columns):
            return None
        if formula:
            used = {next(filter(None, found), "") for found in _WORD_OR_QUOTED.findall(formula.partition("~")[2])}
            return [str(name) for name in columns if name in used] or None
        constant = getattr(data, "const_idx", None)
        return [str(name) for position, name in enumerate(columns) if position != constant] or None

    def feature_count(self) -> int | None:
        names = self.feature_names()
        if names is not None:
            return len(names)
        data = getattr(self.get().model, "data", None)
        shape: tuple[int, ...] = getattr(getattr(data, "orig_exog", None), "shape", ())
        # whether the rows that come will have the constant, only the service knows
        return int(shape[1]) if len(shape) == 2 and getattr(data, "const_idx", None) is None else None

    def _file(self, folder: Path) -> Path:
        return folder / f"{self.name}.pkl"
