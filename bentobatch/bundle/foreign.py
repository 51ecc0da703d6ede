"""This module makes a bundle of a model file that no service was written for, once, and finds it again in the cache.

An .onnx or .skops file, or the folder of an MLflow model, becomes a bundle with an api ``predict``. It is kept like any
fetched bundle, by its own digest; ``cache/foreign`` remembers which digest the bundle of which content has. The libraries
read the model in a child process only (foreign_making.py), since a damaged one may crash them.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from bentobatch import __version__, errors
from bentobatch.bundle.digest import file_entry
from bentobatch.bundle.fetch import kept
from bentobatch.bundle.layout import files_below
from bentobatch.bundle.manifest import read_manifest
from bentobatch.errors import BundleError, StorageError, UsageError
from bentobatch.frameworks.mlflow_description import MODEL_FILE
from bentobatch.settings import read_settings

MODEL_FILES = {".onnx": "onnx", ".skops": "skops"}
"""The kinds of models by the endings of their files."""
_START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]);"
    "from bentobatch.bundle.foreign_making import main; main(sys.argv[2:])"
)
"""What the child runs: it finds modules where this process does, and not in the folder that it was started from."""


class _NotThere(Exception):  # noqa: N818 - reads as the condition that it is
    pass


def foreign_kind(path: Path) -> str | None:
    """What kind of model stands at ``path``: "onnx", "skops", "mlflow", or None for neither. Nothing is read."""
    if (path / MODEL_FILE).is_file():
        return "mlflow"
    return MODEL_FILES.get(path.suffix.lower()) if path.is_file() else None


def bundle_of_model(path: Path, *, trust_types: Sequence[str] = ()) -> Path:
    """The folder of the bundle that serves the model at ``path``, made now or found in the cache, and verified.

    ``trust_types``: full names of the types that a .skops file may make beside those that skops knows.

    Raises:
        UsageError: the model cannot be served from a table; or ``trust_types`` are given for another kind of model.
        BundleError: the file is damaged, or makes objects of types that nobody trusts.
        MissingDependencyError: the model's library is not installed.
        StorageError: the cache cannot be written.
    """
    kind = foreign_kind(path)
    assert kind is not None
    if trust_types and kind != "skops":
        raise UsageError(f"--trust-type is for .skops files, and {str(path)!r} is none: leave it out")
    key = _key(path, kind, trust_types)
    place = read_settings().home / "cache" / "foreign" / key
    where = f"model {str(path)!r}"
    with _storage_errors(place.parent), _locked(place):  # of two runs at once, one makes it, and both use that
        known = _known(place, path)
        if known is not None:
            with contextlib.suppress(_NotThere):
                return kept(known, _not_there, where=where)
        with tempfile.TemporaryDirectory(prefix=".making-", dir=place.parent) as name:
            folder = Path(name)
            beside = _make(path, kind, trust_types, key, folder)
            digest = read_manifest(folder / "bundle").digest
            if _key(path, kind, trust_types) != key:
                raise BundleError(f"{where} was changed while it was read: try again")
            found = kept(digest, lambda root: _move(folder / "bundle", root), where=where)
            (folder / "note").write_text(
                json.dumps({"digest": digest, "beside": _entries(path, beside)}), encoding="utf-8"
            )
            os.replace(folder / "note", place)
    return found


def _key(path: Path, kind: str, trust_types: Sequence[str]) -> str:
    """The digest of what the bundle is made of, but for the files beside an ONNX model, which only that one names."""
    try:
        content = _entries(path / MODEL_FILE, files_below(path)) if path.is_dir() else file_entry(path)
    except OSError as error:
        raise StorageError(
            f"model {str(path)!r} cannot be read: {error.strerror} ({error.filename}); check the file and its rights"
        ) from error
    text = json.dumps([__version__, kind, sorted(set(trust_types)), content], sort_keys=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def _entries(path: Path, names: Iterable[str]) -> dict[str, Any]:
    """sha256 and size of the files of these names beside ``path``."""
    return {name: file_entry(path.parent / name) for name in names}


def _known(place: Path, path: Path) -> str | None:
    """The digest of the bundle that was made before, where the files beside the model are as they were then."""
    try:
        note = json.loads(place.read_bytes())
        same = _entries(path, note["beside"]) == note["beside"]
    except (FileNotFoundError, ValueError, KeyError, TypeError):  # never made, a damaged note, or a file that is gone
        return None
    return str(note["digest"]) if same else None


def _not_there(_root: Path) -> None:
    raise _NotThere


def _make(path: Path, kind: str, trust_types: Sequence[str], key: str, folder: Path) -> list[str]:
    """Let a child make ``folder/bundle``; returns the names of the files beside the model that it was made of too."""
    request = {
        "kind": kind,
        "path": os.path.abspath(path),
        "trust_types": sorted(set(trust_types)),
        "version": key[:12],
        "folder": str(folder),
    }
    done = subprocess.run(
        [sys.executable, "-c", _START, json.dumps(sys.path), json.dumps(request)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        check=False,
    )
    try:
        answer = json.loads((folder / "answer.json").read_bytes())
    except (FileNotFoundError, ValueError) as error:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise BundleError(
            f"model {str(path)!r} ended the process that read it with status {done.returncode}"
            f"{': ' + said[-1] if said else ''}; the file is damaged, or its library is"
        ) from error
    if "error" in answer:
        raise getattr(errors, answer["error"])(answer["message"])
    return [str(name) for name in answer["beside"]]


def _move(made: Path, root: Path) -> None:
    for each in made.iterdir():
        shutil.move(each, root / each.name)


@contextlib.contextmanager
def _locked(place: Path) -> Iterator[None]:
    """Hold the lock of the model of that key; it ends with the process that holds it."""
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.with_suffix(".lock").open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _storage_errors(cache: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"cannot keep a bundle in {str(cache)!r}: {error.strerror or error}; make room there, or set "
            "BENTOBATCH_HOME to another place"
        ) from error
