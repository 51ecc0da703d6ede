"""This module gives a bundle's code its own view of the libraries that import by name: importlib, pkgutil, pickle…

``importlib.import_module("helper")`` runs with importlib's globals, where a bundle's own ``__import__`` cannot be
seen. So the bundle's code gets a module that is like importlib, but whose functions know the bundle's own names first.
It is a view and no patch: the rest of the process has the libraries as they were.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import io
import pkgutil
import sys
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, Protocol

from bentobatch.frameworks.pickle_names import open_stream

_RESOURCE_FUNCTIONS = (
    "files", "contents", "is_resource", "open_binary", "open_text", "path", "read_binary", "read_text",
)  # fmt: skip


class OwnNames(Protocol):
    """What the views ask of a bundle's code (imports.BundleCode)."""

    def private(self, name: str) -> str | None: ...

    def module_of(self, private: str) -> ModuleType: ...

    def import_(self, name: str) -> ModuleType: ...

    def resolve(self, module: str, name: str) -> Any: ...


class ModuleView(ModuleType):
    """A module as one bundle sees it: some functions replaced, everything else the module's own."""

    def __init__(self, real: ModuleType, views: Views, replaced: Mapping[str, Any]) -> None:
        super().__init__(real.__name__, real.__doc__)
        vars(self).update(replaced)
        vars(self).update(
            __spec__=real.__spec__, __package__=real.__package__, __loader__=real.__loader__, _real=real, _views=views
        )

    def __getattr__(self, name: str) -> Any:
        value = getattr(vars(self)["_real"], name)
        return vars(self)["_views"].of(value) if isinstance(value, ModuleType) else value

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(vars(self)["_real"], name, value)

    def __dir__(self) -> list[str]:
        return dir(vars(self)["_real"])


class Views:
    """The views that the code of one bundle gets, each made when it is first imported."""

    def __init__(self, code: OwnNames) -> None:
        self._code = code
        self._made: dict[str, ModuleView] = {}
        self._makers: dict[str, Callable[[ModuleType], dict[str, Any]]] = {
            "importlib": self._importlib,
            "importlib.util": self._importlib_util,
            "importlib.resources": self._importlib_resources,
            "pkgutil": self._pkgutil,
            "pickle": self._unpickling,
            "cloudpickle": self._unpickling,
            "dill": self._unpickling,
            "joblib": self._joblib,
        }

    def of(self, module: ModuleType) -> ModuleType:
        """The bundle's view of ``module``: the module itself, unless it imports by name."""
        name = getattr(module, "__name__", None)
        maker = self._makers.get(name) if isinstance(name, str) else None
        if maker is None or name is None or isinstance(module, ModuleView) or sys.modules.get(name) is not module:
            return module
        if name not in self._made:
            self._made[name] = ModuleView(module, self, maker(module))
        return self._made[name]

    def _known(self, name: Any, package: str | None = None) -> Any:
        """The private name for a plain own name (relative ones resolved), so that the library finds the own module."""
        if not isinstance(name, str):
            return name
        absolute = importlib.util.resolve_name(name, package) if name.startswith(".") else name
        private = self._code.private(absolute)
        return absolute if private is None else private

    def _importlib(self, _real: ModuleType) -> dict[str, Any]:
        code = self._code

        @functools.wraps(importlib.import_module)
        def import_module(name: str, package: str | None = None) -> ModuleType:
            absolute = importlib.util.resolve_name(name, package) if name.startswith(".") else name
            private = code.private(absolute)
            return self.of(importlib.import_module(absolute)) if private is None else code.module_of(private)

        return {"import_module": import_module, "__import__": code.import_}

    def _importlib_util(self, _real: ModuleType) -> dict[str, Any]:
        @functools.wraps(importlib.util.find_spec)
        def find_spec(name: str, package: str | None = None) -> Any:
            known = self._known(name, package)
            try:
                return importlib.util.find_spec(known)
            except ModuleNotFoundError:
                if known == self._code.private(known):  # the own finder raises where others return None
                    return None
                raise

        return {"find_spec": find_spec}

    def _importlib_resources(self, real: ModuleType) -> dict[str, Any]:
        return {name: self._anchored(getattr(real, name)) for name in _RESOURCE_FUNCTIONS if hasattr(real, name)}

    def _anchored(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def with_own_anchor(*args: Any, **options: Any) -> Any:
            for name in ("package", "anchor"):
                if name in options:
                    options[name] = self._known(options[name])
            if not args and not options:  # files() means the caller's own package, since Python 3.12
                args = (sys._getframe(1).f_globals["__name__"],)
            return function(
                *(self._known(value) if place == 0 else value for place, value in enumerate(args)), **options
            )

        return with_own_anchor

    def _pkgutil(self, _real: ModuleType) -> dict[str, Any]:
        @functools.wraps(pkgutil.get_data)
        def get_data(package: str, resource: str) -> bytes | None:
            return pkgutil.get_data(self._known(package), resource)

        @functools.wraps(pkgutil.resolve_name)
        def resolve_name(name: str) -> Any:
            module, colon, rest = name.partition(":")
            return pkgutil.resolve_name(self._known(module) + colon + rest)

        return {"get_data": get_data, "resolve_name": resolve_name}

    def _unpickling(self, real: ModuleType) -> dict[str, Any]:
        """The library's own loading, for pickles that the bundle's code reads itself; only names are looked up anew."""
        find = self._find
        base: Any = getattr(real, "Unpickler", None) or importlib.import_module("pickle").Unpickler

        class Unpickler(base):  # type: ignore[misc]
            def find_class(self, module: str, name: str) -> Any:
                return find(module, name, super().find_class)

        def load(file: Any, **options: Any) -> Any:
            return Unpickler(file, **options).load()

        def loads(data: Any, **options: Any) -> Any:
            return Unpickler(io.BytesIO(data), **options).load()

        return {"Unpickler": Unpickler, "load": load, "loads": loads}

    def _joblib(self, real: ModuleType) -> dict[str, Any]:
        @functools.wraps(real.load)
        def load(filename: Any, mmap_mode: str | None = None, **options: Any) -> Any:
            if mmap_mode is not None or options:  # a file of nothing but arrays, as a rule
                return real.load(filename, mmap_mode=mmap_mode, **options)
            from bentobatch.frameworks import joblib_stream  # imports joblib, which is here by now

            if hasattr(filename, "read"):
                reader = io.BufferedReader(filename)
                try:
                    return joblib_stream.load(open_stream(reader), self._find)
                finally:
                    reader.detach()  # the file is its owner's to close
            with open(filename, "rb") as file:
                return joblib_stream.load(open_stream(file), self._find)

        return {"load": load}

    def _find(self, module: str, name: str, look_up: Callable[[str, str], Any]) -> Any:
        found = self._code.resolve(module, name)
        return look_up(module, name) if found is NotImplemented else found
