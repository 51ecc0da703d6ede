"""This module compares a whole bundle with its manifest, and copies what the manifest lists."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from bentobatch.bundle import layout
from bentobatch.bundle.digest import verify_file
from bentobatch.bundle.manifest import Manifest, read_manifest
from bentobatch.errors import BundleError

COVERED = frozenset({layout.MANIFEST, layout.SIGNATURES})
"""The files of a bundle that its manifest cannot list: itself, and what signs it."""


def verify_bundle(root: Path, *, digest: str | None = None, where: str | None = None) -> Manifest:
    """The manifest of the bundle ``root``, after every file was compared with it. None of its code runs.

    ``digest``: the content digest that it must have. ``where``: what messages call it instead of its folder.

    Raises:
        NoInputError: there is no bundle.
        BundleError: it was changed after it was saved, or is not the one of ``digest``.
    """
    try:
        manifest = read_manifest(root)
        if digest not in (None, manifest.digest):
            raise BundleError(
                f"bundle {root}: its digest is sha256:{manifest.digest}, not sha256:{digest} as expected: it is another "
                "bundle, or was saved anew; nothing was kept"
            )
        for path, entry in manifest.files.items():
            verify_file(root, path, entry)
    except BundleError as error:
        raise BundleError(str(error).replace(f"bundle {root}", where or f"bundle {root}")) from error
    return manifest


def remove_extras(root: Path, manifest: Manifest) -> None:
    """Leave in the folder what the digest covers, and the signatures of it, and nothing else."""
    for path in list(layout.files_below(root)):
        if path not in COVERED and path not in manifest.files:
            (root / path).unlink()


def copy_bundle(source: Path, target: Path) -> None:
    """Copy the files that the manifest of the bundle ``source`` lists into ``target``, which exists and is empty.

    The copy is not verified.

    Raises:
        BundleError: a file is missing, is a link, or no regular file.
    """
    manifest = read_manifest(source)
    signatures = {layout.SIGNATURES} if os.path.lexists(source / layout.SIGNATURES) else set()
    for path in {layout.MANIFEST, *manifest.files, *signatures}:
        with layout.open_member(source, path) as stream:  # first of all: it judges the path, which may lead anywhere
            place = target / path
            place.parent.mkdir(parents=True, exist_ok=True)
            with place.open("xb") as file:
                shutil.copyfileobj(stream, file, 1 << 20)


def bundle_size(manifest: Manifest) -> int:
    """How many bytes the files that the manifest lists have."""
    return sum(int(entry["size"]) for entry in manifest.files.values())
