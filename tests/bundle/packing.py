"""This module packs folders into archives, as a user's tools would."""

from __future__ import annotations

import tarfile
import zipfile
from pathlib import Path

KINDS = ("tar.gz", "tgz", "zip")


def packed(folder: Path, archive: Path, *, below: str = "") -> Path:
    """``folder`` as the archive of that name, by its ending; ``below``: the folder in it that the files stand in."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    if archive.name.endswith(".zip"):
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
            for path in sorted(folder.rglob("*")):
                file.write(path, Path(below, path.relative_to(folder)).as_posix())
    else:
        with tarfile.open(archive, "w:gz") as file:
            file.add(folder, below or ".")
    return archive
