"""This module finds the part of the user's project that a service needs: its local modules and packages.

It starts at the module of the service's class and follows import statements in the source, wherever they stand. What
is installed or part of Python is left to requirements.txt. A local package goes into the bundle whole, with its data
files; of a folder without ``__init__.py``, such as the project's own, only the modules that are imported go along.
"""

from __future__ import annotations

import ast
import importlib.machinery
import importlib.util
import warnings
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bentobatch.bundle.imports import bundle_of, plain_name
from bentobatch.bundle.layout import RESERVED_FOLDERS, checked_new_path, files_to_copy
from bentobatch.bundle.origins import find_spec, origin_of
from bentobatch.bundle.zip_imports import sources_in
from bentobatch.errors import UsageError


@dataclass
class LocalCode:
    """What to copy, and what the copied code imports from elsewhere.

    ``files``: path in the bundle's code folder -> file to copy. ``foreign``: the dotted names of modules that no local
    module provides; those of the standard library are among them.
    """

    files: dict[str, Path] = field(default_factory=dict)
    foreign: set[str] = field(default_factory=set)


def find_local_code(
    module: str, *, named_by_models: Iterable[str] = (), archives: Mapping[str, Path] | None = None
) -> LocalCode:
    """The local code that ``module``, the service's, needs; and the modules that the packed models' pickles name.

    ``archives``: zip files of code by their place in the code folder. What they hold comes before modules of that name.

    Raises:
        UsageError: the module is ``__main__`` or has no source file, or a package holds a link that leads out of it.
    """
    bundle = bundle_of(module)
    if bundle is not None:  # a service that was itself loaded from a bundle takes that bundle's code along
        code = LocalCode({path: bundle.root / path for path in bundle.files})
        own = {name for name in bundle.modules if name}
        imported = {name for path in code.files for name in _imports_of(code.files[path], _module_name(path), path)}
        code.foreign = {name for name in imported if name.partition(".")[0] not in own}
        return code
    check_module(module)
    walk = _Walk()
    walk.take_archives(archives or {})
    walk.follow([module, *sorted({plain_name(name) for name in named_by_models} - {"__main__"})])
    return walk.code


def check_module(module: str) -> None:
    """Whether a service whose class stands in ``module`` can be saved.

    Raises:
        UsageError: it cannot, because no other process can import the module; says what to do.
    """
    if module == "__main__":
        raise UsageError(
            "the service's class is defined in __main__ (a script that is being run, a notebook or a prompt), which "
            "another process cannot import: put the class into a file of its own, such as service.py (in a notebook "
            "with %%writefile service.py), and import it from there"
        )
    spec = find_spec(module)
    if spec is None or not spec.has_location or not spec.origin or not spec.origin.endswith(".py"):
        raise UsageError(
            f"the service's class is defined in the module {module!r}, which has no Python file to put into a bundle: "
            "put the class into a file such as service.py, and import it from there"
        )


class _Walk:
    def __init__(self) -> None:
        self.code = LocalCode()
        self._seen: set[str] = set()
        self._whole: set[str] = set()
        self._queue: deque[str] = deque()

    def take_archives(self, archives: Mapping[str, Path]) -> None:
        """Take zip files whole, and what the code in them imports from elsewhere."""
        for place, archive in archives.items():
            self.code.files[place] = archive
            for path, source in sources_in(archive).items():
                self._whole.add(path.partition("/")[0].removesuffix(".py"))
                self._queue.extend(_imports_in(source, _module_name(path), path))

    def follow(self, names: Iterable[str]) -> None:
        """Take the modules of these dotted names, and all that they import."""
        self._queue.extend(names)
        while self._queue:
            name = self._queue.popleft()
            if name not in self._seen:
                self._seen.add(name)
                self._visit(name)

    def _visit(self, name: str) -> None:
        """Find the outermost part of ``name`` that is a module or a regular package, and take that."""
        parts = name.split(".")
        for depth in range(1, len(parts) + 1):
            outer = ".".join(parts[:depth])
            if outer in self._whole:
                return
            origin = origin_of(outer)
            if origin != "local":
                self._note_foreign(name, outer, missing=origin == "missing")
                return
            spec = find_spec(outer)
            if spec is not None and spec.has_location and spec.origin:
                self._take(outer, Path(spec.origin), package=spec.submodule_search_locations is not None)
                return

    def _note_foreign(self, name: str, outer: str, *, missing: bool) -> None:
        # `from ns import attribute` asks for ns.attribute too, which is no module
        if not missing or "." not in outer:
            self.code.foreign.add(name)

    def _take(self, name: str, file: Path, *, package: bool) -> None:
        self._whole.add(name)
        path = name.replace(".", "/")
        if path in RESERVED_FOLDERS and package:
            raise UsageError(
                f"the local package {name!r} ({file.parent}) has a name that a bundle keeps for its own folder: "
                "rename the package"
            )
        if package:
            found = {
                f"{path}/{inner}": file.parent / inner
                for inner in files_to_copy(file.parent, f"the local package {name!r}")
            }
        else:
            suffix = next((end for end in importlib.machinery.EXTENSION_SUFFIXES if file.name.endswith(end)), ".py")
            if not file.is_file() or (suffix == ".py" and file.suffix != ".py"):
                raise UsageError(
                    f"the local module {name!r} has no file of source, only {file}: unpack it to a .py file"
                )
            found = {path + suffix: file}
        for target, source in found.items():
            self.code.files[checked_new_path(target, source=source)] = source
            self._queue.extend(_imports_of(source, _module_name(target), target))


def _module_name(path: str) -> str:
    """The dotted name of the module in a file of the code folder; "" for a file that is none."""
    if not path.endswith(".py"):
        return ""
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _imports_of(file: Path, module: str, path: str) -> set[str]:
    """The dotted names that the source of ``module`` imports, inside functions too; "" modules import nothing."""
    return _imports_in(file.read_bytes(), module, path) if module else set()


def _imports_in(source: bytes, module: str, path: str) -> set[str]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an odd escape in the user's text is not ours to complain about
            tree = ast.parse(source, path)
    except (SyntaxError, ValueError):  # a template, or code for another Python, that lies in the package
        return set()
    package = module if path.endswith("/__init__.py") else module.rpartition(".")[0]
    return {name for node in ast.walk(tree) for name in _imported_by(node, package)}


def _imported_by(node: ast.AST, package: str) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            try:
                base = importlib.util.resolve_name("." * node.level + base, package)
            except ImportError:  # beyond the top: fails at run time, too
                return
        if base:
            yield base
        yield from (f"{base}.{alias.name}" for alias in node.names if base and alias.name != "*")
    elif isinstance(node, ast.Call) and node.args:
        called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        first = node.args[0]
        if (
            called in ("import_module", "__import__")
            and isinstance(first, ast.Constant)
            and isinstance(first.value, str)
        ):
            name = first.value
            yield importlib.util.resolve_name(name, package) if name.startswith(".") and package else name.lstrip(".")
