"""This module is what pickles name of BentoML's copy of cloudpickle (``bentoml.utils.cloudpickle``, of version 1.2).

Byte code in a pickle belongs to the Python that wrote it: another one would crash on it, so it is refused by name.
"""

from __future__ import annotations

import platform
import sys
import types
from collections.abc import Callable, Mapping
from typing import Any

from bentobatch.errors import BundleError

CODE_TYPES = frozenset({("types", "CodeType"), ("builtins", "code")})


class OldCloudpickle:
    """The functions by which BentoML's pickles rebuild things, for one bundle. ``python_version`` wrote the bundle,
    ``import_`` is the bundle's own ``__import__``."""

    def __init__(self, python_version: str, import_: Callable[..., Any]) -> None:
        self._python_version = python_version
        self._import = import_

    def names(self) -> dict[str, Any]:
        """By name, those that cloudpickle has no more, or that must not be taken from it."""
        return {
            "subimport": self.subimport,
            "_builtin_type": self.builtin_type,
            "_make_skel_func": self.byte_code,
            "_fill_function": self.byte_code,
            "_make_cell": self.byte_code,
            "_rehydrate_skeleton_class": rehydrated,
            "_restore_attr": restored,
            "_gen_ellipsis": lambda: Ellipsis,
            "_gen_not_implemented": lambda: NotImplemented,
            "instance": lambda cls: cls(),
        }

    def subimport(self, name: str) -> Any:
        """The module ``name``, as the bundle sees it."""
        return self._import(name, {}, {}, ["__name__"], 0)

    def builtin_type(self, name: str) -> Any:
        """The type ``name`` of ``types``."""
        return self.byte_code if name == "CodeType" and self.is_foreign else getattr(types, name)

    @property
    def is_foreign(self) -> bool:
        """Whether another Python, by its first two numbers, wrote the bundle."""
        return self._python_version.split(".")[:2] != platform.python_version().split(".")[:2]

    def byte_code(self, *_args: Any, **_options: Any) -> Any:
        """Raise BundleError: a function was stored by value."""
        here = f"{sys.version_info.major}.{sys.version_info.minor}"
        raise BundleError(
            f"the pickle holds functions as byte code of Python {self._python_version}, which Python {here} cannot run: "
            f"load it with Python {'.'.join(self._python_version.split('.')[:2])}, or define these functions in a module "
            "and pack the model again"
        )


def rehydrated(cls: type, attributes: Mapping[str, Any]) -> type:
    """A class that was stored by value, with its attributes put back."""
    for name, value in attributes.items():
        if name != "_abc_impl":
            setattr(cls, name, value)
    for subclass in attributes.get("_abc_impl") or ():
        cls.register(subclass)  # type: ignore[attr-defined]
    return cls


def restored(obj: Any, attributes: Mapping[str, Any]) -> Any:
    """``obj`` with these attributes."""
    for name, value in attributes.items():
        setattr(obj, name, value)
    return obj
