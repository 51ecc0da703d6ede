"""This module opens the repository that is meant, and finds the bundle that a path, a tag or a URL names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bentobatch.bundle.fetch import fetch, is_fetched
from bentobatch.bundle.foreign import MODEL_FILES, bundle_of_model, foreign_kind
from bentobatch.bundle.layout import MANIFEST, is_bundle
from bentobatch.errors import NoInputError, UsageError
from bentobatch.repository.base import Repository
from bentobatch.repository.catalogued import LocalRepository
from bentobatch.repository.opening import folder_of
from bentobatch.repository.storage import FolderStorage
from bentobatch.settings import read_settings
from bentobatch.tags import Tag

__all__ = ["LocalRepository", "is_home", "open_repository", "resolve"]


def open_repository(url: str | None = None) -> Repository:
    """The repository at ``url``, a folder or a server; by default the settings' one, and else this machine's own.

    Raises:
        UsageError: ``url`` names no repository.
    """
    settings = read_settings()
    place = url or settings.repository_url
    if place is not None and place.lower().startswith(("http://", "https://")):
        from bentobatch.repository.remote import RemoteRepository, token_for  # Python's http client is slow to import

        token = token_for(place, home_url=settings.repository_url, token=settings.repository_token)
        return RemoteRepository(place, token=token)
    return LocalRepository() if place is None else LocalRepository(folder_of(place))


def is_home(repository: Repository) -> bool:
    """Whether it is this machine's own repository, rather than one that others share."""
    if not isinstance(repository, LocalRepository) or not isinstance(repository.storage, FolderStorage):
        return False
    return repository.storage.root == read_settings().repository


def resolve(
    ref: str, *, trust: bool = False, repository_url: str | None = None, trust_types: Sequence[str] = ()
) -> Path:
    """The folder of the bundle that ``ref`` names: a path, or NAME:VERSION or NAME:latest of the repository.

    What stands at the path comes first; nothing of a bundle is run, and its files are not verified yet. A URL or an
    archive is fetched into the cache, and verified there; see bundle/fetch.py, also for ``trust``. So is a bundle of a
    repository elsewhere; see open_repository for ``repository_url``. Of an .onnx or .skops file, or an MLflow model's
    folder, a bundle is made; see bundle/foreign.py, also for ``trust_types``.

    Raises:
        NoInputError: there is no such bundle.
        UsageError: ``ref`` is neither a path nor a tag, or a URL without a pinned digest and without ``trust``.
        BundleError: what was fetched is no sound bundle, or a manifest that has to be read for "latest" is damaged.
        UnavailableError, StorageError: a URL cannot be read, or the cache cannot be written.
        MissingDependencyError: the library of a model that came without a service is not installed.
    """
    if not ref or "\0" in ref:
        raise UsageError(f"{ref!r} names no bundle: give a bundle's folder, or NAME:VERSION or NAME:latest")
    path = Path(ref)
    if foreign_kind(path) is not None and not is_bundle(path):
        return bundle_of_model(path.resolve(), trust_types=trust_types)
    if trust_types:
        raise UsageError(f"--trust-type is for .skops files, and {ref!r} is none: leave it out")
    if is_bundle(path):
        return path.resolve()
    if is_fetched(ref):
        return fetch(ref, trust=trust)
    if path.suffix.lower() in MODEL_FILES and not path.exists():
        raise NoInputError(f"no model at {ref!r}: there is no such file; check the path")
    name, colon, _ = ref.partition(":")
    if not colon or "/" in name:
        reason = f"the folder has no {MANIFEST}" if path.is_dir() else "there is no such folder"
        tag = f", or a tag: {ref}:latest" if not path.exists() and "/" not in ref else ""
        raise NoInputError(f"no bundle at {ref!r}: {reason}; give the folder of a bundle{tag}")
    return open_repository(repository_url).find(Tag.parse(ref))
