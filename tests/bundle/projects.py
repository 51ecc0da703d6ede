"""This module makes small projects of Python files in a folder and imports them from there, as a user would."""

from __future__ import annotations

import importlib
import sys
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType


def write_files(folder: Path, files: Mapping[str, str | bytes]) -> Path:
    """Write the files (relative path -> content, indentation removed) below ``folder``."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_text(textwrap.dedent(content), encoding="utf-8")
    return folder


@contextmanager
def on_search_path(folder: Path) -> Iterator[None]:
    """``folder`` first on sys.path; afterwards sys.path and sys.modules are as they were."""
    path, modules = list(sys.path), dict(sys.modules)
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path[:] = path
        for name in [name for name in sys.modules if name not in modules and _is_below(sys.modules[name], folder)]:
            del sys.modules[name]
        sys.modules.update({name: module for name, module in modules.items() if sys.modules.get(name) is not module})


@contextmanager
def project(folder: Path, files: Mapping[str, str | bytes], module: str = "service") -> Iterator[ModuleType]:
    """The module of a project that is written to ``folder`` and imported from there."""
    write_files(folder, files)
    with on_search_path(folder):
        yield importlib.import_module(module)


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    """Every path below ``folder`` with its mtime (ns) and size, to see that nothing was written there."""
    return {
        str(path.relative_to(folder)): (path.lstat().st_mtime_ns, path.lstat().st_size) for path in folder.rglob("*")
    }


def _is_below(module: ModuleType, folder: Path) -> bool:
    places = [getattr(module, "__file__", None) or "", *map(str, getattr(module, "__path__", []))]
    return any(place.startswith(f"{folder}/") or place == str(folder) for place in places)
