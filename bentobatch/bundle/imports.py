"""This module imports a bundle's code under names of its own, so that bundles share neither modules nor a search path.

A bundle's modules stand in ``sys.modules`` only below a private package, ``_bentobatch_bundle_<digest>``. Inside them
the plain names work as they did where the bundle was saved, because the globals of each own module hold a
``__builtins__`` whose ``__import__`` looks into the bundle's own table first. That holds for every later import too:
a function looks its builtins up in the globals that it was made with.
"""

from __future__ import annotations

import builtins
import importlib
import importlib.abc
import importlib.machinery
import importlib.readers
import importlib.util
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, Protocol

from bentobatch.bundle.stdlib_views import Views

PREFIX = "_bentobatch_bundle_"
"""Every private package begins so; the first digits of the bundle's digest follow."""
_DIGITS = 12


@dataclass(frozen=True)
class OwnModule:
    """One module of a bundle. ``path`` is its file (a namespace's: a file in its folder that need not exist), ``data``
    the source that was verified; extension modules are loaded from their file."""

    kind: Literal["module", "package", "namespace", "extension", "provided"]
    path: Path
    data: bytes = b""


class Provided(Protocol):
    """Modules that the house gives to one bundle's code and pickles, in no file of the bundle (legacy.provided)."""

    top: str
    """The top name of all of them; the bundle's own files cannot have it."""

    def modules(self) -> list[str]: ...

    def declared(self) -> dict[str, str]: ...

    def fill(self, module: ModuleType, name: str, code: BundleCode) -> None: ...

    def resolve(self, module: str, name: str, code: BundleCode) -> Any: ...


class BundleCode:
    """The modules of one bundle in this process. Make one with ``install``, which registers it."""

    def __init__(
        self,
        digest: str,
        root: Path,
        files: Mapping[str, bytes | None],
        *,
        zipped: Mapping[str, Mapping[str, bytes | None]] | None = None,
        provided: Provided | None = None,
    ) -> None:
        """``files``: the relative paths below ``root`` that the manifest lists; for .py files their verified source.
        ``zipped``: the same for archives below ``root`` that are on the search path, by the archive's path."""
        self.digest = digest
        self.root = root
        self.package = PREFIX + digest[:_DIGITS]
        self.files = tuple(files)
        self.provided = provided
        self.modules = module_table(root, files)
        for archive, inside in (zipped or {}).items():
            self.modules |= {name: own for name, own in module_table(root / archive, inside).items() if name}
        if provided is not None:
            self.modules = {name: own for name, own in self.modules.items() if name.partition(".")[0] != provided.top}
            self.modules |= {name: OwnModule("provided", root / "__init__.py") for name in provided.modules()}
        self.names = frozenset(name for name in self.modules if name and "." not in name)
        self.views = Views(self)
        self.builtins = {**vars(builtins), "__import__": self.import_}

    def private(self, name: str) -> str | None:
        """The private full name for the plain or private dotted ``name`` of an own module's; None when not own.

        A private name of another bundle counts as the plain name below it: it stands in a pickle that was made by a
        service which had itself been loaded from a bundle, and whose code was saved along.
        """
        if name.startswith(PREFIX):
            name = name.partition(".")[2]
        return f"{self.package}.{name}" if name.partition(".")[0] in self.names else None

    def module_of(self, private: str) -> ModuleType:
        """The own module of a private name that ``private`` gave."""
        return self.module(private.partition(".")[2])

    def module(self, name: str) -> ModuleType:
        """The own module of the plain dotted ``name``, imported when it is not yet.

        Raises:
            ModuleNotFoundError: the bundle has no such module.
        """
        if name in self.modules:
            return importlib.import_module(f"{self.package}.{name}")
        parent = name.rpartition(".")[0]
        while parent and parent not in self.modules:
            parent = parent.rpartition(".")[0]
        if parent and self.modules[parent].kind == "namespace":
            return self._graft(name)
        if parent and self.modules[parent].kind == "provided":
            raise ModuleNotFoundError(f"bentobatch provides no module {name!r} of BentoML's", name=name)
        raise ModuleNotFoundError(f"No module named {name!r} in the bundle at {self.root}", name=name)

    def resolve(self, module: str, name: str) -> Any:
        """What a pickle means by ``name`` in ``module``, or NotImplemented when the module is not the bundle's own."""
        private = self.private(module)
        if private is None:
            return NotImplemented if self.provided is None else self.provided.resolve(module, name, self)
        found: Any = self.module_of(private)
        for part in name.split("."):
            found = getattr(found, part)
        return found

    def import_(
        self,
        name: str,
        globals: Mapping[str, Any] | None = None,
        locals: Mapping[str, Any] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        """``__import__`` for the bundle's code: own names first, then everything as usual."""
        if level > 0:
            package = (globals or {}).get("__package__") or ""
            if self.private(package) is None or package.startswith(PREFIX):
                return builtins.__import__(name, globals, locals, fromlist or (), level)
            # a function that was pickled by value: its globals still hold the plain name of its package
            name = importlib.util.resolve_name("." * level + name, package)
        if name.partition(".")[0] not in self.names:
            return self.views.of(builtins.__import__(name, globals, locals, fromlist or (), 0))
        leaf = self.module(name)
        if not fromlist:
            return sys.modules[f"{self.package}.{name.partition('.')[0]}"]
        if name in self.modules:
            if self.modules[name].kind == "namespace":
                self._graft_all(name, fromlist)
            # ruff would have import_module here, which knows no fromlist
            importlib.__import__(leaf.__name__, None, None, tuple(fromlist), 0)
        return leaf

    def _graft(self, name: str) -> ModuleType:
        """A module that others have in a namespace package which the bundle shares with them (``acme.installed``)."""
        found = importlib.import_module(name)
        parent, _, last = name.rpartition(".")
        while parent:
            if parent in self.modules:
                setattr(self.module(parent), last, sys.modules[f"{parent}.{last}"])
                break
            parent, _, last = parent.rpartition(".")
        return found

    def _graft_all(self, namespace: str, names: Sequence[str]) -> None:
        for name in names:
            full = f"{namespace}.{name}"
            if full not in self.modules and not hasattr(self.module(namespace), name):
                try:
                    self._graft(full)
                except ModuleNotFoundError as error:
                    if error.name is None or not full.startswith(error.name):
                        raise


class OwnLoader(importlib.abc.SourceLoader):
    """Loads one own module from the bytes that were verified; reads and writes no bytecode cache."""

    def __init__(self, code: BundleCode, own: OwnModule) -> None:
        self._code = code
        self._own = own
        self.path = str(own.path)

    def get_filename(self, fullname: str) -> str:  # noqa: ARG002 - importlib's interface, here and below
        return self.path

    def get_data(self, path: str | bytes) -> bytes:
        """The verified source for the module's own path; another path is a data file that the code asks for."""
        return self._own.data if str(path) == self.path else Path(str(path)).read_bytes()

    def get_code(self, fullname: str) -> Any:  # noqa: ARG002
        return self.source_to_code(self._own.data, self.path)

    def is_package(self, fullname: str) -> bool:  # noqa: ARG002
        return self._own.kind in ("package", "namespace", "provided")

    def get_resource_reader(self, fullname: str) -> importlib.readers.FileReader:  # noqa: ARG002
        # FileReader wants nothing but .path, whatever its annotation says
        return importlib.readers.FileReader(self)  # type: ignore[arg-type]

    def exec_module(self, module: ModuleType) -> None:
        vars(module)["__builtins__"] = self._code.builtins
        if self._own.kind == "provided":
            assert self._code.provided is not None
            self._code.provided.fill(module, plain_name(module.__name__), self._code)
            return
        super().exec_module(module)


class BundleFinder(importlib.abc.MetaPathFinder):
    """Finds the private modules of the bundles in this process, from their tables and never from the disk."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,  # noqa: ARG002 - importlib's interface
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> importlib.machinery.ModuleSpec | None:
        """The spec for a private name, None for any other.

        Raises:
            ModuleNotFoundError: a private name that no bundle here has; other finders must not look for it, because
                they would find the files that someone added to a bundle's folder.
        """
        if not fullname.startswith(PREFIX):
            return None
        package, _, name = fullname.partition(".")
        code = _installed.get(package)
        own = None if code is None else code.modules.get(name)
        if code is None:
            raise ModuleNotFoundError(f"the bundle of {fullname!r} is not loaded in this process", name=fullname)
        if own is None:
            raise ModuleNotFoundError(f"No module named {name!r} in the bundle at {code.root}", name=fullname)
        return _spec(code, fullname, own)


def install(code: BundleCode) -> None:
    """Make ``code`` importable in this process. Modules of an earlier code of the same private name are forgotten."""
    with _lock:
        uninstall(code.package)
        _installed[code.package] = code
        if _finder not in sys.meta_path:
            sys.meta_path.insert(0, _finder)


def uninstall(package: str) -> None:
    """Forget a private package and its modules, such as after its import failed; objects made of them live on."""
    _installed.pop(package, None)
    for name in [name for name in list(sys.modules) if name == package or name.startswith(package + ".")]:
        sys.modules.pop(name, None)


def bundle_of(module: str) -> BundleCode | None:
    """The bundle in this process that a module's private name belongs to."""
    return _installed.get(module.partition(".")[0]) if module.startswith(PREFIX) else None


def plain_name(module: str) -> str:
    """The name that a module has inside its bundle; a module of no bundle keeps its name."""
    return module.partition(".")[2] if module.startswith(PREFIX) else module


def module_table(root: Path, files: Mapping[str, bytes | None]) -> dict[str, OwnModule]:
    """The modules that the relative paths ``files`` below ``root`` make, by plain dotted name; "" is the root itself.

    A folder that has an ``__init__.py`` comes before an extension module of its name, and that before a ``.py`` file,
    as on any search path.
    """
    table: dict[str, OwnModule] = {}
    ranks: dict[str, int] = {}
    for path, data in files.items():
        *folders, file = path.split("/")
        found = _module_of_file(file)
        if found is None or any("." in folder for folder in folders):
            continue
        stem, kind = found
        parts = folders if kind == "package" else [*folders, stem]
        name, rank = ".".join(parts), ["module", "extension", "package"].index(kind)
        if rank >= ranks.get(name, 0):
            ranks[name] = rank
            table[name] = OwnModule(kind, root / path, data or b"")
    for name in list(table):
        parts = name.split(".")[:-1]
        for depth in range(1, len(parts) + 1):
            folder = root.joinpath(*parts[:depth])
            table.setdefault(".".join(parts[:depth]), OwnModule("namespace", folder / "__init__.py"))
    table[""] = OwnModule("namespace", root / "__init__.py")
    return table


def _module_of_file(file: str) -> tuple[str, Literal["module", "package", "extension"]] | None:
    for suffix in (*importlib.machinery.EXTENSION_SUFFIXES, ".py"):
        if file.endswith(suffix):
            stem = file.removesuffix(suffix)
            if not stem or "." in stem:
                continue
            if stem == "__init__":
                return stem, "package"
            return stem, "module" if suffix == ".py" else "extension"
    return None


def _spec(code: BundleCode, fullname: str, own: OwnModule) -> importlib.machinery.ModuleSpec:
    if own.kind == "extension":
        extension = importlib.machinery.ExtensionFileLoader(fullname, str(own.path))
        spec = importlib.machinery.ModuleSpec(fullname, extension, origin=str(own.path))
        spec.has_location = True
        return spec
    spec = importlib.machinery.ModuleSpec(
        fullname, OwnLoader(code, own), is_package=own.kind in ("package", "namespace", "provided")
    )
    if own.kind == "provided":
        return spec
    if own.kind != "namespace":
        spec.origin = str(own.path)
        spec.has_location = True
    if spec.submodule_search_locations is not None and fullname != code.package:
        spec.submodule_search_locations.append(str(own.path.parent))
    return spec


_installed: dict[str, BundleCode] = {}
_finder = BundleFinder()
_lock = threading.RLock()
