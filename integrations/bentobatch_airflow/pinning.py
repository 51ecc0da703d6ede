"""This module makes a tag mean one bundle for all tries of a task, though ``latest`` moves meanwhile."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

KEY = "bentobatch_bundle"
"""Where the answer is kept in the task's state store, which survives its retries as XComs do not."""


class StateStore(Protocol):
    """``context["task_state_store"]``: values of one task of one DAG run (and one map index), of all of its tries."""

    def get(self, key: str, default: Any = None) -> Any:
        """The value, or ``default``."""

    def set(self, key: str, value: Any) -> None:
        """Keep a value."""


def pinned(bundle: str, store: StateStore, *, trust: bool = False) -> str:
    """``bundle`` as it was first understood in this DAG run: NAME:VERSION for a tag, a URL with its digest for a URL."""
    kept = store.get(KEY)
    if isinstance(kept, dict) and kept.get("asked") == bundle:
        return str(kept["bundle"])
    exact = exactly(bundle, trust=trust)
    if exact != bundle:
        store.set(KEY, {"asked": bundle, "bundle": exact})
    return exact


def exactly(bundle: str, *, trust: bool = False) -> str:
    """A name of the same bundle that will never mean another; a folder's path stays as it is.

    Raises:
        NoInputError: there is no such bundle.
    """
    from bentobatch.bundle.fetch import is_fetched  # here: a DAG file is parsed without the engine
    from bentobatch.bundle.layout import is_bundle
    from bentobatch.bundle.manifest import read_manifest
    from bentobatch.repository.local import resolve

    folder = resolve(bundle, trust=trust)
    if is_bundle(Path(bundle)):
        return bundle
    if is_fetched(bundle):
        return bundle if "@sha256:" in bundle else f"{bundle}@sha256:{read_manifest(folder).digest}"
    return f"{folder.parent.name}:{folder.name}"
