"""This module makes an archive of an environment that another machine installs without a network: wheels, and a lock.

::

    environment.json      format, Python, platform, bundle
    requirements.lock     name==version --hash=sha256:…, one line for each wheel
    wheels/               the wheels themselves; what an index has as source only is built here

It is not the virtual environment itself that travels: such a folder holds absolute paths, and links to an interpreter
that the other machine would have to have at the same place. What that machine needs is a Python of the same X.Y, and
the same platform (operating system, processor, and a C library that is not older).
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bentobatch.bundle.archives import unpack
from bentobatch.bundle.digest import file_entry
from bentobatch.environments.building import Environment, environments_folder, kept_environment
from bentobatch.environments.interpreters import Interpreter, check_age, find, minor_of, needed_beside
from bentobatch.environments.requirements import Wanted, placed
from bentobatch.errors import BundleError, OutputError, StorageError

ARCHIVE_SUFFIX = ".tar.gz"
FORMAT = 1
_DESCRIPTION = "environment.json"
_LOCK = "requirements.lock"
_WHEELS = "wheels"
_MOST_BYTES = 1 << 20


def build_archive(wanted: Wanted, base: Interpreter, target: Path) -> dict[str, Any]:
    """Write the archive of a bundle's environment to ``target``, which must not exist; what it says of itself.

    Raises:
        OutputError: there is something, or no such folder.
        BundleError: a distribution cannot be had; the message says what pip said.
        StorageError: it cannot be written.
    """
    if os.path.lexists(target):
        raise OutputError(f"{target} exists already: remove it, or name another file")
    if not target.parent.is_dir():
        raise OutputError(f"{target}: there is no directory {target.parent}; make it first")
    place = environments_folder()
    try:
        place.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="archive-", dir=place) as folder:
            root = Path(folder) / "content"
            root.mkdir()
            _download(wanted, base, Path(folder), root / _WHEELS)
            wheels = sorted((root / _WHEELS).iterdir())
            (root / _LOCK).write_text("".join(f"{_locked(wheel)}\n" for wheel in wheels), "utf-8")
            described = {
                "format": FORMAT,
                "python": "{}.{}".format(*base.minor),
                "platform": base.platform,
                "bundle": wanted.tag,
                "bundle_digest": wanted.digest,
            }
            (root / _DESCRIPTION).write_text(json.dumps(described, indent=2) + "\n", "utf-8")
            _pack(root, target)
    except OSError as error:
        raise StorageError(f"{target} cannot be written: {error.strerror or error}") from error
    return {**described, "wheels": len(wheels)}


def environment_from_archive(archive: Path) -> str:
    """The interpreter of the environment that an archive holds, installed from its wheels alone, if it is not kept yet.

    Raises:
        BundleError: the archive is broken, or of another platform.
        MissingDependencyError: its Python is not on this machine.
    """
    digest = _digest(archive)
    what = f"the environment {archive}"
    place = environments_folder()
    place.mkdir(parents=True, exist_ok=True)
    kept = place / f"{digest[:16]}.json"
    described = _kept_description(kept)
    if described is None:
        with tempfile.TemporaryDirectory(prefix="archive-", dir=place) as folder:
            unpack(archive, Path(folder), kind="tar.gz", where=what)
            described = _description(Path(folder), what)
        kept.write_text(json.dumps(described), "utf-8")
    base = find(described["python"], whose=what)
    check_age(base, where=what)

    def fill(made: Environment) -> None:
        with tempfile.TemporaryDirectory(prefix="archive-", dir=place) as folder:
            root = Path(folder)
            unpack(archive, root, kind="tar.gz", where=what)
            options = ["--no-index", "--no-deps", "--require-hashes", "--find-links", str(root / _WHEELS)]
            made.install([*options, "--requirement", str(root / _LOCK)])

    if base.platform != described["platform"]:
        raise BundleError(
            f"{what} is for {described['platform']}, and this machine is {base.platform}: build one here, "
            f"with `bentobatch env build {described['bundle']}`"
        )
    return kept_environment({"archive": digest}, base, fill, what=what)


def _download(wanted: Wanted, base: Interpreter, folder: Path, wheels: Path) -> None:
    """Bring or build a wheel of everything that the bundle asks for, and of what bentobatch needs beside it."""
    made = Environment(folder / "environment", f"the environment of {wanted.tag}")
    made.log = environments_folder() / f"{folder.name}.log"
    made.create(base)
    listed = folder / "requirements.txt"
    listed.write_text(
        "".join(f"{line}\n" for line in placed((*wanted.lines, *needed_beside(base)), wanted.bundle)), "utf-8"
    )
    made.pip("wheel", "--wheel-dir", str(wheels), "--requirement", str(listed), cwd=wanted.bundle)
    made.log.unlink()  # where it failed, it stays


def _locked(wheel: Path) -> str:
    name, version = wheel.name.split("-")[:2]
    return f"{name}=={version} --hash=sha256:{file_entry(wheel)['sha256']}"


def _pack(root: Path, target: Path) -> None:
    """The folder as an archive of regular files without owners and times: whole under its name, or not there."""
    handle, temporary = tempfile.mkstemp(prefix=f".{target.name[:100]}.", dir=target.parent)
    try:
        with (
            os.fdopen(handle, "wb") as file,
            gzip.GzipFile(fileobj=file, mode="wb", filename="", mtime=0, compresslevel=1) as packed,
            tarfile.TarFile(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
        ):
            for path in sorted(path for path in root.rglob("*") if path.is_file()):
                info = tarfile.TarInfo(path.relative_to(root).as_posix())
                info.size = path.stat().st_size
                with path.open("rb") as content:
                    archive.addfile(info, content)
        os.chmod(temporary, 0o644)
        os.rename(temporary, target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _digest(archive: Path) -> str:
    found = hashlib.sha256()
    try:
        with archive.open("rb") as file:
            while block := file.read(1 << 20):
                found.update(block)
    except OSError as error:
        raise StorageError(f"{archive} cannot be read: {error.strerror}") from error
    return found.hexdigest()


def _kept_description(file: Path) -> Mapping[str, Any] | None:
    """What an earlier run read from the same archive, so that it is unpacked once."""
    try:
        found = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _description(root: Path, what: str) -> Mapping[str, Any]:
    try:
        data = (root / _DESCRIPTION).read_bytes()[:_MOST_BYTES]
        found = json.loads(data)
        version = found["format"]
        minor_of(found["python"])
        whole = isinstance(found["platform"], str) and isinstance(found["bundle"], str) and (root / _LOCK).is_file()
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        version, whole = None, False
    if not whole:
        raise BundleError(f"{what} is no archive that `bentobatch env build` made: build it again")
    if version != FORMAT:
        raise BundleError(f"{what} is of format {version}, which this bentobatch does not know: build it with this one")
    return found  # type: ignore[no-any-return]
