"""This module is the one place of bentobatch that unpickles: the models of a bundle that somebody asked to load.

What a pickle names is looked up through three context variables, which the bundle loader sets around a load, so that
nothing global (sys.modules, sys.path) has to change for it.
"""

from __future__ import annotations

import functools
import io
import pickle
import types
from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from bentobatch.errors import BentobatchError, BundleError, StorageError, UsageError
from bentobatch.frameworks.libraries import EXTRAS, install_command, library, missing_library
from bentobatch.frameworks.pickle_names import open_stream, references_in

class_resolver: ContextVar[Callable[[str, str], Any] | None] = ContextVar("class_resolver", default=None)
"""Asked first for each (module, qualified name) that a pickle names: the object, or NotImplemented."""

pickles_refused: ContextVar[bool] = ContextVar("pickles_refused", default=False)
"""--no-pickle: every load raises BundleError, whatever the file holds."""

function_builtins: ContextVar[dict[str, Any] | None] = ContextVar("function_builtins", default=None)
"""The ``__builtins__`` of functions, classes and modules that cloudpickle stored by value: with an ``__import__`` of
the bundle's own in it, an ``import helper`` inside such a function finds the bundle's helper, then or later."""


def load_pickle(path: Path, owner: str = "pickle") -> Any:
    """The object in a plain pickle (pickle or cloudpickle). ``owner`` names the artifact in messages.

    Raises:
        BundleError: pickles are refused, or this one cannot be loaded; says what is missing and what to install.
        MissingDependencyError: a library of one of bentobatch's extras is missing.
    """
    refuse_if_pickles_are_refused(path, owner)
    with _opened(path, owner) as file:
        return _load(_Unpickler(file).load, path, owner)


def load_joblib(path: Path, owner: str = "joblib file") -> Any:
    """The object in a file of joblib.dump, compressed or not. ``owner`` names the artifact in messages.

    Raises: as ``load_pickle``.
    """
    refuse_if_pickles_are_refused(path, owner)
    library("joblib", owner)
    from bentobatch.frameworks import joblib_stream  # imports joblib, which may be missing

    with _opened(path, owner) as file:
        return _load(lambda: joblib_stream.load(open_stream(file), _find), path, owner)


def load_torch_pickle(path: Path, owner: str = "torch file") -> Any:
    """The object in a file of torch.save, whose tensors come onto the CPU. ``owner`` names the artifact in messages.

    Raises: as ``load_pickle``.
    """
    refuse_if_pickles_are_refused(path, owner)
    torch = library("torch", owner)
    # torch takes the unpickler out of a module, and derives its own from it
    pickler = types.SimpleNamespace(Unpickler=_Unpickler, __name__="pickle")
    with _opened(path, owner) as file:
        return _load(
            lambda: torch.load(file, map_location="cpu", pickle_module=pickler, weights_only=False), path, owner
        )


def dump_pickle(model: Any, path: Path, owner: str = "pickle", *, pickle_module: str = "cloudpickle") -> None:
    """Write ``model`` with cloudpickle (by value what lives in __main__ or in a function) or with pickle.

    Raises:
        UsageError: something in the model cannot be pickled, or could not be found again from another process.
    """
    pickler: Any = library(pickle_module, owner)
    with open(path, "wb") as file:
        _dump(lambda: pickler.dump(model, file), owner)
    _refuse_main(path, owner)


def dump_joblib(model: Any, path: Path, owner: str = "joblib file") -> None:
    """Write ``model`` with joblib, uncompressed, which loads fastest.

    Raises: as ``dump_pickle``.
    """
    joblib = library("joblib", owner)
    with open(path, "wb") as file:
        _dump(lambda: joblib.dump(model, file), owner)
    _refuse_main(path, owner)


def modules_named_by(path: Path) -> set[str]:
    """The top-level names of the modules that a pickle or joblib file refers to; nothing of it is executed or imported.

    Those that functions stored by value import inside their bodies are among them.

    Raises:
        BundleError: the file is no pickle.
    """
    with _opened(path, "pickle") as file:
        return {module.partition(".")[0] for module, _ in references_in(file, str(path))}


def refuse_if_pickles_are_refused(path: Path, owner: str) -> None:
    """Raise BundleError where --no-pickle was given."""
    if pickles_refused.get():
        raise BundleError(
            f"{owner} is stored as a pickle ({path}), and pickles are refused here: "
            "load it without --no-pickle if you trust the bundle, or save the model in a format that is not a pickle"
        )


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        return _find(module, name, super().find_class)


def _find(module: str, name: str, look_up: Callable[[str, str], Any]) -> Any:
    """What a pickle means by ``module`` and ``name``: the bundle's own, or what ``look_up`` finds."""
    resolver = class_resolver.get()
    if resolver is not None:
        found = resolver(module, name)
        if found is not NotImplemented:
            return found
    found = look_up(module, name)
    builtins = function_builtins.get()
    if builtins is not None and module.endswith(("cloudpickle.cloudpickle", "cloudpickle.cloudpickle_fast")):
        rebuild = _REBUILDERS.get(name)
        if rebuild is not None:
            return functools.partial(rebuild, found, builtins)
    return found


def _function(_original: Any, builtins: dict[str, Any], code: Any, names: dict[str, Any], *rest: Any) -> Any:
    names["__builtins__"] = builtins
    return types.FunctionType(code, names, *rest)


def _function_state(original: Any, builtins: dict[str, Any], function: Any, state: Any) -> Any:
    done = original(function, state)
    function.__globals__["__builtins__"] = builtins  # cloudpickle has just put its own there
    return done


def _imported(_original: Any, builtins: dict[str, Any], name: str) -> Any:
    # a name in fromlist makes __import__ give the submodule itself; this one exists and so imports nothing more
    return builtins["__import__"](name, {"__name__": "__main__", "__builtins__": builtins}, {}, ["__name__"], 0)


def _module(original: Any, builtins: dict[str, Any], name: str, attributes: Any) -> Any:
    module = original(name, attributes)
    module.__dict__["__builtins__"] = builtins
    return module


def _class(original: Any, builtins: dict[str, Any], *args: Any) -> Any:
    # cloudpickle keeps one class for each tracker id in the process: two bundles would share it, and its methods would
    # import from the bundle that came last. The id is the last argument but one in all its versions.
    *head, tracker, extra = args
    return original(*head, tracker and f"{tracker}-{id(builtins)}", extra)


_REBUILDERS: dict[str, Callable[..., Any]] = {
    "_make_function": _function,
    "_function_setstate": _function_state,
    "subimport": _imported,
    "dynamic_subimport": _module,
    "_make_skeleton_class": _class,
    "_make_skeleton_enum": _class,
}


def _opened(path: Path, owner: str) -> io.BufferedReader:
    try:
        return open(path, "rb")
    except FileNotFoundError as error:
        raise BundleError(f"{owner}: the file {path} is missing; save the bundle again, or fetch it again") from error
    except OSError as error:
        raise StorageError(f"{owner}: cannot read {path}: {error.strerror}; check the file and its rights") from error


def _load(load: Callable[[], Any], path: Path, owner: str) -> Any:
    try:
        return load()
    except (MemoryError, BentobatchError):
        raise
    except ModuleNotFoundError as error:
        name = error.name or str(error)
        if name in EXTRAS:  # where a part of it is missing (sklearn.svm._classes), another version is installed
            raise missing_library(name, f"{owner} ({path})") from error
        raise BundleError(
            f"{owner}: {path} needs the module {name}, which is not here: {install_command(name)} "
            "(in the version of the bundle's requirements.txt), or save the bundle again together with that module"
        ) from error
    except AttributeError as error:
        raise BundleError(
            f"{owner}: {path} names something that its module does not have ({error}): install the versions in the "
            "bundle's requirements.txt, or pack the model again with the ones that are here"
        ) from error
    except Exception as error:  # whatever a pickled class raises while it is rebuilt
        raise BundleError(
            f"{owner}: {path} cannot be loaded ({type(error).__name__}: {error}): the file is damaged, or was made by "
            "other versions than those installed; compare with the bundle's requirements.txt"
        ) from error


def _dump(dump: Callable[[], Any], owner: str) -> None:
    try:
        dump()
    except (pickle.PicklingError, TypeError, AttributeError, RecursionError) as error:  # "cannot pickle 'X' object"
        raise UsageError(
            f"{owner}: the model cannot be pickled ({error}): define its functions and classes at the top of a module, "
            "and keep open files, locks and connections out of it"
        ) from error


def _refuse_main(path: Path, owner: str) -> None:
    with _opened(path, owner) as file:
        named = sorted({name for module, name in references_in(file, str(path)) if module == "__main__"})
    if named:
        raise UsageError(
            f"{owner}: the model refers to {', '.join(named)}, defined in __main__, which nobody else can import: "
            "move the definition into a module of its own, or use PickleArtifact, which stores the code as well"
        )
