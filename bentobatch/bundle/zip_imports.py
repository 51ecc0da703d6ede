"""This module takes the archives of ``@env(zipimport_archives=…)`` into a bundle, from which the service imports code.

An archive goes along as it is, below ``<Service>/zipimports/``, and is unpacked nowhere: loading reads the verified bytes.
It is looked at before: a regular zip file of sound members whose names stay inside, all of it source, since Python imports
no extension module out of an archive.
"""

from __future__ import annotations

import importlib.machinery
import stat
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

from bentobatch.bundle.layout import ZIP_IMPORTS
from bentobatch.bundle.unpacking import LIMITS, name_fault
from bentobatch.errors import UsageError
from bentobatch.service.environment import Environment, find_file

_EXTENSIONS = (*importlib.machinery.EXTENSION_SUFFIXES, ".so", ".pyd", ".dylib")


def archives_of(env: Environment, folders: Sequence[Path]) -> dict[str, Path]:
    """The archives, by their place in the bundle's code folder. ``folders``: see ``find_file``.

    Raises:
        UsageError: one is not there, is no zip file, or holds what cannot be imported or must not be there.
    """
    found: dict[str, Path] = {}
    for name in env.zipimport_archives or []:
        path = find_file("zipimport_archives", name, folders)
        place = f"{ZIP_IMPORTS}/{path.stem}.zip"
        if place in found:
            raise UsageError(f"@env: zipimport_archives has two archives called {path.name!r}: rename one")
        sources_in(path)
        found[place] = path
    return found


def sources_in(archive: Path) -> dict[str, bytes]:
    """The Python files in the archive, by their path in it.

    Raises:
        UsageError: as ``archives_of``.
    """
    where = f"@env: the archive {str(archive)!r} of zipimport_archives"
    try:
        with zipfile.ZipFile(archive) as opened:
            infos = opened.infolist()
            allowed = LIMITS.unpacked(archive.stat().st_size)
            if len(infos) > LIMITS.members or sum(info.file_size for info in infos) > allowed:
                raise UsageError(f"{where} holds more than an archive of code would; put data into artifacts")
            for info in infos:
                _check(info, where)
            return {info.filename: opened.read(info) for info in infos if info.filename.endswith(".py")}
    except (zipfile.BadZipFile, zlib.error, OSError, RuntimeError, NotImplementedError) as error:
        raise UsageError(f"{where} cannot be read as a zip file ({error}); make it anew") from error


def _check(info: zipfile.ZipInfo, where: str) -> None:
    fault = name_fault(info.filename.removesuffix("/"))
    kind = stat.S_IFMT(info.external_attr >> 16)
    if fault is None and kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        fault = "is no regular file"
    if fault is None and info.flag_bits & 1:
        fault = "is encrypted"
    if fault is None and info.filename.endswith(_EXTENSIONS):
        fault = "is an extension module, which Python imports from no archive: put its package into pip_packages"
    if fault is not None:
        raise UsageError(f"{where}: its member {info.filename[:200]!r} {fault}")
