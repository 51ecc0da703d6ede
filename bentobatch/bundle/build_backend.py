"""This module makes a wheel or a source archive of the bundle that it lies in, for pip, uv and ``python -m build``.

bentobatch copies this file, as it stands, into every bundle as ``bentobatch_build.py``, and pyproject.toml names it. It
needs nothing but Python, so that a bundle installs where no build tool can be fetched. The same bundle makes the same
bytes. What it packs is listed in bentobatch_package.json: nothing else that lies in the folder, and no link, goes along.

Sources: PEP 517 (hooks), PEP 427 (wheels), PEP 643 (metadata).
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import os
import re
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

DESCRIPTION = "bentobatch_package.json"
_UNLISTED = ("bentoml.yml", "signatures.json")  # the manifest cannot list itself, nor what signs it
_TIME = (1980, 1, 1, 0, 0, 0)
_BLOCK = 1 << 20


def build_wheel(
    wheel_directory: str,
    config_settings: Any = None,  # noqa: ARG001 - the interface of PEP 517
    metadata_directory: str | None = None,  # noqa: ARG001
) -> str:
    """Write the wheel into the folder; returns its file's name."""
    package = _package()
    name = f"{_stem(package)}-py3-none-any.whl"
    with zipfile.ZipFile(Path(wheel_directory, name), "w", zipfile.ZIP_DEFLATED) as archive:
        record = [_add(archive, path, stream) for path, stream in _members(package)]
        place = f"{_stem(package)}.dist-info/RECORD"
        text = "".join(f"{line}\n" for line in [*record, f"{place},,"])
        _add(archive, place, io.BytesIO(text.encode()))
    return name


def build_sdist(sdist_directory: str, config_settings: Any = None) -> str:  # noqa: ARG001
    """Write the source archive into the folder; returns its file's name."""
    package = _package()
    name = f"{_stem(package)}.tar.gz"
    with (
        Path(sdist_directory, name).open("wb") as file,
        gzip.GzipFile(filename="", fileobj=file, mode="wb", mtime=0) as packed,
        tarfile.TarFile(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for path in _paths(package):
            with _opened(path) as stream:
                _add_to_tar(archive, f"{_stem(package)}/{path}", stream, os.fstat(stream.fileno()).st_size)
        data = _metadata(package).encode()
        _add_to_tar(archive, f"{_stem(package)}/PKG-INFO", io.BytesIO(data), len(data))
    return name


def prepare_metadata_for_build_wheel(metadata_directory: str, config_settings: Any = None) -> str:  # noqa: ARG001
    """Write the dist-info folder alone, by which pip finds what else to install; returns its name."""
    package = _package()
    folder = Path(metadata_directory, f"{_stem(package)}.dist-info")
    folder.mkdir(parents=True)
    for name, text in _information(package).items():
        (folder / name).write_text(text, "utf-8")
    return folder.name


def _package() -> dict[str, Any]:
    """What bentobatch_package.json in the working directory, the bundle's folder, says."""
    package: dict[str, Any] = json.loads(Path(DESCRIPTION).read_text("utf-8"))
    return package


def _stem(package: dict[str, Any]) -> str:
    name = re.sub(r"[-_.]+", "_", package["name"]).lower()
    return f"{name}-{package['version']}"


def _paths(package: dict[str, Any]) -> list[str]:
    return [*package["files"], *(name for name in _UNLISTED if os.path.lexists(name))]


def _opened(path: str) -> BinaryIO:
    """A file of the bundle; a link in its place, or in that of a folder on the way to it, is refused."""
    spots = [Path(path), *Path(path).parents]
    if Path(path).is_absolute() or ".." in Path(path).parts or any(spot.is_symlink() for spot in spots):
        raise ValueError(f"the bundle's file {path!r} is a link, or elsewhere; copy the bundle again")
    return Path(path).open("rb")


def _members(package: dict[str, Any]) -> Iterator[tuple[str, BinaryIO]]:
    top = package["name"]
    with _opened(f"{top}/__init__.py") as stream:
        yield f"{top}/__init__.py", stream
    for path in _paths(package):
        with _opened(path) as stream:
            yield f"{top}/_bundle/{path}", stream
    if package["bundled"] is not None:  # a bentobatch that is on no index; an installed one comes before it
        with _opened(package["bundled"]) as stream, zipfile.ZipFile(stream) as wheel:
            for path in sorted(wheel.namelist()):
                yield f"{top}/_bentobatch/{path}", io.BytesIO(wheel.read(path))
    for name, text in _information(package).items():
        yield f"{_stem(package)}.dist-info/{name}", io.BytesIO(text.encode())


def _information(package: dict[str, Any]) -> dict[str, str]:
    return {
        "METADATA": _metadata(package),
        "WHEEL": "Wheel-Version: 1.0\nGenerator: bentobatch\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "entry_points.txt": f"[console_scripts]\n{package['name']} = {package['name']}:cli\n",
        "top_level.txt": f"{package['name']}\n",
    }


def _metadata(package: dict[str, Any]) -> str:
    lines = [
        "Metadata-Version: 2.1",
        f"Name: {package['name']}",
        f"Version: {package['version']}",
        f"Summary: The bundle {package['name']}:{package['service_version']}, saved by bentobatch",
        f"Requires-Python: {package['requires_python']}",
        *(f"Provides-Extra: {extra}" for extra in package["extras"]),
        *(f"Requires-Dist: {requirement}" for requirement in package["requires"]),
        *_requirements_of_wheel(package["bundled"]),
        "Description-Content-Type: text/markdown",
    ]
    with _opened("README.md") as stream:
        return "\n".join(lines) + "\n\n" + stream.read().decode("utf-8", "replace")


def _requirements_of_wheel(path: str | None) -> Iterator[str]:
    """What the carried bentobatch needs, as its own METADATA says."""
    if path is None:
        return
    with _opened(path) as stream, zipfile.ZipFile(stream) as wheel:
        (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
        for line in wheel.read(name).decode("utf-8").splitlines():
            if line.startswith(("Requires-Dist: ", "Provides-Extra: ")):
                yield line


def _add(archive: zipfile.ZipFile, path: str, stream: BinaryIO) -> str:
    """Pack a file under ``path``; returns its line of RECORD."""
    info = zipfile.ZipInfo(path, _TIME)
    info.external_attr = 0o100644 << 16
    info.compress_type = zipfile.ZIP_DEFLATED
    digest, size = hashlib.sha256(), 0
    with archive.open(info, "w", force_zip64=True) as target:
        while block := stream.read(_BLOCK):
            digest.update(block)
            size += len(block)
            target.write(block)
    text = base64.urlsafe_b64encode(digest.digest()).rstrip(b"=").decode("ascii")
    quoted = '"' + path.replace('"', '""') + '"' if "," in path or '"' in path else path
    return f"{quoted},sha256={text},{size}"


def _add_to_tar(archive: tarfile.TarFile, path: str, stream: BinaryIO, size: int) -> None:
    info = tarfile.TarInfo(path)
    info.size, info.mode = size, 0o644
    archive.addfile(info, stream)
