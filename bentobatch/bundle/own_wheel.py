"""This module makes a wheel of the bentobatch that runs, for bundles whose readers cannot get it from a package index.

An installation that came from an index needs none: its version is to be had there. Every other one (a checkout, an
editable installation, one from a folder or an archive, and one from such a wheel) is put into the bundle as a wheel.
The wheel's version has a local part that is made of its content, such as ``0.1.0+b1f2e3d4c5b6a``: no index may hold such a
version, so a stranger's release of the same number can never take its place.

Sources: PEP 427 (wheels), PEP 440 (local versions), PEP 610 (direct_url.json).
"""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import io
import logging
import os
import re
import sys
import threading
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bentobatch import __version__
from bentobatch.bundle.layout import BUNDLED
from bentobatch.bundle.origins import OWN_DISTRIBUTION, OWN_NAMES, find_spec

_log = logging.getLogger("bentobatch.bundle")

_TIME = (1980, 1, 1, 0, 0, 0)  # the first that a zip archive knows; the same content gives the same bytes
_DIGITS = 12
_OWN_REQUIREMENT = re.compile(rf"{OWN_DISTRIBUTION}==[A-Za-z0-9.+]+")


@dataclass(frozen=True)
class OwnWheel:
    """A wheel of bentobatch: its file's name, its version and its bytes."""

    name: str
    version: str
    data: bytes

    @property
    def path(self) -> str:
        """Where it stands in a bundle."""
        return f"{BUNDLED}/{self.name}"


def own_requirement(wheel: OwnWheel | None) -> str:
    """The requirement for this very bentobatch: that of ``wheel``, else that of the version on the index."""
    return f"{OWN_DISTRIBUTION}=={__version__ if wheel is None else wheel.version}"


def is_own_requirement(text: object) -> bool:
    """Whether ``text``, from a bundle's manifest, is what ``own_requirement`` makes."""
    return isinstance(text, str) and _OWN_REQUIREMENT.fullmatch(text) is not None


def own_wheel() -> OwnWheel | None:
    """The wheel that a bundle saved now has to carry: made once in a process, and again when a file of ours changed.

    None where bentobatch came from an index, and where no wheel can be made, which a warning tells: the bundle is whole
    without it, and installs where bentobatch is installed by hand.
    """
    distribution = _distribution()
    folders = _folders()
    if distribution is not None and _is_from_index(distribution, folders[OWN_DISTRIBUTION]):
        return None
    try:
        files = dict(_files(folders))
        stats = {path: file.stat() for path, file in files.items()}
        state = tuple((path, stat.st_mtime_ns, stat.st_size) for path, stat in stats.items())
        with _lock:
            if state not in _made:
                information = _information(distribution, folders[OWN_DISTRIBUTION].parent)
                _made.clear()
                _made[state] = make_wheel({path: file.read_bytes() for path, file in files.items()}, information)
            return _made[state]
    except (OSError, LookupError, ValueError) as error:
        _log.warning(
            "the bundle carries no wheel of bentobatch, which is on no index in this version: %s; install bentobatch "
            "yourself where the bundle is to run",
            " ".join(str(error).split()),
        )
        return None


def make_wheel(files: Mapping[str, bytes], information: Mapping[str, str]) -> OwnWheel:
    """The wheel of the packages' ``files`` (path -> bytes) and the texts of their dist-info folder (name -> text).

    The version in its METADATA gets its local part here. The same content makes the same bytes.
    """
    head, version = _split_version(information["METADATA"])
    base = version.partition("+")[0]
    content = hashlib.sha256()
    texts = {**information, "METADATA": head}
    for name, data in sorted({**files, **{name: text.encode() for name, text in texts.items()}}.items()):
        content.update(f"{name}\0{hashlib.sha256(data).hexdigest()}\n".encode())
    version = f"{base}+b{content.hexdigest()[:_DIGITS]}"
    folder = f"{OWN_DISTRIBUTION}-{version}.dist-info"
    texts = {
        **information,
        "METADATA": head.replace("\n", f"\nVersion: {version}\n", 1),
        "WHEEL": "Wheel-Version: 1.0\nGenerator: bentobatch\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    members = {**files, **{f"{folder}/{name}": text.encode() for name, text in sorted(texts.items())}}
    record = "".join(f"{path},sha256={_record_hash(data)},{len(data)}\n" for path, data in members.items())
    members[f"{folder}/RECORD"] = f"{record}{folder}/RECORD,,\n".encode()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for path, data in members.items():
            info = zipfile.ZipInfo(path, _TIME)
            info.external_attr = 0o100644 << 16
            archive.writestr(info, data, zipfile.ZIP_DEFLATED)
    return OwnWheel(f"{OWN_DISTRIBUTION}-{version}-py3-none-any.whl", version, packed.getvalue())


def _distribution() -> importlib.metadata.Distribution | None:
    """The installed bentobatch, before the egg-info that a build left in a checkout on the search path."""
    found = list(importlib.metadata.distributions(name=OWN_DISTRIBUTION))
    return min(found, key=lambda one: one.read_text("RECORD") is None, default=None)


def _folders() -> dict[str, Path]:
    """The folders of the import packages that are here; a scheduler's may be missing from an older installation."""
    found = {OWN_DISTRIBUTION: Path(__file__).resolve().parents[1]}
    for name in OWN_NAMES - {OWN_DISTRIBUTION}:
        spec = find_spec(name)
        if spec is not None and spec.origin:
            found[name] = Path(spec.origin).resolve().parent
    return found


def _files(folders: Mapping[str, Path]) -> Iterator[tuple[str, Path]]:
    """The packages' files, by their path in the wheel, in a fixed order; what Python or an editor leaves there stays out."""
    for top in sorted(folders):
        for parent, inner, names in os.walk(folders[top]):
            inner[:] = sorted(name for name in inner if name != "__pycache__" and not name.startswith("."))
            below = top + parent[len(str(folders[top])) :]
            for name in sorted(names):
                if not name.startswith(".") and not name.endswith((".pyc", ".pyo")):
                    yield f"{below}/{name}", Path(parent, name)


def _is_from_index(distribution: importlib.metadata.Distribution, package: Path) -> bool:
    """Whether the package that runs is the distribution's own, put there by name and version and not by a place."""
    placed = distribution.read_text("direct_url.json") is not None or distribution.read_text("RECORD") is None
    if placed or "+" in distribution.version:
        return False
    recorded = any(str(file) == f"{OWN_DISTRIBUTION}/__init__.py" for file in distribution.files or ())
    return recorded and Path(str(distribution.locate_file(OWN_DISTRIBUTION))).resolve() == package


def _information(distribution: importlib.metadata.Distribution | None, above: Path) -> dict[str, str]:
    """The texts of a dist-info folder: those of the distribution, or what the checkout's pyproject.toml says.

    Raises:
        LookupError: there is neither.
    """
    if distribution is None:
        return dict(_information_of_project(above / "pyproject.toml"))
    metadata = distribution.read_text("METADATA") or distribution.read_text("PKG-INFO")
    if metadata is None:
        raise LookupError(f"the installed {OWN_DISTRIBUTION} has no METADATA")
    head, blank, _ = metadata.partition("\n\n")  # what follows is the README
    found = {"METADATA": head + blank[:1]}
    for name in ("entry_points.txt", "top_level.txt", "licenses/LICENSE"):
        text = distribution.read_text(name)
        if text is not None:
            found[name] = text
    return found


def _information_of_project(file: Path) -> Iterator[tuple[str, str]]:
    if sys.version_info < (3, 11) or not file.is_file():
        raise LookupError(f"{OWN_DISTRIBUTION} is not installed here, and its requirements stand in no {file}")
    import tomllib  # not in Python 3.10

    project: dict[str, Any] = tomllib.loads(file.read_text("utf-8"))["project"]
    lines = ["Metadata-Version: 2.1", f"Name: {project['name']}", f"Version: {project['version']}"]
    lines.append(f"Requires-Python: {project['requires-python']}")
    lines += [f"Requires-Dist: {required}" for required in project["dependencies"]]
    for extra, needed in project.get("optional-dependencies", {}).items():
        lines.append(f"Provides-Extra: {extra}")
        lines += [f'Requires-Dist: {required}; extra == "{extra}"' for required in needed]
    yield "METADATA", "".join(f"{line}\n" for line in lines)
    groups = {"console_scripts": project.get("scripts", {}), **project.get("entry-points", {})}
    entries = [
        f"[{group}]\n" + "".join(f"{name} = {place}\n" for name, place in groups[group].items()) for group in groups
    ]
    yield "entry_points.txt", "\n".join(entries)


def _split_version(metadata: str) -> tuple[str, str]:
    """METADATA without its version, and the version."""
    lines = metadata.splitlines()
    versions = [line for line in lines if line.startswith("Version:")]
    if len(versions) != 1 or not lines[0].startswith("Metadata-Version:"):
        raise ValueError(f"the METADATA of {OWN_DISTRIBUTION} has no version")
    kept = [line for line in lines if line is not versions[0]]
    return "".join(f"{line}\n" for line in kept), versions[0].partition(":")[2].strip()


def _record_hash(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode("ascii")


_made: dict[tuple[tuple[str, int, int], ...], OwnWheel] = {}
_lock = threading.Lock()
