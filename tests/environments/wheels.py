"""This module makes small wheels on the fly: of a library in two versions that exclude each other, and of what bentobatch
needs, borrowed from this process's environment, so that environments are built in a second and without a network."""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import sysconfig
import zipfile
from collections.abc import Mapping
from pathlib import Path

from bentobatch.environments.interpreters import own_requirements
from bentobatch.service.environment import distribution_of


def wheel(folder: Path, name: str, version: str, files: Mapping[str, str]) -> Path:
    """A pure wheel with these files."""
    info = f"{name}-{version}.dist-info"
    contents = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},sha256={_digest(text)},{len(text.encode())}\n" for path, text in contents.items())
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for member, text in contents.items():
            archive.writestr(member, text)
        archive.writestr(f"{info}/RECORD", f"{record}{info}/RECORD,,\n")
    return path


def borrowed(folder: Path) -> None:
    """A wheel of each distribution that bentobatch needs, in the version that is installed here: they bring nothing but a
    line that has the new environment look here, after it has looked in itself."""
    lender = {"borrowed.pth": f"{sysconfig.get_path('purelib')}\n"}
    for number, line in enumerate(own_requirements()):
        name = distribution_of(line)
        wheel(folder, name.replace("-", "_"), importlib.metadata.version(name), lender if number == 0 else {})


def rivals(folder: Path) -> None:
    """``rivals`` 1.0 and 2.0, which give other values."""
    for version in ("1.0", "2.0"):
        wheel(
            folder,
            "rivals",
            version,
            {"rivals.py": f"VERSION = {version!r}\n\n\ndef score(x):\n    return x * {version}\n"},
        )


def _digest(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")
