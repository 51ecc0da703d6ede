"""This module tells where a module comes from: the standard library, an installed distribution, or the user's project.

It finds modules without running any: a package's ``__init__`` is not executed to look for its submodules. What is
installed is known by the interpreter's own site folders and by the RECORD of distributions, never by a folder's name.
"""

from __future__ import annotations

import functools
import importlib.machinery
import importlib.metadata
import importlib.util
import os
import site
import sys
import sysconfig
from collections.abc import Mapping
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Literal

Origin = Literal["standard", "installed", "local", "missing"]

OWN_DISTRIBUTION = "bentobatch"
OWN_NAMES = frozenset(
    {"bentobatch", "bentobatch_airflow", "bentobatch_celery", "bentobatch_dask", "bentobatch_spark"}
)  # fmt: skip
"""The import packages of bentobatch's distribution, which never go into a bundle, not even from a source checkout."""


def origin_of(name: str) -> Origin:
    """Where the module of the dotted ``name`` comes from. A namespace package is local when one of its folders is."""
    if name.partition(".")[0] in OWN_NAMES:
        return "installed"
    spec = find_spec(name)
    if spec is None:
        return "missing"
    if spec.has_location and spec.origin:
        depth = name.count(".") + (spec.submodule_search_locations is not None)
        return _origin_of_file(Path(spec.origin), name, Path(spec.origin).parents[depth])
    if spec.submodule_search_locations:
        folders = [Path(folder) for folder in spec.submodule_search_locations]
        found = {_origin_of_file(folder / "*", name, folder.parents[name.count(".")]) for folder in folders}
        return "local" if "local" in found else min(found)
    return "standard"  # built into the interpreter, or frozen


def find_spec(name: str) -> ModuleSpec | None:
    """The spec of a module that is imported or could be, or None; imports nothing, its parents neither."""
    module = sys.modules.get(name)
    spec = getattr(module, "__spec__", None)
    if isinstance(spec, ModuleSpec):
        return spec
    if module is not None and getattr(module, "__file__", None):
        return importlib.util.spec_from_file_location(name, module.__file__)
    parent = name.rpartition(".")[0]
    if parent:
        above = find_spec(parent)
        if above is None or above.submodule_search_locations is None:
            return None
        return importlib.machinery.PathFinder.find_spec(name, list(above.submodule_search_locations))
    try:
        return importlib.util.find_spec(name)
    except (ImportError, ValueError):  # ValueError: a module without __spec__, such as __main__
        return None


@functools.cache
def _site_folders() -> tuple[str, ...]:
    folders = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), *site.getsitepackages()]
    folders.append(site.getusersitepackages())
    return tuple({form for folder in folders for form in (os.path.abspath(folder), os.path.realpath(folder))})


@functools.cache
def _standard_folders() -> tuple[str, ...]:
    folders = [sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")]
    return tuple({form for folder in folders for form in (os.path.abspath(folder), os.path.realpath(folder))})


def _origin_of_file(file: Path, name: str, search_folder: Path) -> Origin:
    """``search_folder``: the folder that holds the module's outermost package, the entry of sys.path as a rule."""
    place, real = os.path.abspath(file), os.path.realpath(file)
    if _below(place, _site_folders()):
        # a link in there is a project's, unless a distribution owns it: some installers link into a cache of theirs
        linked_out = not _below(real, _site_folders())
        return "local" if linked_out and name.partition(".")[0] not in distributions_by_module() else "installed"
    if _below(real, _standard_folders()) and not _below(real, _site_folders()):
        return "standard"
    return "installed" if _recorded_in(search_folder, name.partition(".")[0]) else "local"


def _below(path: str, folders: tuple[str, ...]) -> bool:
    return any(path.startswith(folder.rstrip(os.sep) + os.sep) for folder in folders)


def distributions_by_module() -> Mapping[str, list[str]]:
    """The distributions that own each installed top-level module: as their top_level.txt says, else as their files do.

    Reading them takes a second in a large environment, so each folder of the search path is remembered until it changes.
    """
    found: dict[str, list[str]] = {}
    for folder in sys.path:
        for top, names in _owners_in(folder or ".").items():
            found.setdefault(top, []).extend(names)
    return found


def _owners_in(folder: str) -> dict[str, list[str]]:
    try:
        changed = os.stat(folder).st_mtime_ns
    except OSError:  # as an entry of sys.path that is not there
        return {}
    known = _owners.get(folder)
    if known is None or known[0] != changed:
        known = _owners[folder] = (changed, _owners_read_from(folder))
    return known[1]


def _owners_read_from(folder: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for distribution in importlib.metadata.distributions(path=[folder]):
        listed = (distribution.read_text("top_level.txt") or "").split()
        tops = set(listed) or {
            file.parts[0].partition(".")[0]
            for file in distribution.files or ()
            if file.suffix in (".py", ".so", ".pyd") and ".." not in file.parts
        }
        for top in tops:
            found.setdefault(top, []).append(distribution.metadata["Name"])
    return found


def _recorded_in(folder: Path, top: str) -> bool:
    """Whether a distribution that was unpacked into ``folder`` (pip install --target) owns the module ``top`` there.

    Only a RECORD counts: the egg-info that a build leaves in a project lists the project's own files.
    """
    for distribution in importlib.metadata.distributions(path=[str(folder)]):
        record = distribution.read_text("RECORD") or ""
        if any(line.startswith((f"{top}/", f"{top}.")) for line in record.splitlines()):
            return True
    return False


_owners: dict[str, tuple[int, dict[str, list[str]]]] = {}
