"""This module keeps PaddlePaddle models in the form of its inference library, which runs them on the CPU."""

from __future__ import annotations

import shutil
import tempfile
import threading
import weakref
from pathlib import Path
from typing import Any, ClassVar

from bentobatch.errors import BentobatchError, BundleError, UsageError
from bentobatch.frameworks.base import BentoServiceArtifact
from bentobatch.frameworks.libraries import library

_PROGRAMS = (".json", ".pdmodel")
"""The program's file: that of PaddlePaddle 3, and that of before."""
_WEIGHTS = ".pdiparams"


class PaddlePaddleModelArtifact(BentoServiceArtifact):
    """A ``paddle.nn.Layer`` that ``paddle.jit.to_static`` converted with an ``input_spec``, or the path without suffix of
    what ``paddle.jit.save`` wrote: the program in ``<name>.json`` (``.pdmodel``), the weights in ``<name>.pdiparams``.

    A service gets a ``paddle.inference`` predictor, as in BentoML 0.13, with one for each thread behind it.
    """

    pip_packages: ClassVar[tuple[str, ...]] = ("paddlepaddle",)
    uses_pickle: ClassVar[bool] = False

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._source: Path | None = None

    def check(self, model: Any) -> Any:
        """The predictor, from files of this process's own, which go with it."""
        paddle = library("paddle", self.owner)
        folder = Path(tempfile.mkdtemp(prefix="bentobatch-"))
        try:
            self._write(paddle, model, folder / self.name)
            loaded = self._predictor(folder / self.name, UsageError)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        weakref.finalize(loaded, shutil.rmtree, folder, True)
        self._source = folder / self.name
        return loaded

    def _write(self, paddle: Any, model: Any, made: Path) -> None:
        if isinstance(model, (str, Path)):
            if _program(Path(model)) is None:
                raise UsageError(
                    f"{self.owner}: {str(model)!r} is no model of paddle.jit.save: give its path without a suffix"
                )
            _copy(Path(model), made)
            return
        try:
            paddle.jit.save(model, str(made))
        except (TypeError, ValueError, RuntimeError, OSError) as error:
            raise UsageError(
                f"{self.owner} takes a layer of paddle.jit.to_static(layer, input_spec=[…], full_graph=True); it saves no "
                f"such {type(model).__name__} ({_line(error)})"
            ) from error

    def save_model(self, folder: Path) -> None:
        self.get()
        assert self._source is not None
        _copy(self._source, folder / self.name)

    def load_model(self, folder: Path) -> Any:
        library("paddle", self.owner)
        self._source = folder / self.name
        return self._predictor(self._source, BundleError)

    def _predictor(self, path: Path, kind: type[BentobatchError]) -> Any:
        program, weights = _program(path), Path(f"{path}{_WEIGHTS}")
        if program is None or not weights.is_file():
            missing = weights if program is not None else f"{path}{_PROGRAMS[0]}"
            raise kind(f"{self.owner}: the file {missing} is missing; save the bundle again, or fetch it again")
        inference = library("paddle.inference", self.owner)
        config = inference.Config(str(program), str(weights))
        config.disable_glog_info()
        config.set_cpu_math_library_num_threads(1)
        try:
            return PredictorOfEachThread(inference.create_predictor(config))
        except Exception as error:  # PaddlePaddle has no error of its own for a damaged file
            raise kind(
                f"{self.owner}: PaddlePaddle cannot load {program} ({_line(error)}): it is damaged, or was made by another "
                "version; install that of the bundle's requirements.txt, or save the model again"
            ) from error


class PredictorOfEachThread:
    """A predictor to each thread that uses it: between setting the inputs and fetching the outputs it has a state."""

    def __init__(self, predictor: Any) -> None:
        self._first = predictor
        self._cloning = threading.Lock()
        self._own = threading.local()

    def __getattr__(self, name: str) -> Any:
        own = getattr(self._own, "predictor", None)
        if own is None:
            with self._cloning:
                own = self._own.predictor = self._first.clone()
        return getattr(own, name)


def _program(path: Path) -> Path | None:
    return next((file for suffix in _PROGRAMS if (file := Path(f"{path}{suffix}")).is_file()), None)


def _copy(source: Path, target: Path) -> None:
    program = _program(source)
    assert program is not None
    for file in (program, Path(f"{source}{_WEIGHTS}")):
        if file.is_file():
            shutil.copyfile(file, f"{target}{file.suffix}")


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[-300:]
