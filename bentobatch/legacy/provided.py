"""This module gives one bundle its ``bentoml``: modules whose names are looked up in the table when they are asked for.

The modules stand below the bundle's own private package, so that the rest of the process neither sees them nor is
hindered by a real bentoml; that one, where it is installed, stays out of the bundle's sight.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from types import ModuleType
from typing import Any, Protocol

from bentobatch.legacy.names import NAMES
from bentobatch.legacy.pickles import OldCloudpickle

TOP = "bentoml"
_CLOUDPICKLE = "bentoml.utils.cloudpickle"
_PICKLERS = ("cloudpickle", "cloudpickle.cloudpickle", "cloudpickle.cloudpickle_fast")


class _Code(Protocol):
    """What is asked of the bundle's code."""

    digest: str
    builtins: dict[str, Any]

    def module(self, name: str) -> ModuleType: ...


class ProvidedModules:
    """The names of BentoML for one bundle. ``written_by`` is the version of BentoML that it says it is,
    ``python_version`` that of the Python which wrote its pickles."""

    top = TOP

    def __init__(self, written_by: str, python_version: str) -> None:
        self.written_by = written_by
        self.python_version = python_version

    def modules(self) -> list[str]:
        """The full names of all modules; each of them may hold others."""
        return list(NAMES)

    def declared(self) -> dict[str, str]:
        """What a manifest says, so that a bundle of ours is given the same names."""
        return {TOP: self.written_by, "python_version": self.python_version}

    def fill(self, module: ModuleType, name: str, code: _Code) -> None:
        """Make ``module``, which is empty, the one of the plain ``name``."""
        table = NAMES[name]
        special = self._cloudpickle(code).names() if name == _CLOUDPICKLE else {}
        if special:
            special["_make_skeleton_class"] = functools.partial(_tracked, "_make_skeleton_class", code)
            special["_make_skeleton_enum"] = functools.partial(_tracked, "_make_skeleton_enum", code)

        def look_up(attribute: str) -> Any:
            if attribute in table:
                value = self._made(table[attribute])
            elif attribute in special:
                value = special[attribute]
            elif f"{name}.{attribute}" in NAMES:
                value = code.module(f"{name}.{attribute}")
            elif name == _CLOUDPICKLE and not attribute.startswith("__"):
                value = _of_cloudpickle(attribute, code)
            else:
                raise AttributeError(
                    f"bentobatch provides no {attribute!r} of BentoML's module {name}", name=attribute, obj=module
                )
            vars(module)[attribute] = value
            return value

        vars(module).update(
            __getattr__=look_up, __all__=[key for key in table if not key.startswith("__")], __doc__=_DOC
        )

    def resolve(self, module: str, name: str, code: _Code) -> Any:
        """What a pickle means by a name that its library has moved or given up since; else NotImplemented."""
        if module.startswith("numpy.core."):
            return _of_numpy(module.removeprefix("numpy.core."), name)
        cloudpickle = self._cloudpickle(code)
        if module in _PICKLERS and name == "_builtin_type" and cloudpickle.is_foreign:
            return cloudpickle.builtin_type
        if module in _PICKLERS and name in ("_fill_function", "_make_skel_func", "_rehydrate_skeleton_class"):
            return cloudpickle.names()[name]  # cloudpickle 3 has forgotten them
        return NotImplemented

    def _cloudpickle(self, code: _Code) -> OldCloudpickle:
        return OldCloudpickle(self.python_version, code.builtins["__import__"])

    def _made(self, target: str) -> Any:
        home, _, attribute = target.partition(":")
        if home == "bundle":
            return self.written_by if attribute == "version" else self._api()
        if home in ("adapter", "artifact"):
            maker: Callable[[str], Any] = getattr(importlib.import_module(f"bentobatch.legacy.{home}s"), home)
            return maker(attribute)
        return getattr(importlib.import_module(home), attribute)

    def _api(self) -> Any:
        from bentobatch.legacy import service  # imports the whole house, which a manifest's reader does without

        return functools.partial(service.api, batch_by_default=self.written_by.startswith("0.8."))


_DOC = "Provided by bentobatch for a bundle that BentoML wrote."


def _tracked(function: str, code: _Code, *args: Any) -> Any:
    """cloudpickle's own rebuilding of a class, which it keeps by an id: one of this bundle's own here."""
    *head, tracker, extra = args
    return _of_cloudpickle(function, code)(*head, tracker and f"{tracker}-{code.digest}", extra)


def _of_numpy(module: str, name: str) -> Any:
    """A name of ``numpy.core``, which numpy 2 calls ``numpy._core`` and warns of."""
    try:
        return getattr(importlib.import_module(f"numpy._core.{module}"), name)
    except (ModuleNotFoundError, AttributeError):
        return NotImplemented  # numpy 1; or the old name says better what is missing


def _of_cloudpickle(name: str, code: _Code) -> Any:
    package = code.builtins["__import__"]("cloudpickle", {}, {}, ["__name__"], 0)
    if hasattr(package, name):
        return getattr(package, name)
    return getattr(package.cloudpickle, name)
