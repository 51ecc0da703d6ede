"""This module keeps MLflow models, whatever library they are of: the folder that MLflow wrote, as it is."""

from __future__ import annotations

import os
import re
import shutil
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from bentobatch.errors import BundleError, MissingDependencyError, UsageError
from bentobatch.frameworks import onnx_tables
from bentobatch.frameworks.base import BentoServiceArtifact
from bentobatch.frameworks.libraries import library
from bentobatch.frameworks.mlflow_description import MODEL_FILE, described, signature_types, stores_no_pickle
from bentobatch.frameworks.unpickle import pickles_refused, refuse_if_pickles_are_refused

if TYPE_CHECKING:
    import pandas as pd

_REQUIREMENT = re.compile(
    r"[A-Za-z0-9][A-Za-z0-9._-]*(\[[A-Za-z0-9._,-]+\])?( ?(==|>=|<=|~=|!=|<|>)[A-Za-z0-9.,*+!<>=~ -]+)?"
)


class MLflowModelArtifact(BentoServiceArtifact):
    """An MLflow model's folder (the one with the file MLmodel), in ``<name>_mlflow/``.

    What is packed is its path; what a service gets is what ``mlflow.pyfunc.load_model`` makes of it, at the first
    ``get``. Loading runs the code that the model brings, and unpickles what its library stores as a pickle: --no-pickle
    takes only models whose library is known to store none (ONNX, XGBoost, LightGBM's boosters, CatBoost).
    """

    pip_packages: ClassVar[tuple[str, ...]] = ("mlflow",)

    def check(self, model: Any) -> Any:
        if not isinstance(model, (str, Path)) or not (Path(model) / MODEL_FILE).is_file():
            raise UsageError(
                f"{self.owner} takes the path of an MLflow model, a folder with the file {MODEL_FILE}, not {model!r}; of one "
                "in a registry: mlflow artifacts download --artifact-uri models:/NAME/VERSION --dst-path FOLDER"
            )
        self._source = Path(model).resolve()
        self.description = described(self._source, self.owner, UsageError)
        return None

    def get(self) -> Any:
        if self._model is None:
            self._model = self._loaded(self._source)
        return self._model

    def save_model(self, folder: Path) -> None:
        try:
            shutil.copytree(
                self._source, self._folder(folder), ignore=shutil.ignore_patterns("__pycache__"), symlinks=True
            )
        except (OSError, shutil.Error) as error:
            raise UsageError(f"{self.owner}: {self._source} cannot be copied ({error}); pack it anew") from error

    def load_model(self, folder: Path) -> Any:
        self._source = self._folder(folder)
        self.description = described(self._source, self.owner, BundleError)
        return self._loaded(self._source)

    def refuse_pickle(self, folder: Path) -> None:
        if pickles_refused.get():
            self._refuse_pickle(self._folder(folder))

    def set_dependencies(self, env: Any) -> None:
        """Add what the model's own requirements.txt lists: plain requirements, no options or places."""
        source = getattr(self, "_source", None)
        if source is not None and (source / "requirements.txt").is_file():
            lines = (source / "requirements.txt").read_text(encoding="utf-8", errors="replace").splitlines()
            env.add_pip_packages([line.strip() for line in lines if _REQUIREMENT.fullmatch(line.strip())])

    def feature_names(self) -> list[str] | None:
        return list(signature_types(self.description)) or None

    def feature_count(self) -> int | None:
        return len(signature_types(self.description)) or None

    def _loaded(self, source: Path) -> Any:
        if pickles_refused.get():
            self._refuse_pickle(source)
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # MLflow 3 reports its use, unless told not to
        with warnings.catch_warnings():  # MLflow warns of its own type hints
            warnings.simplefilter("ignore")
            pyfunc = library("mlflow.pyfunc", self.owner)
        try:
            return pyfunc.load_model(str(source), suppress_warnings=True)
        except ModuleNotFoundError as error:
            raise MissingDependencyError(
                f"{self.owner}: the model in {source} needs the module {error.name}, which is not installed: "
                f"pip install -r {source / 'requirements.txt'}"
            ) from error
        except Exception as error:  # whatever the model's own code and library raise
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            raise BundleError(
                f"{self.owner}: MLflow cannot load {source} ({reason}): the model is damaged, or needs the versions in its "
                "requirements.txt"
            ) from error

    def _refuse_pickle(self, source: Path) -> None:
        if not stores_no_pickle(described(source, self.owner, BundleError)):
            refuse_if_pickles_are_refused(source, self.owner)

    def _folder(self, folder: Path) -> Path:
        return folder / f"{self.name}_mlflow"


def predict_table(model: Any, table: pd.DataFrame) -> Any:
    """What a loaded pyfunc says of each row. A dict of arrays becomes a DataFrame, and one column (N, 1) a plain one.

    An ONNX model's session is asked by onnx_tables, since MLflow flattens outputs of several values for each row.
    """
    import numpy as np
    import pandas as pd

    if model.metadata.flavors["python_function"]["loader_module"] == "mlflow.onnx":
        return onnx_tables.predict_table(model.get_raw_model(), table)
    result = model.predict(table)
    if isinstance(result, dict):
        return pd.DataFrame({name: list(np.asarray(values)) for name, values in result.items()})
    if isinstance(result, np.ndarray) and result.ndim == 2 and result.shape[1] == 1:
        return result[:, 0]
    return result
