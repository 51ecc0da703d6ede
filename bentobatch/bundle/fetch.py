"""This module brings a bundle from a URL or out of an archive into the cache, whole and verified, or not at all.

``URL@sha256:DIGEST`` pins the content digest that stands in the bundle's manifest; since the manifest has the sha256 of
every file, nothing else can come in under that name, whoever the server is. The cache is a folder for each digest; what
it holds is verified again whenever it is used, so nothing is lost when a crash leaves one damaged.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

from bentobatch.bundle import layout
from bentobatch.bundle.archives import unpack
from bentobatch.bundle.digest import verify_file
from bentobatch.bundle.download import download
from bentobatch.bundle.manifest import Manifest, parse_manifest, read_manifest
from bentobatch.bundle.policy import check_policy
from bentobatch.bundle.signatures import add_signatures, read_signatures
from bentobatch.bundle.unpacking import LIMITS, Unpacked
from bentobatch.bundle.urls import shown
from bentobatch.bundle.verify import remove_extras, verify_bundle
from bentobatch.errors import BundleError, NoInputError, PolicyError, StorageError, UsageError
from bentobatch.settings import read_settings

_PIN = re.compile(r"(?P<place>.*?)@sha256:(?P<digest>[^@/]*)", re.DOTALL)
_DIGEST = re.compile(r"[0-9a-fA-F]{64}")
_ARCHIVES = {".tar.gz": "tar.gz", ".tgz": "tar.gz", ".zip": "zip"}
_MANIFEST_BYTES = 5 << 20
"""More than a manifest may have; what is wrong with a larger one, its reader says."""
_STALE = 24 * 3600
"""Seconds after which a temporary folder belongs to a process that was killed."""


@dataclass(frozen=True)
class _Reference:
    """``place`` is a URL or a local path, ``digest`` the pinned one, ``kind`` that of the archive, None for a folder."""

    place: str
    digest: str | None
    kind: str | None
    remote: bool

    @property
    def where(self) -> str:
        """The place for messages."""
        return f"bundle {shown(self.place) if self.remote else self.place!r}"


def is_fetched(ref: str) -> bool:
    """Whether ``ref`` names a bundle that has to be fetched or unpacked: a URL, or the path of an archive by its ending.

    A tag such as NAME:v1.zip is none, unless such a file is there.
    """
    match = _PIN.fullmatch(ref)
    place = ref if match is None else match["place"]
    if "://" in place:
        return True
    return _kind(place) is not None and (":" not in place or "/" in place or os.path.lexists(place))


def fetch(ref: str, *, trust: bool = False) -> Path:
    """The folder in the cache that holds the bundle which ``ref`` names, verified file by file. None of its code runs.

    ``ref``: a URL (any that fsspec knows) of a .tar.gz, .tgz or .zip archive or of a bundle's folder, or the path of
    such an archive; ``@sha256:DIGEST`` after it pins the bundle's content digest. ``trust``: take from a URL what comes.
    A bundle's folder at file:/// is used where it is.

    Raises:
        UsageError: a URL without a pinned digest, and no ``trust``; nothing was asked of the server.
        BundleError: it is not the bundle of that digest, is damaged, or an archive that no bundle is; nothing is kept.
        NoInputError: nothing stands there.
        UnavailableError, StorageError: it cannot be read, or the cache cannot be written.
    """
    reference = _parsed(ref)
    if reference.remote and reference.digest is None and not trust:
        raise UsageError(
            f"{shown(reference.place)} is a bundle from elsewhere, whose code would run here: pin what it is, as in "
            "URL@sha256:DIGEST (`bentobatch info` shows the digest where the bundle was saved), or give --trust"
        )
    if not reference.remote and reference.kind is None:
        _check_digest(reference, read_manifest(Path(reference.place)))
        return Path(os.path.realpath(reference.place))
    cache = read_settings().home / "cache" / "bundles"
    cached = _cached(cache, reference.digest)
    if cached is not None and _may_run(cached):  # else it may have been signed since
        return cached
    with _storage_errors(cache), _temporary(cache) as folder:
        root = folder / "bundle"
        root.mkdir()
        if reference.kind is not None:
            root = _bring_archive(reference, folder, root)
        else:
            known = _bring_folder(reference, root, cache)
            if known is not None:
                return known
        manifest = _verified(reference, root)
        remove_extras(root, manifest)
        return _published(root, cache / manifest.digest)


def kept(digest: str, bring: Callable[[Path], None], *, where: str) -> Path:
    """The folder in the cache that holds the bundle of ``digest``, verified; where it is not there, ``bring`` fills an
    empty folder with it. ``where`` names the bundle in messages.

    Raises:
        BundleError: what was brought is not that bundle; nothing is kept.
        StorageError: the cache cannot be written.
    """
    if not _DIGEST.fullmatch(digest):  # it names a folder, and may come from a server
        raise BundleError(f"{where}: {digest[:80]!r} is no digest")
    cache = read_settings().home / "cache" / "bundles"
    cached = _cached(cache, digest)
    if cached is not None:
        return cached
    with _storage_errors(cache), _temporary(cache) as folder:
        root = folder / "bundle"
        root.mkdir()
        bring(root)
        remove_extras(root, verify_bundle(root, digest=digest, where=where))
        return _published(root, cache / digest)


# -- references ---------------------------------------------------------------------------------------------------


def _parsed(ref: str) -> _Reference:
    match = _PIN.fullmatch(ref)
    place, digest = (ref, None) if match is None else (match["place"], match["digest"])
    if digest is not None and not _DIGEST.fullmatch(digest):
        raise UsageError(f"{shown(place)}@sha256:… needs 64 hexadecimal digits, the digest in the bundle's manifest")
    if "\0" in place:
        raise UsageError("a bundle's place has no NUL character in it")
    if place.startswith("file://"):
        place = place.removeprefix("file://")
        if not place.startswith("/"):
            raise UsageError(f"file://{place!r} is no absolute path: write file:///path, or the path alone")
        remote = False
    else:
        remote = "://" in place
    if remote and "::" in place.partition("://")[0] + place.partition("://")[2].partition("?")[0]:
        raise UsageError(f"{shown(place)} is a chain of URLs, which bundles are not read through: give the plain URL")
    return _Reference(place, None if digest is None else digest.lower(), _kind(place), remote)


def _kind(place: str) -> str | None:
    """The kind of archive that ``place`` names by its ending, None for none of them."""
    path = (urlsplit(place).path if "://" in place else place).lower()
    return next((kind for ending, kind in _ARCHIVES.items() if path.endswith(ending)), None)


# -- the cache ----------------------------------------------------------------------------------------------------


def _cached(cache: Path, digest: str | None) -> Path | None:
    """The cached bundle of ``digest``, verified; one that was damaged is removed."""
    if digest is None or not layout.is_bundle(cache / digest):
        return None
    folder = cache / digest
    try:
        manifest = read_manifest(folder)
        for path, entry in manifest.files.items():
            verify_file(folder, path, entry)
    except BundleError:
        manifest = None
    if manifest is not None and manifest.digest == digest:
        return folder
    with _storage_errors(cache), _temporary(cache) as aside:
        os.rename(folder, aside / "damaged")
    return None


@contextmanager
def _temporary(cache: Path) -> Iterator[Path]:
    """A new folder in ``cache``, of mode 0700 and a name that nobody can guess, which is removed at the end."""
    cache.mkdir(parents=True, exist_ok=True)
    for old in cache.glob(".fetch-*"):
        if time.time() - old.lstat().st_mtime > _STALE:
            shutil.rmtree(old, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=".fetch-", dir=cache))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _storage_errors(cache: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"cannot keep a bundle in {str(cache)!r}: {error.strerror or error}; make room there, or set "
            "BENTOBATCH_HOME to another place"
        ) from error


def _may_run(folder: Path) -> bool:
    try:
        check_policy(folder, read_manifest(folder))
    except PolicyError:
        return False
    return True


def _published(root: Path, target: Path) -> Path:
    try:
        os.rename(root, target)
    except OSError:
        if not layout.is_bundle(target):
            raise
        add_signatures(target, read_signatures(root))  # the same content is there, which may not be signed yet
    return target


# -- what is brought ----------------------------------------------------------------------------------------------


def _bring_archive(reference: _Reference, folder: Path, root: Path) -> Path:
    """Unpack the archive into ``root``; returns the folder that has the manifest, which may be one level below."""
    assert reference.kind is not None
    archive = Path(reference.place)
    if reference.remote:
        archive = folder / "archive"
        with open(archive, "xb") as file:
            download(reference.place, file, most=LIMITS.bytes)
    unpack(archive, root, kind=reference.kind, where=reference.where)
    if layout.is_bundle(root):
        return root
    inside = [path for path in root.iterdir() if layout.is_bundle(path)]
    if len(inside) != 1:
        raise BundleError(
            f"{reference.where}: it holds {'several bundles' if inside else f'no {layout.MANIFEST}'}; pack the folder "
            "of one bundle"
        )
    return inside[0]


def _bring_folder(reference: _Reference, root: Path, cache: Path) -> Path | None:
    """Download the manifest, and then what it lists; returns the bundle of the cache instead, where it is that one."""
    data = io.BytesIO()
    download(_member_url(reference, layout.MANIFEST), data, most=_MANIFEST_BYTES)
    manifest = parse_manifest(data.getvalue(), reference.where.removeprefix("bundle "))
    _check_digest(reference, manifest)
    known = _cached(cache, manifest.digest)
    if known is not None and _may_run(known):
        return known
    sizes = {path: int(entry["size"]) for path, entry in manifest.files.items() if path != layout.MANIFEST}
    if len(sizes) > LIMITS.members or sum(sizes.values()) > LIMITS.bytes:
        raise BundleError(
            f"{reference.where}: it has {len(sizes):,} files of {sum(sizes.values()):,} bytes, more than is fetched "
            f"({LIMITS.members:,} and {LIMITS.bytes:,}): copy it yourself and give the folder"
        )
    with Unpacked(root, reference.where, allowed=LIMITS.bytes, members=LIMITS.members) as target:
        target.add_file(layout.MANIFEST, [data.getvalue()])
        for path, size in sizes.items():
            with target.new_file(path) as file:
                download(_member_url(reference, path), file, most=size)
        if read_settings().policy is not None:  # who signed it is asked by a policy only
            signatures = io.BytesIO()
            with contextlib.suppress(NoInputError, StorageError):  # a bucket may say "forbidden" of what is not there
                download(_member_url(reference, layout.SIGNATURES), signatures, most=_MANIFEST_BYTES)
                target.add_file(layout.SIGNATURES, [signatures.getvalue()])
    return None


def _member_url(reference: _Reference, path: str) -> str:
    place, mark, query = reference.place.partition("?")
    written = quote(path) if place.lower().startswith(("http://", "https://")) else path
    return f"{place.rstrip('/')}/{written}{mark}{query}"


# -- what is verified ---------------------------------------------------------------------------------------------


def _verified(reference: _Reference, root: Path) -> Manifest:
    """The manifest, after every file was compared with it; messages name where the bundle came from."""
    try:
        manifest = read_manifest(root)
        _check_digest(reference, manifest)
        for path, entry in manifest.files.items():
            verify_file(root, path, entry)
    except BundleError as error:
        raise BundleError(str(error).replace(f"bundle {root}", reference.where)) from error
    return manifest


def _check_digest(reference: _Reference, manifest: Manifest) -> None:
    if reference.digest not in (None, manifest.digest):
        raise BundleError(
            f"{reference.where}: its digest is sha256:{manifest.digest}, not sha256:{reference.digest} as pinned: it "
            "is another bundle, or was saved anew; nothing was kept"
        )
