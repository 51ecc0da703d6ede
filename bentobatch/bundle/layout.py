"""This module says where things stand in a bundle's folder, and opens its files without ever leaving it.

::

    <bundle>/bentoml.yml requirements.txt environment.yml python_version docs.json README.md [setup.sh]
             [bundled_pip_dependencies/bentobatch-*.whl]
             pyproject.toml bentobatch_build.py bentobatch_package.json
             Dockerfile docker-entrypoint.sh bentobatch-init.sh requirements-server.txt constraints.txt
             <Service>/__init__.py  <Service>/<local modules and packages>  <Service>/artifacts/
             [<Service>/zipimports/]  [<Service>/web_static_content/]
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from bentobatch.errors import BundleError, UsageError

MANIFEST = "bentoml.yml"
SIGNATURES = "signatures.json"
REQUIREMENTS = "requirements.txt"
CONDA_ENVIRONMENT = "environment.yml"
PYTHON_VERSION = "python_version"
API_DOCS = "docs.json"
README = "README.md"
SETUP_SCRIPT = "setup.sh"
BUNDLED = "bundled_pip_dependencies"
"""The folder of wheels that are on no package index; requirements.txt names it to pip by --find-links."""
PROJECT = "pyproject.toml"
BUILD_BACKEND = "bentobatch_build.py"
PACKAGE = "bentobatch_package.json"
"""What the build backend packs, and under which name."""
DOCKERFILE = "Dockerfile"
ENTRYPOINT = "docker-entrypoint.sh"
INIT_SCRIPT = "bentobatch-init.sh"
SERVER_REQUIREMENTS = "requirements-server.txt"
CONSTRAINTS = "constraints.txt"
"""The versions that the bundle was saved with, of all that its requirements lead to."""
COMPATIBILITY = "compatibility"
"""The manifest's key for what else the bundle's code is given: {bentoml: VERSION, python_version: …}."""

ARTIFACTS = "artifacts"
WEB_STATIC_CONTENT = "web_static_content"
ZIP_IMPORTS = "zipimports"
"""The folder of code in .zip archives; a bundle that BentoML wrote has it, mostly empty."""
RESERVED_FOLDERS = frozenset({ARTIFACTS, WEB_STATIC_CONTENT})
"""Folders below ``<Service>/`` that hold no code, so no local package can have such a name."""

_PLAIN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # a FIFO must not hang the open
_PLAIN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def path_fault(path: str) -> str | None:
    """Why ``path`` cannot be the relative path of a file in a bundle, or None when it can."""
    if not path or len(path.encode("utf-8", "surrogatepass")) > 1024:
        return "is empty or longer than 1024 bytes"
    if path.startswith("/") or "\\" in path or any(part in ("", ".", "..") for part in path.split("/")):
        return "leads out of its folder or is no plain relative path"
    if not path.isprintable():
        return "has characters that cannot be printed"
    return None


def is_bundle(folder: Path) -> bool:
    """Whether ``folder`` looks like a bundle: it has a bentoml.yml."""
    return (folder / MANIFEST).is_file()


def open_member(root: Path, path: str) -> BinaryIO:
    """Open one regular file of the bundle ``root`` for reading, following no symbolic link below ``root``.

    Raises:
        BundleError: the file is missing, is no regular file, or a symbolic link is in its way; the message names it.
    """
    fault = path_fault(path)
    if fault:
        raise BundleError(f"bundle {root}: the manifest names a file {path!r}, which {fault}; do not use this bundle")
    *folders, name = path.split("/")
    try:
        handle = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for folder in folders:
                inner = os.open(folder, _PLAIN_FOLDER, dir_fd=handle)
                os.close(handle)
                handle = inner
            file = os.open(name, _PLAIN_FILE, dir_fd=handle)
        finally:
            os.close(handle)
    except FileNotFoundError as error:
        raise BundleError(f"bundle {root}: the file {path} is missing; save or copy the bundle again") from error
    except OSError as error:
        reason = "is a symbolic link or stands behind one" if _behind_link(root, path) else f"cannot be read ({error})"
        raise BundleError(f"bundle {root}: the file {path} {reason}; save or copy the bundle again") from error
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise BundleError(f"bundle {root}: {path} is no regular file; save or copy the bundle again")
    return os.fdopen(file, "rb")


def files_below(folder: Path) -> Iterator[str]:
    """The relative POSIX path of every file below ``folder``, in sorted order; links are listed, never followed."""
    for parent, folders, names in os.walk(folder):
        folders.sort()
        links = [name for name in folders if os.path.islink(os.path.join(parent, name))]
        for name in sorted(names + links):
            yield PurePosixPath(Path(parent, name).relative_to(folder)).as_posix()


def files_to_copy(folder: Path, owner: str) -> Iterator[str]:
    """The files of a folder that goes into a bundle whole, relative to it; caches and hidden files are left out.

    Raises:
        UsageError: a link leads out of the folder, or something is no regular file; ``owner`` says whose folder it is.
    """
    root = folder.resolve()
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(inner for inner in folders if not inner.startswith(".") and inner != "__pycache__")
        for inner in folders:
            if os.path.islink(os.path.join(parent, inner)):
                raise UsageError(
                    f"{owner} holds the link {os.path.join(parent, inner)!r} to a folder, which a bundle does not "
                    "follow: put the folder itself there, or move the link elsewhere"
                )
        for inner in sorted(names):
            path = Path(parent, inner)
            if inner.startswith(".") or inner.endswith((".pyc", ".pyo")):
                continue
            if path.is_symlink() and not path.resolve().is_relative_to(root):
                raise UsageError(
                    f"{owner} holds {str(path)!r}, a link that leads out of it: put the file itself there, or remove "
                    "the link"
                )
            if not path.exists() or not stat.S_ISREG(path.stat().st_mode):
                raise UsageError(f"{owner} holds {str(path)!r}, which is no regular file: remove it from there")
            yield path.relative_to(folder).as_posix()


def checked_new_path(path: str, *, source: Path | str) -> str:
    """``path`` itself, when a bundle may hold a file of that relative path.

    Raises:
        UsageError: it may not; the message names ``source``, the file that was to be copied there.
    """
    fault = path_fault(path)
    if fault is None:
        try:
            path.encode("utf-8")
        except UnicodeEncodeError:
            fault = "is not valid UTF-8"
    if fault:
        raise UsageError(f"cannot put {str(source)!r} into a bundle: its path {path!r} {fault}; rename the file")
    return path


def _behind_link(root: Path, path: str) -> bool:
    spots = [PurePosixPath(path), *PurePosixPath(path).parents]
    return any((root / spot).is_symlink() for spot in spots if str(spot) != ".")
