"""This module lets artifacts that were written for BentoML 0.13 work: those that override pack, save, load or get.

There, ``pack(model)`` keeps the model wherever it likes, ``get()`` gives it, ``save(dst)`` and ``load(path)`` take the
folder as text, and ``load`` mostly ends in ``return self.pack(model)``. What the base did around them (state, metadata)
is done by the wrappers here, put on when the class is made.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bentobatch.errors import UsageError
from bentobatch.frameworks.metadata import read_only


def adopt_methods(cls: type) -> None:
    """Wrap what ``cls`` itself overrides in BentoML's manner; the methods of this house's manner are left alone."""
    own = vars(cls)
    if "pack" in own:
        _set(cls, "pack", _packing(own["pack"]))
    if "get" in own:
        _set(cls, "get", _getting(own["get"]))
    if "save" in own and "save_model" not in own:
        _set(cls, "save", _saving(own["save"]))
        _set(cls, "save_model", _save_through_save)
    if "load" in own and "load_model" not in own and not _takes(own["load"], "metadata"):
        _set(cls, "load", _loading(own["load"]))
        if getattr(getattr(cls, "load_model", None), "__isabstractmethod__", False):
            _set(cls, "load_model", _load_through_load)


def is_redirect(save_model: Callable[..., Any]) -> bool:
    """Whether ``save_model`` only calls ``save``, so that ``save`` must not call it back."""
    return save_model is _save_through_save


def _packing(pack: Callable[..., Any]) -> Callable[..., Any]:
    passes_metadata = _takes(pack, "metadata")

    @functools.wraps(pack)
    def wrapped(self: Any, *args: Any, metadata: Mapping[str, Any] | None = None, **options: Any) -> Any:
        kept = read_only(metadata, self.name)
        if passes_metadata:
            options["metadata"] = metadata
        pack(self, *args, **options)
        self._metadata = kept
        self._packed = True
        return self

    return wrapped


def _getting(get: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(get)
    def wrapped(self: Any) -> Any:
        if not self._packed:
            raise UsageError(f"artifact {self.name!r} holds no model yet: call pack({self.name!r}, model) first")
        return get(self)

    return wrapped


def _saving(save: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(save)
    def wrapped(self: Any, dst: str | Path) -> None:
        save(self, str(dst))

    return wrapped


def _loading(load: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(load)
    def wrapped(self: Any, folder: str | Path, *, metadata: Mapping[str, Any] | None = None) -> Any:
        self.refuse_pickle(Path(folder))
        load(self, str(folder))
        self._metadata = read_only(metadata, self.name)
        self._packed = True
        return self

    return wrapped


def _save_through_save(self: Any, folder: Path) -> None:
    self.save(folder)


def _load_through_load(self: Any, folder: Path) -> Any:
    self.load(folder)
    return self.get()


def _takes(function: Callable[..., Any], name: str) -> bool:
    return name in inspect.signature(function).parameters


def _set(cls: type, name: str, function: Callable[..., Any]) -> None:
    setattr(cls, name, function)
