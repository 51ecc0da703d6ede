"""This module keeps H2O models in H2O's binary files."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from bentobatch.errors import BundleError, UsageError
from bentobatch.frameworks.base import BentoServiceArtifact
from bentobatch.frameworks.libraries import library

if TYPE_CHECKING:
    import pandas as pd

_watchers: list[subprocess.Popen[bytes]] = []


class H2oModelArtifact(BentoServiceArtifact):
    """A trained H2O estimator in ``<name>.h2o``, which only the same version of H2O reads (H2O no longer writes MOJOs
    without a licence). BentoML 0.13 has such a file as ``<name>``, which is read too.

    A model is run by a server of H2O's (Java). Loading takes the one that this process is connected to, else starts one of
    its own on the loopback, which ends with the process.
    """

    pip_packages: ClassVar[tuple[str, ...]] = ("h2o",)
    uses_pickle: ClassVar[bool] = False

    def check(self, model: Any) -> Any:
        base = library("h2o.model.model_base", self.owner).ModelBase
        if not isinstance(model, base):
            raise UsageError(f"{self.owner} takes a trained H2O estimator, not a {type(model).__name__}")
        if model.model_id is None or not getattr(model, "_model_json", None):
            raise UsageError(f"{self.owner}: the {type(model).__name__} is not trained yet: call train before pack")
        return model

    def save_model(self, folder: Path) -> None:
        h2o = library("h2o", self.owner)
        with tempfile.TemporaryDirectory(dir=folder) as place:  # H2O calls files by the model's id
            shutil.move(h2o.download_model(self.get(), path=place), self._file(folder))

    def load_model(self, folder: Path) -> Any:
        h2o = library("h2o", self.owner)
        path = self._file(folder)
        if not path.is_file() and (folder / self.name).is_file():
            path = folder / self.name
        if not path.is_file():
            raise BundleError(f"{self.owner}: the file {path} is missing; save the bundle again, or fetch it again")
        connect(self.owner)
        try:
            with _quiet(h2o):
                return h2o.upload_model(str(path))
        except (h2o.exceptions.H2OResponseError, h2o.exceptions.H2OServerError, OSError) as error:
            reason = " ".join(str(error).split())[:300]
            raise BundleError(
                f"{self.owner}: H2O {h2o.__version__} cannot read {path} ({reason}); it needs the very version of H2O "
                "that wrote it: install that of the bundle's requirements.txt, or save the model again"
            ) from error

    def set_dependencies(self, env: Any) -> None:
        env.add_conda_dependencies(["openjdk"])

    def feature_names(self) -> list[str] | None:
        response = self.get().actual_params.get("response_column")
        response = response["column_name"] if isinstance(response, dict) else response
        names = self.get()._model_json["output"]["names"] or ()
        return [str(name) for name in names if name != response] or None

    def feature_count(self) -> int | None:
        names = self.feature_names()
        return None if names is None else len(names)

    def classes(self) -> list[Any] | None:
        domains = self.get()._model_json["output"].get("domains")
        return [str(label) for label in domains[-1]] if domains and domains[-1] else None

    def _file(self, folder: Path) -> Path:
        return folder / f"{self.name}.h2o"


def predict_table(model: Any, table: pd.DataFrame) -> pd.DataFrame:
    """What an H2O model says of each row: ``predict``, and for classifiers a probability for each class."""
    h2o = library("h2o", "an H2O model")
    with _quiet(h2o):
        frame = h2o.H2OFrame(table)
        try:
            result: pd.DataFrame = model.predict(frame).as_data_frame()
        finally:
            h2o.remove(frame)
    return result


def connect(owner: str) -> None:
    """Have a connection to H2O: the one of this process, else one to a server of its own.

    Raises:
        BundleError: H2O cannot be started.
    """
    h2o = library("h2o", owner)
    if h2o.connection() is not None and h2o.connection().connected:
        return
    try:
        with _quiet(h2o):
            server = h2o.backend.H2OLocalServer.start(port="54321+", bind_to_localhost=True, verbose=False)
            _end_with_this_process(server._process.pid)
            h2o.connect(server=server, verbose=False)
    except (h2o.exceptions.H2OStartupError, h2o.exceptions.H2OConnectionError, OSError) as error:
        reason = " ".join(str(error).split())[:300]
        raise BundleError(
            f"{owner}: H2O cannot be started ({reason}); it needs a Java of 8 or later on the PATH"
        ) from error


def _end_with_this_process(pid: int) -> None:
    """Let a small process end that one when this one is gone, also where it was killed: H2O sees only to orderly ends."""
    watch = "import os, signal, sys; sys.stdin.buffer.read(); os.kill(int(sys.argv[1]), signal.SIGTERM)"
    _watchers.append(
        subprocess.Popen(
            [sys.executable, "-I", "-c", watch, str(pid)],
            stdin=subprocess.PIPE,  # its other end closes with this process
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    )


@contextlib.contextmanager
def _quiet(h2o: Any) -> Iterator[None]:
    """Without H2O's progress bars and advice; what it prints all the same goes to stderr."""
    h2o.no_progress()  # for good, since other threads may be at it
    with warnings.catch_warnings(), contextlib.redirect_stdout(sys.stderr):
        warnings.simplefilter("ignore", h2o.exceptions.H2ODependencyWarning)
        yield
